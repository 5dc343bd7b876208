"""What the Keras model answers, against its own detection and RPN."""

import numpy as np

from export.shared.pictures import synthetic_images
from export.shared.reference import reference_detections, reference_proposals
from keras_frcnn.api.pictures import detect_pixels


def test_reference_detections_are_those_of_detect(model):
    images = synthetic_images(2, (64, 96))
    reference = reference_detections(model, images)
    for image, (boxes, classes, scores) in zip(images, reference, strict=True):
        pixels, *others = detect_pixels(model, image)
        assert len(scores) > 0
        np.testing.assert_allclose(boxes * (64, 96, 64, 96), pixels, rtol=1e-5)
        np.testing.assert_array_equal([classes, scores], others)


def test_reference_proposals_are_the_rpns(model):
    ((boxes, classes, scores),) = reference_proposals(model, synthetic_images(1, (64, 96)))
    assert 0 < len(boxes) == len(classes) == len(scores) <= 40 and not classes.any()
    assert (np.diff(scores) <= 0).all() and (boxes >= 0).all() and (boxes <= 1).all()
    assert boxes[:, 2:].max() > 0.5  # shares of the sides, not of a larger picture
