"""Divide pictures among splits: seeded, with near-duplicates together, and each class in all splits.

Source: Sechidis, Tsoumakas and Vlahavas, "On the stratification of multi-label data", 2011: a picture goes to the split
that lacks most pictures of its rarest class.  Here, groups of pictures are placed instead of single pictures, and a
full split takes no more.

Axes: N pictures.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Mapping, Sequence

_NO_OBJECTS = ""  # stands for the class of pictures without objects


def share_out(
    ids: Sequence[str],
    groups: Sequence[Hashable],
    classes: Sequence[Collection[str]],
    shares: Mapping[str, float],
    seed: int,
) -> dict[str, tuple[str, ...]]:
    """Give each group of pictures to one split.

    The sizes of the splits differ from their shares by at most the size of the largest group.  The result does not
    depend on the order of the pictures.

    Args:
      ids: (N,) image ids, each once.
      groups: (N,) the group of each picture; pictures of one group stay together.
      classes: (N,) the names of the classes in each picture.
      shares: the share of each split, over 0; they add up to 1.
      seed: another seed gives another division.

    Returns:
      The image ids of each split, in the order in which they are given.
    """
    members: defaultdict[Hashable, list[int]] = defaultdict(list)
    for position, group in enumerate(groups):
        members[group].append(position)
    strata = [set(names) or {_NO_OBJECTS} for names in classes]
    frequency = Counter(name for names in strata for name in names)
    missing = {name: share * len(ids) for name, share in shares.items()}
    missing_of_class = {each: {name: share * n for name, share in shares.items()} for each, n in frequency.items()}

    def rarest(positions: Sequence[int]) -> str:
        return min(
            {name for position in positions for name in strata[position]}, key=lambda name: (frequency[name], name)
        )

    def rank(positions: Sequence[int]) -> tuple[int, int, bytes]:
        """The place of a group in the order: large groups first, then rare classes, then by a hash with the seed."""
        first = min(ids[position] for position in positions)
        digest = hashlib.sha256(f"{seed} {first}".encode(errors="surrogateescape")).digest()
        return -len(positions), frequency[rarest(positions)], digest

    split_of: dict[int, str] = {}
    for positions in sorted(members.values(), key=rank):
        # A split that lacks fewer pictures takes the group only if no split lacks as many: this bounds the error.
        free = [name for name in shares if missing[name] >= len(positions)]
        of_class = missing_of_class[rarest(positions)]
        if free:
            chosen = max(free, key=lambda name: (of_class[name], missing[name]))
        else:
            chosen = max(shares, key=lambda name: missing[name])
        missing[chosen] -= len(positions)
        for position in positions:
            split_of[position] = chosen
            for name in strata[position]:
                missing_of_class[name][chosen] -= 1
    return {name: tuple(one for position, one in enumerate(ids) if split_of[position] == name) for name in shares}
