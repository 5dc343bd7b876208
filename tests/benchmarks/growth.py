"""How the time of detection grows with the picture, the proposals, the classes and the batch.

    python tests/benchmarks/growth.py [--axes size proposals classes batch] [--out FILE.json]

Each point changes one number of the common point: one picture of 480x640 pixels, 300 proposals, 20 classes and 1024
units.  It is compared with the common point in the same rounds.  All points share the weights of the convolutions.
"""

import argparse
import dataclasses
import os
from collections.abc import Callable
from typing import NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import figures
import tensorflow as tf
from inference import random_picture, spread_detector
from rounds import interleaved_seconds

from keras_frcnn.data.pictures.images import prepare
from keras_frcnn.network import forward
from keras_frcnn.network.model import FasterRCNN


class Point(NamedTuple):
    """What is detected in."""

    size: int = 480  # the short side in pixels; the long side is 4/3 of it
    proposals: int = 300
    classes: int = 20
    batch: int = 1


AXES = {
    "size": (240, 320, 480, 600, 800, 1000),
    "proposals": (50, 100, 300, 1000, 2000),
    "classes": (1, 20, 80, 200, 1000),
    "batch": (1, 2, 4, 8),
}
FC_UNITS = 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--axes", nargs="+", choices=AXES, default=list(AXES))
    parser.add_argument("--rounds", type=int, default=5)
    figures.add_out(parser)
    options = parser.parse_args()

    common, found = Point(), []
    for axis in options.axes:
        points = {f"{axis} {value}": common._replace(**{axis: value}) for value in AXES[axis]}
        functions = [detection(point) for point in (common, *points.values())]
        beside, *times = interleaved_seconds(functions, options.rounds)
        for name, seconds in zip(points, times, strict=True):
            found.append(figures.ratio(name, seconds, "480x640, 300 proposals, 20 classes", beside))
            print(found[-1], flush=True)
    figures.write(options.out, found)


def detection(point: Point) -> Callable[[], object]:
    """Detection at a point, as a function without arguments."""
    height, width = point.size, point.size * 4 // 3
    model = spread_detector(height, width, FC_UNITS, point.classes)
    images = tf.repeat(prepare(random_picture(height, width), height, width), point.batch, axis=0)
    image_sizes = tf.repeat([[height, width]], point.batch, axis=0)
    signature = [tf.TensorSpec([None, None, None, 3]), tf.TensorSpec([None, 2], tf.int32)]
    run = tf.function(detector(model, point.proposals), input_signature=signature)
    return lambda: run(images, image_sizes).scores.numpy()


def detector(model: FasterRCNN, proposals: int) -> Callable:
    """A function from images and their sizes to detections, which keeps this number of proposals."""
    config = model.config
    config = dataclasses.replace(config, test=dataclasses.replace(config.test, post_nms_topk=proposals))
    parts = model.parts._replace(config=config)
    return lambda images, image_sizes: forward.detect(parts, parts.backbone(images), image_sizes)


if __name__ == "__main__":
    main()
