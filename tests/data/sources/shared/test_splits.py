"""Sharing pictures out: groups stay whole, the sizes come close to the shares, and only the seed decides."""

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from keras_frcnn.data.sources.shared.splits import share_out

SHARES = {"train": 0.8, "val": 0.1, "test": 0.1}


@st.composite
def pictures(draw):
    """(ids, groups, classes) of up to 60 pictures, with groups of very different sizes."""
    groups = draw(st.lists(st.integers(0, 25), max_size=60))
    names = st.sets(st.sampled_from(["cat", "dog", "hen"]))
    classes = draw(st.lists(names, min_size=len(groups), max_size=len(groups)))
    ids = [f"picture {number}" for number in draw(st.permutations(range(len(groups))))]
    return ids, groups, classes


@st.composite
def shares(draw):
    parts = draw(st.lists(st.integers(1, 20), min_size=2, max_size=3))
    return {name: part / sum(parts) for name, part in zip(SHARES, parts, strict=False)}


@given(pictures(), shares(), st.integers(0, 3))
def test_every_picture_is_in_one_split_with_its_group_near_the_shares(data, wanted, seed):
    ids, groups, classes = data
    found = share_out(ids, groups, classes, wanted, seed)
    assert list(found) == list(wanted)
    assert sorted(one for members in found.values() for one in members) == sorted(ids)
    split_of = {one: name for name, members in found.items() for one in members}
    assert len({(group, split_of[one]) for one, group in zip(ids, groups, strict=True)}) == len(set(groups))
    largest = max(Counter(groups).values(), default=0)
    for name, share in wanted.items():
        assert abs(len(found[name]) - share * len(ids)) <= largest + 1e-6
    assert all(list(members) == [one for one in ids if one in set(members)] for members in found.values())


@given(pictures(), shares(), st.randoms(use_true_random=False))
def test_the_order_of_the_pictures_and_the_numbers_of_the_groups_do_not_matter(data, wanted, rng):
    found = share_out(*data, wanted, seed=5)
    rows = list(zip(*data, strict=True))
    rng.shuffle(rows)
    ids, groups, classes = map(list, zip(*rows, strict=True)) if rows else ([], [], [])
    moved = share_out(ids, [f"group {25 - group}" for group in groups], classes, wanted, seed=5)
    assert {name: sorted(members) for name, members in moved.items()} == {
        name: sorted(members) for name, members in found.items()
    }


def many(count=500):
    """Pictures without near-duplicates: `rare` is in every 25th, `none` of the classes in every 10th."""
    classes = [{"often"} | ({"rare"} if n % 25 == 0 else set()) if n % 10 != 7 else set() for n in range(count)]
    return [f"{n:06d}" for n in range(count)], range(count), classes


def test_without_groups_the_sizes_are_the_shares():
    found = share_out(*many(), SHARES, seed=0)
    assert {name: len(members) for name, members in found.items()} == {"train": 400, "val": 50, "test": 50}


def test_every_class_and_the_background_are_in_all_splits_by_the_shares():
    ids, groups, classes = many()
    found = share_out(ids, groups, classes, SHARES, seed=0)
    of = dict(zip(ids, classes, strict=True))
    assert [sum("rare" in of[one] for one in members) for members in found.values()] == [16, 2, 2]
    assert [sum(not of[one] for one in members) for members in found.values()] == [40, 5, 5]


def test_rare_classes_are_placed_before_the_splits_are_full():
    classes = [{"often", "rare"} if n in (3, 8) else {"often"} for n in range(10)]
    for seed in range(30):
        found = share_out([str(n) for n in range(10)], range(10), classes, {"train": 0.5, "val": 0.5}, seed)
        assert [len({"3", "8"} & set(members)) for members in found.values()] == [1, 1]


def test_seeds_give_different_splits_and_mix_the_pictures():
    found = [set(share_out(*many(), SHARES, seed)["val"]) for seed in (0, 0, 1)]
    assert found[0] == found[1] != found[2]
    # A split is not a stretch of the list: about a tenth of each half.
    assert 15 <= sum(int(one) < 250 for one in found[0]) <= 35
    assert len(found[0] & found[2]) < 25


def test_a_large_group_comes_first_and_the_rest_fills_up():
    groups = [0] * 40 + list(range(1, 61))
    found = share_out([str(n) for n in range(100)], groups, [{"cat"}] * 100, {"train": 0.5, "val": 0.5}, seed=0)
    assert [len(members) for members in found.values()] == [50, 50]
    assert len({name for name, members in found.items() if set(members) & set(map(str, range(40)))}) == 1


def test_groups_by_hand():
    # Two groups of 3 for shares of 4 and 2: one goes to each, since the second lacks 2 and the first only 1.
    rng = random.Random(0)
    ids = ["a", "b", "c", "d", "e", "f"]
    rng.shuffle(ids)
    found = share_out(ids, ["abc".count(one) for one in ids], [set()] * 6, {"train": 4 / 6, "val": 2 / 6}, seed=0)
    assert sorted(map(sorted, found.values())) == [["a", "b", "c"], ["d", "e", "f"]]
    assert share_out([], [], [], SHARES, seed=0) == {"train": (), "val": (), "test": ()}
