"""The answers of an exported SavedModel, and their comparison with the Keras model."""

import dataclasses
import io
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from export.shared.parity import ParityError, PictureDetections, Tolerance, check, compare, format_parity
from export.shared.reference import reference_detections, reference_proposals
from keras_frcnn.api.exports.answers import DETECTION_OUTPUTS
from keras_frcnn.api.exports.saved_model import ask_signature
from keras_frcnn.data.pictures.orientation import apply_orientation
from keras_frcnn.network.model import FasterRCNN

PROPOSAL_OUTPUTS = ("proposal_boxes", "proposal_scores", "num_proposals")

# By precision of weights and layers; the reference is the Keras model in float32.
TOLERANCES = {
    "float32": Tolerance(box=1e-3, score=1e-4),
    "bfloat16": Tolerance(box=2e-2, score=5e-2, share=0.85),
    "float16": Tolerance(box=1e-2, score=1e-2, share=0.95),
}

Signatures = Mapping[str, Any]  # name -> concrete function, as `tf.saved_model.load` gives them

_LOG = logging.getLogger(__name__)


def detect(signatures: Signatures, image: np.ndarray) -> PictureDetections:
    """The detections in one (H, W, 3) uint8 picture, by `serving_default`."""
    return PictureDetections(*ask_signature(signatures["serving_default"], image))


def detect_in_file(signatures: Signatures, encoded: bytes) -> PictureDetections:
    """The detections in one JPEG or PNG by `image_bytes`.  Raises ParityError if it is refused."""
    outputs = signatures["image_bytes"](image_bytes=tf.constant([encoded]))
    error = outputs["image_errors"].numpy()[0].decode()
    if error:
        raise ParityError(f"the signature image_bytes refuses a picture: {error}")
    return PictureDetections(*_rows(outputs, *DETECTION_OUTPUTS))


def propose(signatures: Signatures, image: np.ndarray) -> PictureDetections:
    """The proposals in one (H, W, 3) uint8 picture by `proposals`, in the form of detections of class 0."""
    boxes, scores = _rows(signatures["proposals"](images=image[None]), *PROPOSAL_OUTPUTS)
    return PictureDetections(boxes, scores * 0, scores)


def _as_png(image: np.ndarray, turned: bool) -> bytes:
    """A PNG of a picture, (H, W, 3) uint8, that has the EXIF orientation 6, a quarter turn clockwise.

    With `turned`, the picture is stored as a camera does, so that it is `image` after the turn.  Without, the reader is
    to ignore the orientation, and the picture is stored as it is.
    """
    exif, buffer = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    stored = apply_orientation(tf.constant(image), 8).numpy() if turned else image  # 8 undoes 6
    Image.fromarray(stored).save(buffer, "PNG", exif=exif)
    return buffer.getvalue()


def _rows(outputs: Mapping[str, Any], *names: str) -> tuple[np.ndarray, ...]:
    """The outputs `names` of the first picture without padding; the last name is the output with their number."""
    count = int(outputs[names[-1]][0])
    return tuple(outputs[name][0, :count].numpy() for name in names[:-1])


def compare_with_keras(model: FasterRCNN, signatures: Signatures, images: Sequence[np.ndarray], precision: str) -> None:
    """Compare all three signatures with the Keras model on (H, W, 3) uint8 pictures, and log the differences.

    Raises ParityError if a signature is beyond the tolerance of `precision`.
    """

    def detect_in_png(signatures: Signatures, image: np.ndarray) -> PictureDetections:
        return detect_in_file(signatures, _as_png(image, model.config.image.applies_exif))

    tolerance, test = TOLERANCES[precision], model.config.test
    all_proposals = dataclasses.replace(test, score_threshold=0.0, max_detections=test.post_nms_topk)
    detections = reference_detections(model, images)
    for name, reference, answer, config in (
        ("serving_default", detections, detect, test),
        ("image_bytes", detections, detect_in_png, test),
        ("proposals", reference_proposals(model, images), propose, all_proposals),
    ):
        parity = compare(reference, [answer(signatures, image) for image in images], tolerance, config)
        _LOG.info("%s: %s", name, format_parity(parity))
        check(parity, tolerance)
