"""The SavedModel: three signatures from pixels to boxes that need only TensorFlow's own ops.

Axes: B images, H W pixels, N rows of detections, P rows of proposals.  Boxes in outputs are yxyx, from 0 to 1 of the
picture's sides.
"""

import os
import pathlib
import tempfile
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from export.savedmodel.encoded_picture import read_encoded
from export.shared import convention
from keras_frcnn.api.exports.answers import DETECTION_OUTPUTS
from keras_frcnn.data.pictures.images import prepare
from keras_frcnn.facts.files import write_json
from keras_frcnn.facts.limits import MOST_PIXELS
from keras_frcnn.facts.structures import Tensor
from keras_frcnn.network import forward
from keras_frcnn.network.head import Head
from keras_frcnn.network.model import FasterRCNN

_IMAGES = tf.TensorSpec([None, None, None, 3], tf.uint8, "images")


def make_signatures(model: FasterRCNN, head: Head, max_pixels: int = MOST_PIXELS) -> dict[str, Any]:
    """The concrete function of each signature, by name.  `head` replaces the head of the model.

    Each function takes and returns tensors with a batch axis:

      serving_default: images (B, H, W, 3) uint8 -> the outputs of `convention.detection_outputs`.
      image_bytes: B JPEGs or PNGs (B,) string -> the same, image_errors (B,) string and image_orientations (B,).
      proposals: images (B, H, W, 3) uint8 -> proposal_boxes (B, P, 4), proposal_scores (B, P), num_proposals (B,).

    The error of a readable picture is empty.  A file of more than `max_pixels` pixels is not read.  The orientation is
    the EXIF orientation that was applied, 1 to 8; boxes are those of the turned picture.
    """
    parts = model.parts._replace(head=head)
    sides = model.config.image.short_side, model.config.image.long_side
    rows = _output_specs(model.config.test.max_detections)

    def detect(images: Tensor, image_sizes: Tensor) -> dict[str, Tensor]:
        detections = forward.detect(parts, parts.backbone(images), image_sizes)
        return convention.detection_outputs(detections, image_sizes)

    def detect_in_file(encoded: Tensor) -> dict[str, Tensor]:
        """The outputs for one picture, a () string, without the batch axis."""
        image, error, orientation = read_encoded(encoded, model.config.image, max_pixels)

        def found() -> dict[str, Tensor]:
            outputs = detect(image[None], tf.shape(image)[None, :2])
            return {name: values[0] for name, values in outputs.items()}

        def nothing() -> dict[str, Tensor]:
            return {name: tf.zeros(spec.shape, spec.dtype) for name, spec in rows.items()}

        detections = tf.cond(tf.equal(error, ""), found, nothing)
        return {**detections, "image_errors": error, "image_orientations": tf.cast(orientation, tf.float32)}

    @tf.function(input_signature=[_IMAGES])
    def serving_default(images: Tensor) -> dict[str, Tensor]:
        return detect(*_prepare_batch(images, *sides))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "image_bytes")])
    def image_bytes(image_bytes: Tensor) -> dict[str, Tensor]:
        more = {"image_errors": tf.TensorSpec([], tf.string), "image_orientations": tf.TensorSpec([])}
        return _map_files(detect_in_file, image_bytes, {**rows, **more})

    @tf.function(input_signature=[_IMAGES])
    def proposals(images: Tensor) -> dict[str, Tensor]:
        images, image_sizes = _prepare_batch(images, *sides)
        counts = forward.detection_counts(model.config)
        found = forward.propose(parts, parts.backbone(images), image_sizes, counts)
        return {
            "proposal_boxes": convention.zero_to_one(found.boxes, image_sizes),
            "proposal_scores": found.scores,
            "num_proposals": tf.reduce_sum(tf.cast(found.valid, tf.float32), axis=-1),
        }

    functions = {"serving_default": serving_default, "image_bytes": image_bytes, "proposals": proposals}
    return {name: function.get_concrete_function() for name, function in functions.items()}


def _output_specs(max_detections: int) -> dict[str, tf.TensorSpec]:
    """Shape and type of the detection outputs for one picture, without the batch axis."""
    shapes: tuple[tuple[int, ...], ...] = ((max_detections, 4), (max_detections,), (max_detections,), ())
    return {name: tf.TensorSpec(shape) for name, shape in zip(DETECTION_OUTPUTS, shapes, strict=True)}


def _prepare_batch(images: Tensor, short_side: int, long_side: int) -> tuple[Tensor, Tensor]:
    """(B, H, W, 3) uint8 -> the network's inputs: images (B, h, w, 3) and image_sizes (B, 2)."""
    shape = tf.shape(images)
    problem = "images holds no pixels: give at least one picture, of at least one row and one column"
    with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(shape > 0), [problem, shape])]):
        images = prepare(images, short_side, long_side)
    return images, tf.tile(tf.shape(images)[None, 1:3], [shape[0], 1])


def _map_files(
    detect_in_file: Callable[[Tensor], dict[str, Tensor]], files: Tensor, output_specs: dict[str, tf.TensorSpec]
) -> dict[str, Tensor]:
    """The outputs of `detect_in_file` for each of `files` (B,) string, with a batch axis."""
    problem = "image_bytes is empty: give at least one picture"
    with tf.control_dependencies([tf.debugging.Assert(tf.size(files) > 0, [problem])]):
        files = tf.identity(files)
    # One picture at a time.  Padded to one size, a tall and a wide picture would take the memory and the time of two
    # large squares.  Decoded in parallel, they would need the memory of both.  On a CPU a batch is hardly faster.
    return tf.map_fn(detect_in_file, files, parallel_iterations=1, fn_output_signature=output_specs)


def save(
    model: FasterRCNN,
    head: Head,
    settings: dict[str, Any],
    directory: str | os.PathLike[str],
    max_pixels: int = MOST_PIXELS,
) -> None:
    """Write the SavedModel to `directory`, with the assets labels.json and config.json.

    labels.json has the class names by number, from 1; config.json holds `settings`.  See `make_signatures` for
    `max_pixels`.

    The object graph is a plain `tf.Module` of variables, stored once for all signatures.  It holds nothing of Keras,
    and no Python code is needed to load it.
    """
    module = tf.Module()
    parts = model.backbone, model.rpn, head
    module.weights = [variable.value for part in parts for variable in part.variables]
    with tempfile.TemporaryDirectory() as folder:
        labels = {str(number): name for number, name in enumerate(model.class_names, 1)}
        for name, value in (("labels", labels), ("config", settings)):
            path = pathlib.Path(folder) / f"{name}.json"
            write_json(path, value)
            setattr(module, name, tf.saved_model.Asset(str(path)))
        tf.saved_model.save(module, str(directory), make_signatures(model, head, max_pixels))
