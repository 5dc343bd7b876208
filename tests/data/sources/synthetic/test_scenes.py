"""Drawn scenes: exact boxes, truthful flags, and every class."""

import numpy as np
import pytest

from keras_frcnn.data.sources.synthetic import scenes as scenes_module
from keras_frcnn.data.sources.synthetic.drawn import draw_picture
from keras_frcnn.data.sources.synthetic.scenes import CLASS_NAMES, DIFFICULT_BELOW

SIZE = (120, 160)


@pytest.fixture(scope="module")
def scenes():
    return [draw_picture(seed=3, split="train", index=index, size=SIZE) for index in range(120)]


def test_boxes_are_exactly_those_of_the_masks(scenes):
    for scene in scenes:
        for box, mask in zip(scene.boxes, scene.masks, strict=True):
            y, x = np.nonzero(mask)
            assert box.tolist() == [x.min() + 1, y.min() + 1, x.max() + 1, y.max() + 1]


def test_the_box_of_a_known_rectangle_is_exact():
    # Continuous corners x 10..30, y 5..25 cover the pixels 10..29 and 5..24, which VOC counts from 1.
    contour = np.array([(10, 5), (30, 5), (30, 25), (10, 25)], np.float64)
    alpha, _ = scenes_module._rasterise(np.random.default_rng(0), [contour], 40, 50)
    assert scenes_module._mask_box(alpha >= scenes_module.COVERED) == (11, 6, 30, 25)
    assert (alpha[5:25, 10:30] == 1).all()


def test_masks_are_where_the_picture_was_painted():
    # Independent of the masks: the scene differs from its background, drawn without shapes, in the shapes alone.
    for index in range(4):
        scene = draw_picture(5, "train", index, SIZE)
        assert len(scene.boxes) > 0
        background = _background_alone(5, index)
        changed = np.abs(scene.image.astype(int) - background).max(axis=-1) > 25
        painted = scene.masks.any(axis=0)
        near_painted = np.zeros_like(painted)
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                near_painted |= np.roll(painted, (dy, dx), axis=(0, 1))
        assert not (changed & ~near_painted).any()
        assert changed[painted].mean() > 0.8


def _background_alone(seed, index):
    """The background of a training picture, in 0..255."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("keras_frcnn.data.sources.synthetic.scenes._place_shapes", lambda rng, height, width: [])
        return draw_picture(seed, "train", index, SIZE).image.astype(int)


def test_difficult_is_what_is_hardly_seen(scenes):
    for scene in scenes:
        for index, mask in enumerate(scene.masks):
            seen = mask & ~scene.masks[index + 1 :].any(axis=0)
            assert scene.difficult[index] == (seen.sum() < DIFFICULT_BELOW * mask.sum())
            assert seen.any()


def test_truncated_shapes_touch_the_edge(scenes):
    for scene in scenes:
        near_upper_left = (scene.boxes[:, :2] <= 2).any(axis=1)
        near_lower_right = (scene.boxes[:, 2:] >= (SIZE[1] - 1, SIZE[0] - 1)).any(axis=1)
        assert (near_upper_left | near_lower_right | ~scene.truncated).all()


def test_everything_occurs_and_sizes_are_as_said(scenes):
    classes = np.concatenate([scene.classes for scene in scenes])
    counts = [len(scene.boxes) for scene in scenes]
    boxes = np.concatenate([scene.boxes for scene in scenes])
    difficult = np.concatenate([scene.difficult for scene in scenes])
    truncated = np.concatenate([scene.truncated for scene in scenes])
    assert (np.bincount(classes, minlength=len(CLASS_NAMES)) > len(classes) / 12).all()
    assert set(counts) == set(range(7))
    assert 0.005 < difficult.mean() < 0.15 and 0.05 < truncated.mean() < 0.4
    sides = boxes[:, 2:] - boxes[:, :2] + 1  # of pictures half as high as the reference: 15 to 75 pixels, and the tilt
    assert (boxes >= 1).all() and (boxes[:, 2:] <= SIZE[::-1]).all()
    assert sides.min() >= 9 and sides.max() <= 90 and 30 <= np.median(sides) <= 45
