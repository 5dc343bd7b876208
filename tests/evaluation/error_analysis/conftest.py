"""Small images with objects and detections for the tests of the error analysis."""

import numpy as np
import pytest

from keras_frcnn.data.example import Example
from keras_frcnn.evaluation.detections.record import ImageDetections


@pytest.fixture(scope="session")
def make_image():
    """Build an image and its detections from objects (box, class[, difficult]) and detections (box, class, score)."""

    def make(objects=(), found=(), image_id="a", areas=None):
        rows = [(*entry, False)[:3] for entry in objects]
        boxes, classes, difficult = zip(*rows, strict=True) if rows else ((), (), ())
        boxes = np.array(boxes, np.float32).reshape(-1, 4)
        example = Example(
            image_id, "", 1000, 1000, boxes, np.array(classes, np.int32), np.array(difficult, bool), areas=areas
        )
        boxes, classes, scores = zip(*found, strict=True) if found else ((), (), ())
        boxes = np.array(boxes, np.float32).reshape(-1, 4)
        return example, ImageDetections(image_id, boxes, np.array(classes, np.int32), np.array(scores, np.float64))

    return make


@pytest.fixture(scope="session")
def analyse(make_image):
    """The error analysis of one image with classes cat (1) and dog (2)."""
    from keras_frcnn.evaluation.error_analysis.analysis import error_analysis

    def analyse(objects=(), found=(), proposals=None, areas=None, **settings):
        example, record = make_image(objects, found, areas=areas)
        given = None if proposals is None else {"a": np.array(proposals, np.float32).reshape(-1, 4)}
        return error_analysis([example], [record], ("cat", "dog"), given, **settings)

    return analyse
