"""What each stage of detection takes, as a ratio to the convolutions, and what SVD and bfloat16 save.

    python tests/benchmarks/inference.py [--size 600 800] [--fc-units 4096] [--classes 20] [--out FILE.json]

The whole detector is the SavedModel that `export.saved_model` writes, with its signature `serving_default`.  The stages
are graphs of their own, which get the result of the stage before as constants.  The weights are random, but scores are
spread so that both NMS have as much to do as with a trained detector.  All functions run in turn in one process.
"""

import argparse
import os
import pathlib
import tempfile
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import figures
import numpy as np
import tensorflow as tf
from rounds import interleaved_seconds
from workers import random_blocks

from export.savedmodel.signatures import save
from export.shared.convention import detection_outputs
from export.shared.loading import in_precision
from export.shared.svd import factorised_head, wanted_ranks
from keras_frcnn.data.pictures.images import prepare
from keras_frcnn.facts.config import DetectorConfig, HeadConfig, ImageConfig
from keras_frcnn.network import forward
from keras_frcnn.network.head import Head
from keras_frcnn.network.model import FasterRCNN
from keras_frcnn.rules.detections import make_detections


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, rounds=15)
    options = parser.parse_args()

    model = spread_detector(*options.size, options.fc_units, options.classes)
    pixels = random_picture(*options.size)
    functions = stages(model, pixels)
    with tempfile.TemporaryDirectory() as folder:
        small = in_precision(model, "bfloat16")
        exports = {
            "SavedModel": (model, model.head),
            "SavedModel with --svd": (model, cut_head(model)),
            "SavedModel in bfloat16": (small, small.head),
        }
        for number, (name, (detector, head)) in enumerate(exports.items()):
            path = pathlib.Path(folder) / str(number)
            save(detector, head, {}, path)
            functions[name] = saved_model(path, pixels)
        times = dict(zip(functions, interleaved_seconds(list(functions.values()), options.rounds), strict=True))

    convolutions = times.pop("convolutions")
    found = [figures.ratio(name, seconds, "convolutions", convolutions) for name, seconds in times.items()]
    found.append(
        figures.ratio("SavedModel in bfloat16", times["SavedModel in bfloat16"], "SavedModel", times["SavedModel"])
    )
    print(*found, sep="\n")
    figures.write(options.out, found)


def add_options(parser: argparse.ArgumentParser, rounds: int) -> None:
    """Add the size of the picture and the layers of the detector, the number of rounds, and `--out`."""
    parser.add_argument("--size", nargs=2, type=int, default=(600, 800), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--fc-units", type=int, default=4096)
    parser.add_argument("--classes", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=rounds)
    figures.add_out(parser)


def spread_detector(height: int, width: int, fc_units: int, classes: int) -> FasterRCNN:
    """A detector with random weights whose scores differ as much as those of a trained one."""
    config = DetectorConfig(
        image=ImageConfig(short_side=min(height, width), long_side=max(height, width)),
        head=HeadConfig(fc_units=fc_units),
    )
    model = FasterRCNN(config, [f"class {number}" for number in range(classes)])
    image_sizes = tf.constant([[height, width]])
    pixels = prepare(random_picture(height, width), height, width)
    features = model.backbone(pixels)
    _scale(model.rpn.scores, model.rpn(features).logits)
    proposals = forward.propose(model.parts, features, image_sizes, forward.detection_counts(config))
    output = forward.classify(model.parts, features, proposals.boxes, image_sizes)
    _scale(model.head.class_logits, output.logits)
    return model


def _scale(layer, logits: tf.Tensor) -> None:
    """Scale the weights of a layer so that its logits have a standard deviation of 2."""
    layer.kernel.assign(layer.kernel * (2.0 / tf.math.reduce_std(logits)))


def random_picture(height: int, width: int) -> tf.Tensor:
    """`random_blocks` as a batch of one picture, (1, height, width, 3) uint8."""
    return tf.constant(random_blocks(height, width)[None])


def stages(model: FasterRCNN, pixels: tf.Tensor) -> dict[str, Callable[[], object]]:
    """Each stage of detection as a function without arguments; the first one is the convolutions."""
    parts, config = model.parts, model.config
    images = prepare(pixels, config.image.short_side, config.image.long_side)
    image_sizes = tf.constant([images.shape[1:3]])
    features = parts.backbone(images)
    proposals = forward.propose(parts, features, image_sizes, forward.detection_counts(config))
    pooled = forward.pool_regions(parts, features, proposals.boxes, image_sizes)
    output = parts.head(pooled)

    def detections(output, boxes):
        found = make_detections(
            output,
            proposals._replace(boxes=boxes),
            image_sizes,
            delta_std=config.head.delta_std,
            score_threshold=config.test.score_threshold,
            iou_threshold=config.test.nms_iou,
            max_detections=config.test.max_detections,
        )
        return detection_outputs(found, image_sizes)

    counts = forward.detection_counts(config)
    graphs = {
        "convolutions": (parts.backbone, (images,)),
        "RPN and proposals": (lambda features: forward.propose(parts, features, image_sizes, counts), (features,)),
        "RoI pooling": (
            lambda features, boxes: forward.pool_regions(parts, features, boxes, image_sizes),
            (features, proposals.boxes),
        ),
        "head": (parts.head, (pooled,)),
        "detections": (detections, (output, proposals.boxes)),
    }
    return {name: _call(tf.function(function), arguments) for name, (function, arguments) in graphs.items()}


def _call(graph: Callable, arguments: tuple) -> Callable[[], object]:
    return lambda: [value.numpy() for value in tf.nest.flatten(graph(*arguments))]


def cut_head(model: FasterRCNN) -> Head:
    """A head whose fc6 and fc7 have the default ranks.  Its values are constants, which do not change its time."""
    shapes = [tuple(layer.kernel.shape) for layer in (model.head.fc6, model.head.fc7)]
    factors = [
        tuple(np.full(shape, 1e-3, np.float32) for shape in ((inputs, rank), (rank, units)))
        for (inputs, units), rank in zip(shapes, wanted_ranks(argparse.Namespace(svd=[]), model.head), strict=True)
    ]
    return factorised_head(model.head, factors)


def saved_model(path: pathlib.Path, pixels: tf.Tensor) -> Callable[[], object]:
    """The signature `serving_default` of a SavedModel, as a function without arguments."""
    signature = tf.saved_model.load(str(path)).signatures["serving_default"]
    return lambda: [value.numpy() for value in signature(images=pixels).values()]


if __name__ == "__main__":
    main()
