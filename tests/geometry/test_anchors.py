"""Anchors: the nine of the paper by hand, their order, and which of them count in an image."""

import numpy as np
import pytest
import tensorflow as tf

from keras_frcnn.geometry.anchors import base_anchors, base_areas, inside_image, on_feature_cells, tile_anchors

SCALES, RATIOS, STRIDE = (128, 256, 512), (0.5, 1, 2), 16


def test_the_nine_anchors_of_one_cell():
    # Cell (2, 3) covers the pixels from 32 to 48 down and from 48 to 64 across: its middle is (40, 56).
    # Ratio is height / width, so that of area 128 x 128 and ratio 1/2 there are
    #   height 128 * sqrt(1/2) = 90.5097, half of it 45.2548; width 128 / sqrt(1/2) = 181.0193, half of it 90.5097.
    # Ratio 1: half sides 64. Ratio 2: the sides of ratio 1/2 exchanged.
    # Scale 256 doubles the half sides to 90.5097, 128, 181.0193; scale 512 to 181.0193, 256, 362.0387.
    expected = [
        # scale 128
        [40 - 45.2548, 56 - 90.5097, 40 + 45.2548, 56 + 90.5097],  # ratio 1/2: wide
        [40 - 64, 56 - 64, 40 + 64, 56 + 64],  # ratio 1
        [40 - 90.5097, 56 - 45.2548, 40 + 90.5097, 56 + 45.2548],  # ratio 2: tall
        # scale 256
        [40 - 90.5097, 56 - 181.0193, 40 + 90.5097, 56 + 181.0193],
        [40 - 128, 56 - 128, 40 + 128, 56 + 128],
        [40 - 181.0193, 56 - 90.5097, 40 + 181.0193, 56 + 90.5097],
        # scale 512
        [40 - 181.0193, 56 - 362.0387, 40 + 181.0193, 56 + 362.0387],
        [40 - 256, 56 - 256, 40 + 256, 56 + 256],
        [40 - 362.0387, 56 - 181.0193, 40 + 362.0387, 56 + 181.0193],
    ]
    # Row by row over 4 x 5 cells, the nine of a cell together: cell (2, 3) begins at (2 * 5 + 3) * 9 = 117.
    anchors = tile_anchors(SCALES, RATIOS, 4, 5, STRIDE)
    assert anchors.shape == (4 * 5 * 9, 4)
    np.testing.assert_allclose(anchors[117:126], expected, atol=1e-3)


def test_area_and_ratio():
    height, width = np.transpose(base_anchors(SCALES, RATIOS)[:, 2:] * 2)
    np.testing.assert_allclose(height * width, np.repeat([128**2, 256**2, 512**2], 3), rtol=3e-5)
    np.testing.assert_allclose(height / width, RATIOS * 3, rtol=3e-5)


@pytest.mark.parametrize(
    ("scales", "ratios"), [(SCALES, RATIOS), ((45, 90, 33.3), (0.7, 1, 1.4)), ((10, 2000), (1 / 3, 3))]
)
def test_anchors_of_all_cells_have_exactly_the_same_shape(scales, ratios):
    grid = np.reshape(tile_anchors(scales, ratios, 200, 300, STRIDE), [200, 300, -1, 4])
    y, x = np.meshgrid(np.arange(200) * 16 + 8, np.arange(300) * 16 + 8, indexing="ij")
    centres = np.stack([y, x, y, x], axis=-1)[:, :, None]
    moved = centres + np.float64(base_anchors(scales, ratios))
    np.testing.assert_array_equal(grid, moved)  # float64 against float32: nothing was rounded
    sides = grid[..., 2:] - grid[..., :2]
    np.testing.assert_array_equal(sides, np.broadcast_to(sides[0, 0], sides.shape))


def test_the_shapes_of_the_released_code():
    # py-faster-rcnn prints these for generate_anchors(): x0, y0, x1, y1 around (7.5, 7.5), with inclusive corners.
    table = np.float64([
        [-84, -40, 99, 55], [-176, -88, 191, 103], [-360, -184, 375, 199],
        [-56, -56, 71, 71], [-120, -120, 135, 135], [-248, -248, 263, 263],
        [-36, -80, 51, 95], [-80, -168, 95, 183], [-168, -344, 183, 359],
    ])  # fmt: skip
    inclusive = table + [0, 0, 1, 1] - 8  # continuous corners around the origin
    by_scale = inclusive.reshape(3, 3, 4).transpose(1, 0, 2).reshape(9, 4)[:, [1, 0, 3, 2]]
    anchors = base_anchors(SCALES, RATIOS, "released")
    np.testing.assert_array_equal(anchors, by_scale)
    np.testing.assert_array_equal(base_areas(SCALES, RATIOS, "released"), np.prod(anchors[:, 2:] * 2, axis=1))
    np.testing.assert_array_equal(tile_anchors(SCALES, RATIOS, 1, 1, STRIDE, "released"), anchors + 8)


def test_base_areas():
    areas = base_areas(SCALES, RATIOS)
    assert areas.dtype == np.float32
    # A shape keeps the area of its scale, whatever its ratio.
    assert areas.tolist() == [16384] * 3 + [65536] * 3 + [262144] * 3
    height, width = np.transpose(base_anchors((45, 33.3), (0.7, 1.4))[:, 2:] * 2)
    np.testing.assert_allclose(base_areas((45, 33.3), (0.7, 1.4)), height * width, rtol=1e-4)


@pytest.mark.parametrize("number", [int, float, np.float32, np.float64])
def test_float32_whatever_comes_in(number):
    scales = tuple(number(s) for s in SCALES)
    assert base_anchors(scales, RATIOS).dtype == np.float32
    anchors = tile_anchors(scales, RATIOS, tf.constant(4), tf.constant(5), STRIDE)
    assert anchors.dtype == tf.float32
    np.testing.assert_array_equal(anchors, tile_anchors(SCALES, RATIOS, 4, 5, STRIDE))


def test_no_cells_no_anchors():
    assert tile_anchors(SCALES, RATIOS, 0, 5, STRIDE).shape == (0, 4)


def test_inside_image_by_hand():
    anchors = tf.constant(
        [
            [0, 0, 100, 50],  # fills the first image: its border is not crossed
            [-0.01, 0, 100, 50],
            [0, -0.01, 100, 50],
            [0, 0, 100.01, 50],  # inside the second image alone
            [0, 0, 100, 50.01],
            [10, 10, 20, 20],
        ],
        tf.float32,
    )
    inside = inside_image(anchors, tf.constant([[100, 50], [200, 50]]))
    assert inside.numpy().astype(int).tolist() == [[1, 0, 0, 0, 0, 1], [1, 0, 0, 1, 0, 1]]


def test_anchors_inside_a_typical_image():
    # 600 x 1000 px: section 3.1.2 says "roughly 20000 anchors", of which about 6000 do not cross the border.
    # Middles stand at 8, 24, ... 584 down and at 8, 24, ... 984 across. At least half a side from both borders are
    #   half side   45.25   64   90.51  128  181.02  256  362.04
    #   rows           32   30      26   22      15    6       0
    #   columns        57   55      51   47      40   31      17
    anchors = tile_anchors(SCALES, RATIOS, 600 // 16, 1000 // 16, STRIDE)
    assert anchors.shape[0] == 37 * 62 * 9 == 20646
    inside = inside_image(anchors, tf.constant([[600, 1000]])).numpy().reshape(37 * 62, 9)
    expected = [32 * 51, 30 * 55, 26 * 57, 26 * 40, 22 * 47, 15 * 51, 15 * 17, 6 * 31, 0]
    assert np.count_nonzero(inside, axis=0).tolist() == expected
    assert inside.sum() == 8044


def test_on_feature_cells_of_odd_sizes():
    anchors = tile_anchors([64], [1], 3, 4, STRIDE)  # one anchor a cell; they all cross the border
    sizes = [[48, 64], [47, 63], [33, 16], [31, 79], [15, 64]]
    on_cells = on_feature_cells(anchors, tf.constant(sizes), STRIDE).numpy().reshape(5, 3, 4).astype(int)
    # 48 x 64 has 3 x 4 cells; 47 x 63: 2 x 3; 33 x 16: 2 x 1; 31 x 79: 1 x 4; 15 x 64 has no row of cells.
    for cells, (height, width) in zip(on_cells, [(3, 4), (2, 3), (2, 1), (1, 4), (0, 4)], strict=True):
        expected = np.zeros([3, 4], int)
        expected[:height, :width] = 1
        np.testing.assert_array_equal(cells, expected)


def test_on_feature_cells_takes_all_anchors_of_a_cell():
    anchors = tile_anchors(SCALES, RATIOS, 2, 2, STRIDE)
    on_cells = on_feature_cells(anchors, tf.constant([[17, 40]]), STRIDE).numpy().reshape(2, 2, 9)
    np.testing.assert_array_equal(on_cells, np.broadcast_to([[[True], [True]], [[False], [False]]], (2, 2, 9)))
