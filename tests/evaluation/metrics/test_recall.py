"""Recall of proposals: hand-computed cases and a greedy matching written out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_frcnn.data.example import Example
from keras_frcnn.evaluation.metrics.recall import COUNTS, IOU_THRESHOLDS, cover_objects, proposal_recall
from keras_frcnn.facts.errors import InputError

A, B = (0, 0, 10, 10), (0, 100, 10, 110)
FAR = (50, 50, 60, 60)
NAMES = ("cat", "dog")


def example(boxes, difficult=None, image_id="a", classes=None):
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    difficult = np.zeros(len(boxes)) if difficult is None else difficult
    classes = np.asarray(np.ones(len(boxes)) if classes is None else classes, np.int32)
    return Example(image_id, "", 200, 200, boxes, classes, np.asarray(difficult, bool))


def test_defaults_are_the_published_ones():
    assert COUNTS == (50, 100, 300, 1000, 2000)
    np.testing.assert_allclose(IOU_THRESHOLDS, np.linspace(0.5, 0.95, 10))


def test_only_the_first_proposals_count():
    result = proposal_recall([example([A, B])], {"a": np.array([FAR, A, B])}, NAMES, counts=(1, 2, 3, 100))
    np.testing.assert_array_equal(result.recalls[:, 0], [0, 0.5, 1, 1])
    np.testing.assert_array_equal(result.average_recalls, [0, 0.5, 1, 1])
    np.testing.assert_array_equal(result.mean_proposals, [1, 2, 3, 3])
    assert (result.objects, result.images) == (2, 1)


def test_threshold_itself_is_reached():
    # IoU is exactly 7/10: reached are 0.5, 0.55, 0.6, 0.65 and 0.7, which is five of ten.
    result = proposal_recall([example([A])], {"a": np.array([(0, 0, 10, 7)])}, NAMES, counts=(1,))
    np.testing.assert_array_equal(result.recalls[0], [1, 1, 1, 1, 1, 0, 0, 0, 0, 0])
    assert result.average_recalls[0] == 0.5


def test_one_proposal_covers_one_object():
    twins = [(0, 0, 10, 10), (0, 1, 10, 11)]
    one = proposal_recall([example(twins)], {"a": np.array([A])}, NAMES, counts=(10,))
    assert one.recalls[0, 0] == 0.5
    two = proposal_recall([example(twins)], {"a": np.array([A, A])}, NAMES, counts=(10,))
    assert two.recalls[0, 0] == 1


def test_best_covered_object_is_served_first():
    # The first object alone would take proposal 0 (0.8); but the second fits it better (0.9) and is served first.
    np.testing.assert_array_equal(cover_objects(np.array([[0.8, 0.9], [0.3, 0.7]])), [0.3, 0.9])


def test_difficult_objects_are_left_out():
    result = proposal_recall([example([A, B], difficult=[False, True])], {"a": np.array([A])}, NAMES, counts=(10,))
    assert result.objects == 1 and result.recalls[0, 0] == 1


def test_objects_are_pooled_over_the_images():
    examples = [example([A, B, FAR], image_id="a"), example([A], image_id="b")]
    result = proposal_recall(examples, {"a": np.array([A]), "b": np.array([A])}, NAMES, counts=(10,))
    assert result.recalls[0, 0] == 2 / 4


def test_each_class_has_its_own_recall():
    examples = [
        example([A, B, FAR], image_id="a", classes=[1, 2, 2], difficult=[False, False, True]),
        example([A, FAR], image_id="b", classes=[2, 1]),
    ]
    found = {"a": np.array([A, B]), "b": np.array([A])}
    cat, dog, hen = proposal_recall(examples, found, ("cat", "dog", "hen"), counts=(1, 2)).classes
    assert (cat.class_name, cat.objects, dog.class_name, dog.objects, hen.objects) == ("cat", 2, "dog", 2, 0)
    np.testing.assert_array_equal(cat.recalls, np.full((2, 10), 0.5))
    np.testing.assert_array_equal(dog.recalls, np.repeat([[0.5], [1.0]], 10, axis=1))
    assert np.isnan(hen.recalls).all()


@pytest.mark.filterwarnings("error")
def test_empty_inputs():
    no_objects = proposal_recall([example([])], {"a": np.array([A])}, NAMES)
    assert np.all(np.isnan(no_objects.recalls)) and np.all(np.isnan(no_objects.average_recalls))
    assert no_objects.recalls.shape == (5, 10) and no_objects.objects == 0
    no_proposals = proposal_recall([example([A])], {"a": np.zeros((0, 4))}, NAMES)
    np.testing.assert_array_equal(no_proposals.recalls, np.zeros((5, 10)))
    assert np.all(np.isnan(proposal_recall([], {}, NAMES).recalls))


def test_image_without_an_entry_is_rejected():
    with pytest.raises(InputError, match="proposals of image 'a': missing; compute the proposals of the whole split"):
        proposal_recall([example([A])], {}, NAMES)


def slow_cover(iou):
    """Greedy matching as a sorted list of all pairs."""
    pairs = sorted((-iou[p, g], g, p) for p in range(iou.shape[0]) for g in range(iou.shape[1]))
    covered, proposals = {}, set()
    for overlap, g, p in pairs:
        if g not in covered and p not in proposals:
            covered[g] = -overlap
            proposals.add(p)
    return [covered.get(g, 0.0) for g in range(iou.shape[1])]


@settings(deadline=None)
@given(st.integers(0, 7), st.integers(0, 7), st.integers(0, 2**32 - 1))
def test_agrees_with_all_pairs_sorted(proposals, objects, seed):
    iou = np.random.default_rng(seed).integers(0, 5, (proposals, objects)) / 4  # coarse, so that there are ties
    before = iou.copy()
    np.testing.assert_array_equal(cover_objects(iou), slow_cover(iou))
    np.testing.assert_array_equal(iou, before)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_recall_never_grows_with_the_threshold(seed):
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 30, (40, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(5, 20, (40, 2))], axis=1)
    examples = [example(boxes[:6], classes=rng.integers(1, 3, 6))]
    result = proposal_recall(examples, {"a": boxes[6:]}, NAMES, counts=(1, 5, 34))
    assert np.all(np.diff(result.recalls, axis=1) <= 0)
    assert np.all((result.recalls >= 0) & (result.recalls <= 1))
    assert np.all(result.recalls[:, 0] * result.objects <= result.mean_proposals)
    weighted = sum(np.nan_to_num(entry.recalls) * entry.objects for entry in result.classes)
    np.testing.assert_allclose(weighted, result.recalls * result.objects)
