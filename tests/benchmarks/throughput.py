"""How many pictures a second joint training sees, against the pictures of a mini-batch and the number of devices.

    python tests/benchmarks/throughput.py [--precision mixed_bfloat16] [--out FILE.json]

Each point is compared with one picture on one device in the same rounds.  The devices are the GPUs of this machine, or
its CPU.  More devices than there are share the CPU's cores, which only shows that nothing breaks.
"""

import argparse
import os
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import figures
import tensorflow as tf
from random_training import random_batch, random_model, random_trainer
from rounds import interleaved_seconds

from keras_frcnn.facts.structures import Batch

PARTS = ("backbone", "rpn", "head")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", nargs=2, type=int, default=(480, 640), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--fc-units", type=int, default=1024)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--images", nargs="+", type=int, default=(1, 2, 4), help="pictures of a device's mini-batch")
    parser.add_argument("--devices", nargs="+", type=int, default=(1,))
    parser.add_argument("--rounds", type=int, default=5)
    figures.add_out(parser)
    options = parser.parse_args()

    devices = available_devices(max(options.devices))
    points = [(1, 1), *((images, count) for count in options.devices for images in options.images)]
    functions = [iteration(options, images, devices[:count]) for images, count in points]
    beside, *times = interleaved_seconds(functions, options.rounds)
    found = []
    for (images, count), seconds in zip(points[1:], times, strict=True):
        each = [value / (images * count) for value in seconds]  # seconds of a picture
        name = f"{images} pictures on each of {count} devices, seconds a picture"
        found.append(figures.ratio(name, each, "1 picture on 1 device", beside))
        print(found[-1], flush=True)
    figures.write(options.out, found)


def available_devices(count: int) -> list[str]:
    """The names of `count` devices: GPUs, or else parts of the CPU."""
    gpus = [device.name for device in tf.config.list_logical_devices("GPU")]
    if gpus and len(gpus) < count:
        raise SystemExit(f"--devices {count}: this machine has {len(gpus)} GPUs")
    if gpus:
        return gpus[:count]
    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)
    return [device.name for device in tf.config.list_logical_devices("CPU")]


def iteration(options: argparse.Namespace, images: int, devices: list[str]) -> Callable[[], object]:
    """An iteration of joint training with this number of pictures on each device."""
    strategy = tf.distribute.MirroredStrategy(devices) if len(devices) > 1 else tf.distribute.get_strategy()
    with strategy.scope():
        model = random_model(options.size, options.fc_units, 128 * images, options.precision)
        batch: Batch = tf.nest.map_structure(lambda x: tf.repeat(x, images, axis=0), random_batch(*options.size))
        trainer = random_trainer(model, PARTS, batch)

    def run() -> None:
        with strategy.scope():
            trainer.train(1)

    return run


if __name__ == "__main__":
    main()
