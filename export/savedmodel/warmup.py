"""Warm-up requests: TensorFlow Serving runs them before it reports that a version is ready.

The first passes of the graph are slow, so they happen before the first request of a user.
"""

import os
import pathlib

import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from export.shared.pictures import synthetic_images
from keras_frcnn.facts.structures import Tensor

# TensorFlow Serving looks for this file in the folder of a version.
PLACE = "assets.extra/tf_serving_warmup_requests"
SIZES = ((480, 640), (640, 480))  # a wide and a tall picture: the network resizes them to two different sizes


def warmup_inputs() -> list[tuple[str, dict[str, Tensor]]]:
    """The signature of each request, and its inputs by name."""
    pictures = [synthetic_images(1, size)[0] for size in SIZES]
    requests = [
        (signature, {"images": tf.constant(picture[None])})
        for signature in ("serving_default", "proposals")
        for picture in pictures
    ]
    files = [tf.io.encode_jpeg(picture) for picture in pictures]
    return [*requests, *(("image_bytes", {"image_bytes": file[None]}) for file in files)]


def write_warmup(directory: str | os.PathLike[str], model_name: str) -> int:
    """Write the requests into the SavedModel at `directory`, and return how many there are.

    `model_name` is the name of the model in TensorFlow Serving.
    """
    path = pathlib.Path(directory) / PLACE
    path.parent.mkdir()
    requests = warmup_inputs()
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, inputs in requests:
            request = predict_pb2.PredictRequest()
            request.model_spec.name = model_name
            request.model_spec.signature_name = signature
            for name, value in inputs.items():
                request.inputs[name].CopyFrom(tf.make_tensor_proto(value.numpy()))
            log = prediction_log_pb2.PredictLog(request=request)
            writer.write(prediction_log_pb2.PredictionLog(predict_log=log).SerializeToString())
    return len(requests)
