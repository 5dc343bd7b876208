"""Measure how much time truncated SVD saves in fc6 and fc7, for 300 RoIs at the default ranks.

    python tests/benchmarks/svd.py

prints the ratio of the time with truncated layers to that with full layers, as the median of several rounds, and the
same ratio of the numbers of multiplications.  `python -m export.saved_model --svd --data ...` prints the loss of mAP.
"""

import argparse
import os
import statistics

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf
from rounds import interleaved_seconds, median_ratio

from export.shared.svd import DEFAULT_RANKS, factorised_head
from keras_frcnn.facts.config import DetectorConfig
from keras_frcnn.network.head import Head

ROUNDS = 9
POOLED = (1, 300, 7, 7, 512)
CLASSES = 21


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()

    config = DetectorConfig().head
    full = Head(CLASSES, config.fc_units, config.dropout)
    full.build(POOLED)
    shapes = [tuple(layer.kernel.shape) for layer in (full.fc6, full.fc7)]
    # The time does not depend on the values of the weights, so constants replace a real decomposition.
    factors = [
        tuple(np.full(shape, 0.01, np.float32) for shape in ((inputs, rank), (rank, units)))
        for (inputs, units), rank in zip(shapes, DEFAULT_RANKS, strict=True)
    ]
    rois = tf.random.stateless_uniform((1, POOLED[1], shapes[0][0]), [0, 0])
    graphs = [
        tf.function(lambda head=head: head.fc7(head.fc6(rois))) for head in (full, factorised_head(full, factors))
    ]
    of_full, of_truncated = interleaved_seconds([lambda graph=graph: graph().numpy() for graph in graphs], ROUNDS)
    products = sum(rank * sum(shape) for shape, rank in zip(shapes, DEFAULT_RANKS, strict=True))
    print(
        f"fc6 and fc7 at ranks {DEFAULT_RANKS} / full: median {median_ratio(of_truncated, of_full):.3f} of {ROUNDS} "
        f"rounds ({1000 * statistics.median(of_full):.0f} ms full); multiplications "
        f"{products / sum(inputs * units for inputs, units in shapes):.3f}"
    )


if __name__ == "__main__":
    main()
