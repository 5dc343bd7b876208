"""Measure how much longer the backbone takes if it masks the padding before each convolution.

    python tests/benchmarks/padding_masks.py

prints the ratio of the time with masks to the time without, as the median of several rounds.
"""

import argparse
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tensorflow as tf
from rounds import interleaved_seconds, median_ratio

from keras_frcnn.network.backbone import Backbone

ROUNDS = 7
SHAPE = (1, 384, 512, 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()

    backbone = Backbone()
    images = tf.random.stateless_normal(SHAPE, [0, 0])
    sizes = tf.constant([SHAPE[1:3]])
    masked, plain = tf.function(lambda: backbone(images, sizes)), tf.function(lambda: backbone(images))
    seconds = interleaved_seconds([lambda: masked().numpy(), lambda: plain().numpy()], ROUNDS)
    print(f"forward pass with masks / without: median {median_ratio(*seconds):.3f} of {ROUNDS} rounds")


if __name__ == "__main__":
    main()
