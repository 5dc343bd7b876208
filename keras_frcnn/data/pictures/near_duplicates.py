"""Pictures that show the same, found by 64-bit hashes of their pixels.

The hash is a perceptual hash (pHash): the signs of the lowest frequencies of the shrunken grey picture, compared with
their median.  Scaling, compression and small changes of brightness flip few of its bits.  Hashes of unrelated
pictures differ in about 32 bits.

Source: Zauner, "Implementation and benchmarking of perceptual image hash functions", 2010, section 3.2.1.

Axes: N pictures, U different hashes.
"""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np

HASH_BITS = 64
# Copies that were shrunk, brightened and compressed again differ in 0 to 6 bits.  1,550 photographs of VOC differ in 10
# or more from each other.
NEAR_BITS = 6

_SHRUNKEN = 32  # pixels of the shrunken picture's sides
_FREQUENCIES = 8  # kept in each direction
_BLOCK_PAIRS = 2**20  # pairs that are compared at once: a few arrays of 8 MiB


def picture_hash(pixels: np.ndarray) -> int:
    """The perceptual hash of a picture, (H, W, 3) or (H, W) uint8: 0 <= hash < 2**64.  A plain picture has hash 0."""
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY) if pixels.ndim == 3 else pixels
    small = cv2.resize(grey, (_SHRUNKEN, _SHRUNKEN), interpolation=cv2.INTER_AREA).astype(np.float32)
    low = cv2.dct(small - small.mean())[:_FREQUENCIES, :_FREQUENCIES].ravel()
    bits = low > np.median(low) if np.ptp(small) else np.zeros(HASH_BITS, bool)
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def near_duplicate_groups(hashes: Sequence[int], most_bits: int = NEAR_BITS) -> np.ndarray:
    """Group pictures whose hashes differ in at most `most_bits` bits, directly or through other pictures.

    The hashes are split into `most_bits` + 1 bands.  Two hashes that differ in at most `most_bits` bits agree in at
    least one band, so only hashes that share a band are compared.  100,000 hashes of unrelated pictures take about a
    second.

    Args:
      hashes: of `picture_hash`, N of them.
      most_bits: 0..63; 0 groups equal hashes only.

    Returns:
      (N,) int64, the number of each picture's group: the position of the group's first picture.
    """
    unique, first, inverse = np.unique(np.array(hashes, np.uint64), return_index=True, return_inverse=True)
    labels = np.arange(len(unique))
    for members in _buckets(unique, most_bits + 1) if most_bits else ():
        block = max(1, _BLOCK_PAIRS // len(members))
        for start in range(0, len(members), block):
            rows = members[start : start + block]
            differences = unique[rows][:, None] ^ unique[members[start:]]
            row, column = np.nonzero(_count_bits(differences) <= most_bits)
            _connect(labels, rows[row], members[start:][column])
    # `unique` is sorted by hash: rename each group after the picture that comes first.
    earliest = np.full(len(unique), len(inverse))
    np.minimum.at(earliest, labels, first)
    return earliest[labels][inverse.reshape(-1)].astype(np.int64)


def _count_bits(values: np.ndarray) -> np.ndarray:
    """The number of ones in each value: (...) uint64 -> (...) uint64.

    Adds neighbouring groups of 1, 2 and 4 bits, then all bytes (Warren, "Hacker's Delight", section 5-1).  NumPy has
    `bitwise_count` from version 2 on.
    """
    values = values - ((values >> np.uint64(1)) & np.uint64(0x5555555555555555))
    values = (values & np.uint64(0x3333333333333333)) + ((values >> np.uint64(2)) & np.uint64(0x3333333333333333))
    values = (values + (values >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return (values * np.uint64(0x0101010101010101)) >> np.uint64(56)


def _buckets(hashes: np.ndarray, bands: int) -> Iterator[np.ndarray]:
    """The positions of the hashes (U,) that agree in one of the bands, two or more at a time."""
    edges = np.linspace(0, HASH_BITS, bands + 1).round().astype(int).tolist()
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        keys = (hashes >> np.uint64(low)) & np.uint64(2 ** (high - low) - 1)
        order = np.argsort(keys, kind="stable")
        starts = np.flatnonzero(np.diff(keys[order])) + 1
        yield from (members for members in np.split(order, starts) if len(members) > 1)


def _connect(labels: np.ndarray, a: np.ndarray, b: np.ndarray) -> None:
    """Give the groups of each pair a[i], b[i] one label, in place.  A label is the smallest position of its group."""
    while True:
        apart = labels[a] != labels[b]
        a, b = a[apart], b[apart]
        if not len(a):
            return
        lower = np.minimum(labels[a], labels[b])
        np.minimum.at(labels, labels[a], lower)
        np.minimum.at(labels, labels[b], lower)
        while (labels[labels] != labels).any():
            labels[:] = labels[labels]
