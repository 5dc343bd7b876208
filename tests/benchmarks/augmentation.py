"""Measure what augmentation adds to the loading of a training picture, on blood-cell pictures at short side 600.

    python tests/benchmarks/augmentation.py ../shared/data/bccd

prints the milliseconds a picture of reading, decoding, resizing and normalising, without and with each preset.
"""

import argparse
import os
import statistics

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # the input pipeline runs on the CPU

from rounds import interleaved_seconds

from keras_frcnn.data.augmentation.presets import PRESETS
from keras_frcnn.data.sources.loading import load_dataset
from keras_frcnn.data.sources.spec import DataSpec
from keras_frcnn.data.stream.pipeline import training_batches
from keras_frcnn.facts.config import ImageConfig

PICTURES, ROUNDS = 60, 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bccd", help="folder of the BCCD data set in VOC format")
    dataset = load_dataset(DataSpec(data=f"voc:{parser.parse_args().bccd}"), "train")
    streams = [iter(training_batches(dataset, ImageConfig(), 1, 0, augment=preset)) for preset in PRESETS.values()]
    # The streams go on from round to round, so each of them loads ahead by the same few pictures.
    functions = [lambda stream=stream: [next(stream) for _ in range(PICTURES)] for stream in streams]
    for name, seconds in zip(PRESETS, interleaved_seconds(functions, ROUNDS), strict=True):
        print(f"{name}: {1000 * statistics.median(seconds) / PICTURES:.1f} ms a picture on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
