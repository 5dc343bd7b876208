"""What several tests of rules share: an oracle for NMS, and makers of small inputs."""

import numpy as np
import pytest
import tensorflow as tf

from keras_frcnn.facts.structures import GroundTruth


def iou(a, b):
    height = min(a[2], b[2]) - max(a[0], b[0])
    width = min(a[3], b[3]) - max(a[1], b[1])
    intersection = max(height, 0) * max(width, 0)
    return intersection / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - intersection)


def greedy_nms(boxes, scores, valid, count, iou_threshold):
    kept = []
    for i in sorted(np.flatnonzero(valid), key=lambda i: -scores[i]):
        if len(kept) < count and all(iou(boxes[i], boxes[j]) <= iou_threshold for j in kept):
            kept.append(int(i))
    return kept


@pytest.fixture(scope="session")
def nms_oracle():
    """Greedy NMS: (boxes, scores, valid, count, iou_threshold) -> indices of the kept boxes, best first."""
    return greedy_nms


def objects_of_one_image(boxes, classes=None, valid=None):
    boxes = np.reshape(boxes, (1, -1, 4))
    count = boxes.shape[1]
    return GroundTruth(
        boxes=tf.constant(boxes, tf.float32),
        classes=tf.constant([list(range(1, count + 1)) if classes is None else classes], tf.int32, [1, count]),
        valid=tf.constant([[True] * count if valid is None else valid], tf.bool, [1, count]),
    )


def join_images(*images):
    return type(images[0])(*(tf.concat(fields, axis=0) for fields in zip(*images, strict=True)))


@pytest.fixture(scope="session")
def ground_truth():
    """Makes the objects of one image: (boxes, classes=1, 2, ..., valid=all) -> GroundTruth."""
    return objects_of_one_image


@pytest.fixture(scope="session")
def batch_of():
    """Joins tuples of one image each into a tuple of a batch."""
    return join_images
