"""The time, the memory and the size of a detector's four TFLite files, and what of it RoI pooling takes.

    python tests/benchmarks/tflite.py [--size 600x800] [--fc-units 4096] [--out FILE.json]
    python tests/benchmarks/tflite.py --model runs/bccd --size 400x533 --calibrate train/*.jpg

Without --model, the weights are random.  Each file is measured in a process of its own.  They take turns, so that other
load on the machine slows all of them alike.  The convolutions and RoI pooling are float32 files of their own.  The
detections are not compared: `python -m export.tflite` does that.
"""

import argparse
import os
import pathlib
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import figures
import numpy as np
import tensorflow as tf
from inference import random_picture, spread_detector
from rounds import interleaved_seconds
from workers import Worker

from export.litemodel.export import parse_size
from export.litemodel.graph import convert
from export.litemodel.quantisation import quantize
from export.shared.options import QUANTIZATIONS
from export.shared.pictures import given_images
from keras_frcnn.api.model_file import load_model
from keras_frcnn.data.pictures.images import normalise, resize_picture
from keras_frcnn.facts.structures import Tensor
from keras_frcnn.network.backbone import STRIDE
from keras_frcnn.network.model import FasterRCNN
from keras_frcnn.network.roi_pooling import roi_pool_by_products

CLASSES = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a run folder, or a .keras file (default: random weights)")
    parser.add_argument("--size", default="600x800", metavar="HxW", help="height and width of the input in pixels")
    parser.add_argument("--fc-units", type=int, default=4096, help="of random weights")
    parser.add_argument("--calibrate", nargs="+", metavar="PICTURE", help="for int8 (default: a random picture)")
    parser.add_argument("--rounds", type=int, default=7)
    figures.add_out(parser)
    options = parser.parse_args()

    size = parse_size(options.size)
    model = load_model(options.model) if options.model else spread_detector(*size, options.fc_units, CLASSES)
    given = given_images(options.calibrate or (), model.config.image)
    pictures = [resize_picture(image, size).numpy() for image in given] or [random_picture(*size)[0].numpy()]
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        np.savez(folder / "pixels.npz", images=pictures[0][None])
        whole = convert(model, size)
        files = {
            kind: (whole if kind == "none" else quantize(whole, kind, pictures), "pixels") for kind in QUANTIZATIONS
        }
        files |= {part: (content, part) for part, content in parts(model, size, pictures[0], folder).items()}
        workers = {}
        for number, (title, (content, inputs)) in enumerate(files.items()):
            path = folder / f"{number}.tflite"
            path.write_bytes(content)
            settings = {"path": str(path), "inputs": str(folder / f"{inputs}.npz")}
            workers[title] = Worker(sys.executable, "tflite_worker.py", settings)
        calls: list[Callable[[], object]] = [lambda worker=worker: worker.run("run") for worker in workers.values()]
        times = dict(zip(workers, interleaved_seconds(calls, options.rounds), strict=True))
        for worker in workers.values():
            worker.stop()
    found: list[figures.Ratio | figures.Memory | figures.Size] = [
        figures.ratio(title, times[title], "none", times["none"]) for title in files if title != "none"
    ]
    found.append(figures.ratio("RoI pooling", times["RoI pooling"], "int8", times["int8"]))
    found += [figures.Memory(kind, workers[kind].memory) for kind in QUANTIZATIONS]
    found += [figures.Size(kind, len(files[kind][0]) / 2**20) for kind in QUANTIZATIONS]
    print(*found, sep="\n")
    figures.write(options.out, found)


def parts(model: FasterRCNN, size: tuple[int, int], picture: np.ndarray, folder: pathlib.Path) -> dict[str, bytes]:
    """The convolutions and RoI pooling as TFLite files; their inputs are written beside them, NAME.npz."""
    pixels = normalise(tf.constant(picture[None]))
    features = model.backbone(pixels)
    corners = np.sort(np.random.default_rng(0).uniform(0, 1, (1, model.config.test.post_nms_topk, 2, 2)), axis=2)
    boxes = tf.constant((corners * size).reshape(1, -1, 4), tf.float32)

    def pool(features: Tensor, boxes: Tensor) -> Tensor:
        return roi_pool_by_products(features, boxes, tf.constant([size]), model.config.head.pool_size, STRIDE)

    functions = {
        "convolutions": (model.backbone, {"images": pixels}),
        "RoI pooling": (pool, {"features": features, "boxes": boxes}),
    }
    contents = {}
    for name, (function, inputs) in functions.items():
        np.savez(folder / f"{name}.npz", **{key: value.numpy() for key, value in inputs.items()})
        contents[name] = as_tflite(function, inputs, model.backbone.variables)
    return contents


def as_tflite(function: Callable[..., Tensor], inputs: Mapping[str, Tensor], variables: Sequence[Any]) -> bytes:
    """A function of inputs of fixed shapes as a TFLite file in float32."""
    with tempfile.TemporaryDirectory() as folder:
        save_function(function, inputs, variables, folder)
        return tf.lite.TFLiteConverter.from_saved_model(folder).convert()


def save_function(
    function: Callable[..., Tensor],
    inputs: Mapping[str, Tensor],
    variables: Sequence[Any],
    folder: str | os.PathLike[str],
) -> None:
    """Write a SavedModel of a function of inputs of fixed shapes; `variables` are the Keras variables that it reads."""
    module = tf.Module()
    module.read = [variable.value for variable in variables]
    signature = [tf.TensorSpec(value.shape, value.dtype, name=name) for name, value in inputs.items()]
    module.run = tf.function(lambda *values: {"result": function(*values)}, input_signature=signature)
    tf.saved_model.save(module, folder, signatures={"serving_default": module.run})


if __name__ == "__main__":
    main()
