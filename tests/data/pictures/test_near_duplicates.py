"""Perceptual hashes and the groups that they give."""

import random

import cv2
import numpy as np
import pytest

from keras_frcnn.data.pictures import near_duplicates
from keras_frcnn.data.pictures.near_duplicates import NEAR_BITS, near_duplicate_groups, picture_hash
from keras_frcnn.data.sources.synthetic.drawn import draw_picture


def distance(a, b):
    return (a ^ b).bit_count()


def pairwise_groups(hashes, most_bits):
    """The groups, by comparing every pair until nothing changes."""
    groups = list(range(len(hashes)))
    changed = True
    while changed:
        changed = False
        for i in range(len(hashes)):
            for j in range(len(hashes)):
                if distance(hashes[i], hashes[j]) <= most_bits and groups[i] > groups[j]:
                    groups[i], changed = groups[j], True
    return groups


@pytest.fixture(scope="module")
def pictures():
    return [draw_picture(3, "train", index, (120, 160)).image for index in range(12)]


def test_a_changed_copy_has_nearly_the_same_hash(pictures):
    for picture in pictures:
        small = cv2.resize(picture, None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA)
        bright = np.clip(small * 1.1 + 5.0, 0, 255).astype(np.uint8)
        _, encoded = cv2.imencode(".jpg", bright, [cv2.IMWRITE_JPEG_QUALITY, 60])
        copy = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
        assert distance(picture_hash(picture), picture_hash(copy)) <= NEAR_BITS


def test_unrelated_pictures_have_other_hashes(pictures):
    hashes = [picture_hash(picture) for picture in pictures]
    assert min(distance(a, b) for i, a in enumerate(hashes) for b in hashes[:i]) > 2 * NEAR_BITS
    assert all(0 <= value < 2**64 and value.bit_count() == 32 for value in hashes)


def test_grey_and_plain_pictures():
    assert picture_hash(np.full((20, 30, 3), 90, np.uint8)) == 0
    grey = np.arange(600, dtype=np.uint16).reshape(20, 30).astype(np.uint8)
    assert picture_hash(grey) == picture_hash(np.repeat(grey[..., None], 3, axis=2)) != 0


def test_groups_of_hashes_by_hand():
    # 0b0 and 0b11 differ in 2 bits, 0b11 and 0b1111 as well: one chain.  The last one is far from all others.
    assert near_duplicate_groups([2**64 - 1, 0b1111, 0b11, 2**64 - 1, 0, 2**40 - 1], 2).tolist() == [0, 1, 1, 0, 1, 5]
    assert near_duplicate_groups([7, 6, 7], 0).tolist() == [0, 1, 0]
    assert near_duplicate_groups([], 2).tolist() == []


@pytest.mark.parametrize("block_pairs", [2**20, 5])
@pytest.mark.parametrize("most_bits", [0, 1, 3, 6, 12])
def test_groups_are_those_of_all_pairs(most_bits, block_pairs, monkeypatch):
    monkeypatch.setattr(near_duplicates, "_BLOCK_PAIRS", block_pairs)  # 5: every bucket takes several blocks
    rng = random.Random(most_bits)
    centres = [rng.getrandbits(64) for _ in range(12)]
    hashes = []
    for _ in range(60):
        value = rng.choice(centres)
        for bit in rng.sample(range(64), rng.randrange(0, 9)):
            value ^= 1 << bit
        hashes.append(value)
    assert near_duplicate_groups(hashes, most_bits).tolist() == pairwise_groups(hashes, most_bits)
