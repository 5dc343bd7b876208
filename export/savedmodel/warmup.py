"""Warm-up requests: TensorFlow Serving runs them before it says that a version is ready, so that no user's request pays
for the first passes of the graph.
"""

import pathlib

import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from export.shared.parity import synthetic_images

# The place and the name that TensorFlow Serving looks for.
PLACE = "assets.extra/tf_serving_warmup_requests"
SIZES = ((480, 640), (640, 480))  # a wide and a tall picture: the network takes another size of each


def warmup_inputs() -> list[tuple[str, dict]]:
    """(signature, inputs as tensors) of each request."""
    pictures = [synthetic_images(1, size)[0] for size in SIZES]
    requests = [
        (signature, {"images": tf.constant(picture[None])})
        for signature in ("serving_default", "proposals")
        for picture in pictures
    ]
    files = [tf.io.encode_jpeg(picture) for picture in pictures]
    return [*requests, *(("image_bytes", {"image_bytes": file[None]}) for file in files)]


def write_warmup(directory, model_name: str) -> int:
    """Write the requests into the SavedModel at `directory`; gives their number."""
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
