"""The SavedModel: three signatures from pixels to boxes, in TensorFlow's own ops.

Axes: B images, H W pixels, N rows of detections, P rows of proposals.  Boxes go out as yxyx in 0-1 of the picture.
"""

import pathlib
import tempfile

import tensorflow as tf

from keras_frcnn.data.tuning import untuned
from keras_frcnn.facts.files import write_json
from keras_frcnn.data.images import decode_image, encoded_size, prepare
from keras_frcnn.network import forward
from keras_frcnn.network.model import FasterRCNN
from keras_frcnn.facts.structures import Detections

# A decoded picture takes 3 bytes a pixel, and a progressive JPEG 6 more while it is decoded: 600 MB at this limit.
MOST_PIXELS = 2**26


def make_signatures(model: FasterRCNN, head) -> dict:
    """The signatures by name as concrete functions, with `head` (called as a `Head` is) in place of the model's own."""
    parts, test = model.parts._replace(head=head), model.config.test
    sides = model.config.image.short_side, model.config.image.long_side

    def detect_in(images, image_sizes) -> Detections:
        return forward.detect(parts, parts.backbone(images), image_sizes)

    def detect_in_file(encoded):
        """The outputs for one picture, without the batch axis; `encoded` () string."""
        image, error = read_picture(encoded, *sides)

        def found():
            image_sizes = tf.shape(image)[None, :2]
            outputs = detection_outputs(detect_in(image[None], image_sizes), image_sizes)
            return {name: values[0] for name, values in outputs.items()}

        def nothing():
            return {name: tf.zeros(spec.shape, spec.dtype) for name, spec in rows.items()}

        return {**tf.cond(tf.equal(error, ""), found, nothing), "image_errors": error}

    rows = {
        "detection_boxes": tf.TensorSpec([test.max_detections, 4]),
        "detection_classes": tf.TensorSpec([test.max_detections]),
        "detection_scores": tf.TensorSpec([test.max_detections]),
        "num_detections": tf.TensorSpec([]),
    }

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8, "images")])
    def serving_default(images):
        images, image_sizes = _prepare_batch(images, *sides)
        return detection_outputs(detect_in(images, image_sizes), image_sizes)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "image_bytes")])
    def image_bytes(image_bytes):
        problem = "image_bytes is empty: give at least one picture"
        with tf.control_dependencies([tf.debugging.Assert(tf.size(image_bytes) > 0, [problem])]):
            files = tf.identity(image_bytes)
        # One picture after the other.  Padded to one size, a tall and a wide picture would take the memory and the time
        # of two large squares, and decoded side by side the memory of both; on a CPU a batch is hardly faster.
        return tf.map_fn(
            detect_in_file, files, parallel_iterations=1,
            fn_output_signature={**rows, "image_errors": tf.TensorSpec([], tf.string)},
        )  # fmt: skip

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8, "images")])
    def proposals(images):
        images, image_sizes = _prepare_batch(images, *sides)
        counts = forward.detection_counts(model.config)
        found = forward.propose(parts, parts.backbone(images), image_sizes, counts)
        return {
            "proposal_boxes": _zero_to_one(found.boxes, image_sizes),
            "proposal_scores": found.scores,
            "num_proposals": tf.reduce_sum(tf.cast(found.valid, tf.float32), axis=-1),
        }

    functions = {"serving_default": serving_default, "image_bytes": image_bytes, "proposals": proposals}
    return {name: function.get_concrete_function() for name, function in functions.items()}


def _prepare_batch(images, short_side: int, long_side: int):
    """(B, H, W, 3) uint8 -> what the network takes: images (B, h, w, 3) and image_sizes (B, 2)."""
    shape = tf.shape(images)
    problem = "images holds no pixels: give at least one picture, of at least one row and one column"
    with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(shape > 0), [problem, shape])]):
        images = prepare(images, short_side, long_side)
    return images, tf.tile(tf.shape(images)[None, 1:3], [shape[0], 1])


def detection_outputs(detections: Detections, image_sizes) -> dict:
    """TensorFlow's names for detections; rows that are not valid, behind all that are, hold zeros."""
    return {
        "detection_boxes": _zero_to_one(detections.boxes, image_sizes),
        "detection_classes": tf.cast(detections.classes, tf.float32),
        "detection_scores": detections.scores,
        "num_detections": tf.reduce_sum(tf.cast(detections.valid, tf.float32), axis=-1),
    }


def _zero_to_one(boxes, image_sizes):
    """(B, N, 4) boxes in pixels of images (B, 2), as shares of their sides: divided, so that a border is exactly 1."""
    return boxes / tf.cast(tf.tile(image_sizes, [1, 2]), tf.float32)[:, None]


def read_picture(encoded, short_side: int, long_side: int):
    """JPEG or PNG bytes, () string -> the network's input (h, w, 3), and why there is none: () string, empty if fine.

    Whatever the bytes are, nothing is raised, and no picture of more than MOST_PIXELS is decoded.
    """
    no_picture = tf.zeros([0, 0, 3])

    def read(encoded):
        size = encoded_size(encoded)
        height, width = size[0], size[1]
        sides = tf.strings.join([tf.strings.as_string(height), tf.strings.as_string(width)], " x ")
        too_large = tf.strings.join([sides, f"pixels are over the limit of {MOST_PIXELS} in all"], " ")
        return tf.case(
            [
                (tf.equal(encoded, ""), lambda: (no_picture, tf.constant("no bytes"))),
                (tf.reduce_all(size == 0), lambda: (no_picture, tf.constant("neither JPEG nor PNG"))),
                # Divided: the product of a header's two 32-bit numbers may not fit.
                (height > MOST_PIXELS // tf.maximum(width, 1), lambda: (no_picture, too_large)),
            ],
            default=lambda: (prepare(decode_image(encoded), short_side, long_side), tf.constant("")),
        )

    # The one way in a graph to go on after the error of an op: a data set that leaves out what fails.
    otherwise = (no_picture, "damaged: cannot be decoded")
    pictures = tf.data.Dataset.from_tensors(encoded).map(read).ignore_errors()
    pictures = pictures.concatenate(tf.data.Dataset.from_tensors(otherwise)).take(1)
    image, error = untuned(pictures).get_single_element()
    return tf.ensure_shape(image, [None, None, 3]), error


def save(model: FasterRCNN, head, settings: dict, directory):
    """Write the SavedModel to `directory`, with the assets labels.json and config.json, the latter holding `settings`.

    Its object graph is a plain `tf.Module` of variables, held once for all signatures: nothing of Keras is in it, and
    no Python is needed to load it.
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
        tf.saved_model.save(module, str(directory), make_signatures(model, head))
