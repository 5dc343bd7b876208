"""Anchor coverage against every anchor at every position, and the suggested anchors."""

import numpy as np
import pytest
import tensorflow as tf

from keras_frcnn.data.doctor import examine
from keras_frcnn.data.doctor.anchors import coverage
from keras_frcnn.data.doctor.anchors.coverage import anchor_coverage, best_ious
from keras_frcnn.data.doctor.anchors.suggestion import SHAPES, suggest_anchors
from keras_frcnn.data.doctor.checks.objects import gather_objects
from keras_frcnn.data.example import Dataset, Example
from keras_frcnn.data.pictures.images import resized_size
from keras_frcnn.facts.config import AnchorConfig, DetectorConfig, ImageConfig
from keras_frcnn.geometry import anchors as anchor_rules
from keras_frcnn.geometry import boxes as box_ops
from keras_frcnn.network.backbone import STRIDE


def example(boxes, classes=None, difficult=None, size=(480, 640), name="a"):
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    classes = np.ones(len(boxes), np.int32) if classes is None else np.array(classes, np.int32)
    difficult = np.zeros(len(boxes), bool) if difficult is None else np.array(difficult)
    return Example(name, f"{name}.jpg", *size, boxes, classes, difficult)


def random_boxes(rng, count, size):
    sides = np.exp(rng.uniform(np.log(8), np.log(min(size)), (count, 2)))
    low = rng.uniform(0, 1, (count, 2)) * (np.array(size) - sides)
    return np.concatenate([low, low + sides], axis=1)


def brute_force(boxes, size, scales, ratios):
    """The best IoU over all anchors that training may use, as the rules of the targets compute it."""
    tiled = anchor_rules.tile_anchors(scales, ratios, size[0] // STRIDE + 1, size[1] // STRIDE + 1, STRIDE)
    sizes = tf.constant([size], tf.int32)
    usable = anchor_rules.inside_image(tiled, sizes) & anchor_rules.on_feature_cells(tiled, sizes, STRIDE)
    areas = np.tile(anchor_rules.base_areas(scales, ratios), len(tiled) // (len(scales) * len(ratios)))
    ious = box_ops.pairwise_iou(tiled, tf.constant(boxes, tf.float32), areas).numpy()
    return np.where(usable[0].numpy()[:, None], ious, 0.0).max(axis=0)


def test_the_stride_is_that_of_the_backbone():
    assert coverage.STRIDE == STRIDE


@pytest.mark.parametrize("size", [(480, 640), (203, 331), (100, 60)])
def test_best_ious_are_those_of_all_positions(size):
    boxes = random_boxes(np.random.default_rng(0), 200, size)
    scales, ratios = (32.0, 75.0, 150.0, 512.0), (0.4, 1.0, 2.0)
    found = best_ious(boxes, np.tile(np.array(size, float), (200, 1)), scales, ratios)
    np.testing.assert_allclose(found, brute_force(boxes, size, scales, ratios), atol=1e-5)
    assert found.max() > 0.5


def test_a_picture_smaller_than_every_anchor_covers_nothing():
    assert best_ious(np.array([[0.0, 0, 50, 50]]), np.array([[50.0, 50]]), (64.0,), (1.0,)).tolist() == [0.0]


def test_objects_are_in_pixels_of_the_resized_pictures_and_classes_go_by_name():
    first = Dataset("a", ("cat", "dog"), (example([[0, 0, 48, 64]], [2]), example([])), {})
    second = Dataset("b", ("dog", "hen"), (example([[0, 0, 10, 20], [5, 5, 9, 9]], [1, 2], [True, False]),), {})
    objects = gather_objects([first, second], ImageConfig(short_side=240, long_side=1000))
    assert objects.class_names == ("cat", "dog", "hen")
    assert objects.classes.tolist() == [1, 1, 2] and objects.pictures.tolist() == [0, 2, 2]
    assert objects.boxes.tolist() == [[0, 0, 24, 32], [0, 0, 5, 10], [2.5, 2.5, 4.5, 4.5]]
    assert objects.sizes.tolist() == [[240, 320]] * 3 and objects.difficult.tolist() == [False, True, False]


def test_coverage_of_each_class_by_hand():
    """Anchors of 32 pixels stand at 8..40, 24..56, ...; a box of 32 x 24 inside one has an IoU of 0.75."""
    boxes = [[8, 8, 40, 40], [24, 8, 56, 32], [8, 8, 18, 18], [8, 8, 40, 40]]
    dataset = Dataset("a", ("cat", "dog", "hen"), (example(boxes, [1, 1, 2, 2], [False, False, False, True]),), {})
    objects = gather_objects([dataset], ImageConfig(short_side=480, long_side=1000))
    found = anchor_coverage(objects, AnchorConfig((32.0,), (1.0,)))
    np.testing.assert_allclose(found.best_ious, [1, 0.75, 100 / 1024])
    assert found.classes[0] == ("cat", 2, (1.0, 1.0)) and found.classes[1] == ("dog", 1, (0.0, 0.0))
    assert found.classes[2].objects == 0 and np.isnan(found.classes[2].shares).all()
    np.testing.assert_allclose(found.shares, [2 / 3, 2 / 3])


def test_no_objects_at_all():
    objects = gather_objects([Dataset("a", ("cat",), (example([]),), {})], ImageConfig())
    assert np.isnan(anchor_coverage(objects, AnchorConfig()).shares).all()
    assert suggest_anchors(objects) is None


def test_suggested_anchors_fit_objects_of_two_shapes():
    """Half of the objects are tall, half are small squares; the rare class counts as much as the other."""
    rng = np.random.default_rng(1)
    boxes, classes = [], []
    for _ in range(200):
        low = rng.uniform(0, 200, 2)
        tall = rng.random() < 0.9
        boxes.append([*low, *(low + ((180, 60) if tall else (40, 40)) * rng.uniform(0.95, 1.05, 2))])
        classes.append(1 if tall else 2)
    dataset = Dataset("a", ("tall", "small"), (example(boxes, classes),), {})
    objects = gather_objects([dataset], ImageConfig(short_side=480, long_side=1000))
    suggested = suggest_anchors(objects)
    assert suggested is not None and (len(suggested.scales), len(suggested.ratios)) in SHAPES
    before, after = (anchor_coverage(objects, anchors) for anchors in (AnchorConfig(), suggested))
    assert after.shares[1] > before.shares[1] + 0.2
    assert min(entry.shares[0] for entry in after.classes) > 0.95
    assert suggest_anchors(objects) == suggested  # the same each time


def test_suggested_anchors_keep_the_shapes_of_the_detector():
    """The anchors of the ratio 3 in the released code have an area that is 5 % smaller, so they need larger scales."""
    low = np.random.default_rng(1).uniform(0, 200, (40, 2))
    dataset = Dataset("a", ("cat",), (example(np.hstack([low, low + [240, 80]])),), {})
    config = DetectorConfig(anchors=AnchorConfig(shapes="released"), image=ImageConfig(short_side=480, long_side=1000))
    objects = gather_objects([dataset], config.image)
    exact, released = (suggest_anchors(objects, rounding=shapes) for shapes in ("exact", "released"))
    assert (exact.shapes, released.shapes) == ("exact", "released") and exact.scales != released.scales
    found = examine._check_anchors({"train": dataset}, objects, config, suggest_always=True)
    assert found.suggested.anchors == released


def test_suggestions_have_at_most_a_few_anchors_more_than_the_paper():
    assert max(scales * ratios for scales, ratios in SHAPES) == 12


def test_pictures_of_many_sizes_are_resized_as_each_alone():
    sizes = [(480, 640), (333, 500), (20, 4000), (7, 9), (480, 640)]
    dataset = Dataset("a", ("cat",), tuple(example([[0, 0, 5, 5]], size=size) for size in sizes), {})
    objects = gather_objects([dataset], ImageConfig(short_side=600, long_side=1000))
    assert objects.sizes.tolist() == [resized_size(size, 600, 1000).numpy().tolist() for size in sizes]
    assert objects.boxes[2].tolist() == [0, 0, 4, 1.25]  # 20 x 4000 pixels become 16 x 1000
