"""From a Keras detector to a TFLite model in float32 that needs only TFLite's builtin operations."""

import dataclasses
import os
import tempfile
from typing import Any

import numpy as np
import tensorflow as tf
from ai_edge_litert.schema_py_generated import BufferT, BuiltinOperator, ModelT, OperatorT, SubGraphT

from export.litemodel.flatbuffer import pack, unpack
from export.shared.convention import detection_outputs
from keras_frcnn.data.pictures.images import normalise
from keras_frcnn.data.tensorflow_errors import writing
from keras_frcnn.facts.config import DetectorConfig
from keras_frcnn.facts.structures import Tensor
from keras_frcnn.network import forward
from keras_frcnn.network.head import Head
from keras_frcnn.network.model import FasterRCNN
from keras_frcnn.network.roi_pooling import roi_pool_by_products


def convert(model: FasterRCNN, size: tuple[int, int], head: Head | None = None) -> bytes:
    """The detector as a TFLite model in float32, without metadata.

    `size` is the height and width of the one picture that it takes, in pixels.  `head` takes the place of the model's.
    Raises OSError if there is no room for temporary files.
    """
    with tempfile.TemporaryDirectory() as folder, writing(folder):
        save_detection_function(model, size, model.head if head is None else head, folder)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        return fold_transposed_weights(converter.convert())


def save_detection_function(
    model: FasterRCNN, size: tuple[int, int], head: Head, folder: str | os.PathLike[str]
) -> None:
    """Write a SavedModel whose signature `serving_default` is `detection_function`."""
    module = tf.Module()
    module.run = detection_function(model, size, head)
    # The variables of a plain module become constants.  Those of a Keras model do not.
    parts = (model.backbone, model.rpn, head)
    module.weights = [variable.value for part in parts for variable in part.variables]
    tf.saved_model.save(module, folder, signatures={"serving_default": module.run})


def detection_function(model: FasterRCNN, size: tuple[int, int], head: Head) -> Any:
    """A tf.function from one picture (1, *size, 3) uint8 to the outputs of `convention.detection_outputs`."""
    parts = model.parts._replace(config=with_exact_thresholds(model.config), head=head, pool=roi_pool_by_products)
    sizes = tf.constant([size])

    @tf.function(input_signature=[tf.TensorSpec([1, *size, 3], tf.uint8, name="images")], autograph=False)
    def run(images: Tensor) -> dict[str, Tensor]:
        return detection_outputs(forward.detect(parts, parts.backbone(normalise(images)), sizes), sizes)

    return run


def with_exact_thresholds(config: DetectorConfig) -> DetectorConfig:
    """`config` with the NMS thresholds that make TFLite keep the boxes that TensorFlow keeps.

    TFLite drops a box whose IoU equals the threshold, and TensorFlow keeps it.  The next float32 above the threshold
    makes both equal.
    """

    def next_float(threshold: float) -> float:
        # TensorFlow's op refuses a threshold above 1.
        return min(float(np.nextafter(np.float32(threshold), np.float32(np.inf))), 1.0)

    return dataclasses.replace(
        config,
        rpn=dataclasses.replace(config.rpn, nms_iou=next_float(config.rpn.nms_iou)),
        test=dataclasses.replace(config.test, nms_iou=next_float(config.test.nms_iou)),
    )


def fold_transposed_weights(content: bytes) -> bytes:
    """Transpose the constants that a TFLite model would transpose at run time.

    The converter does not transpose the weights of fc6, because they are too large for it.  They would take another
    411 MB of memory at run time, and could not be quantised.
    """
    model = unpack(content)
    (graph,) = model.subgraphs
    graph.operators = [operator for operator in graph.operators if not _fold(operator, graph, model)]
    return pack(model)


def _fold(operator: OperatorT, graph: SubGraphT, model: ModelT) -> bool:
    """Replace the output of a TRANSPOSE of constants by a constant.  False, and no change, for other operators."""
    if model.operatorCodes[operator.opcodeIndex].builtinCode != BuiltinOperator.TRANSPOSE:
        return False
    weights, axes = (graph.tensors[index] for index in operator.inputs)
    if model.buffers[weights.buffer].data is None:
        return False
    values = np.frombuffer(model.buffers[weights.buffer].data, np.float32).reshape(weights.shape)
    values = np.ascontiguousarray(values.transpose(np.frombuffer(model.buffers[axes.buffer].data, np.int32)))
    folded = BufferT()
    folded.data = values.view(np.uint8).ravel()
    model.buffers.append(folded)
    graph.tensors[operator.outputs[0]].buffer = len(model.buffers) - 1
    model.buffers[weights.buffer].data = None
    return True
