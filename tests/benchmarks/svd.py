"""What truncated SVD saves: fc6 and fc7 on 300 RoIs, at the default ranks and whole, as a ratio in one run.

    python tests/benchmarks/svd.py

prints the ratio of the times, and that of the products it takes.  What it costs in mAP is printed by
`python -m export.saved_model --svd --data ...`.
"""

import os
import statistics

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf
from rounds import median_ratio, seconds_by_turns

from export.savedmodel.svd import DEFAULT_RANKS, factorised_head
from keras_frcnn.facts.config import DetectorConfig
from keras_frcnn.network.head import Head

ROUNDS = 9
POOLED = (1, 300, 7, 7, 512)
CLASSES = 21


def main():
    config = DetectorConfig().head
    whole = Head(CLASSES, config.fc_units, config.dropout)
    whole.build(POOLED)
    shapes = [tuple(layer.kernel.shape) for layer in (whole.fc6, whole.fc7)]
    # The time does not turn on the numbers: any will do, and no SVD is needed.
    factors = [
        tuple(np.full(shape, 0.01, np.float32) for shape in ((inputs, rank), (rank, units)))
        for (inputs, units), rank in zip(shapes, DEFAULT_RANKS, strict=True)
    ]
    rois = tf.random.stateless_uniform((1, POOLED[1], shapes[0][0]), [0, 0])
    graphs = [
        tf.function(lambda head=head: head.fc7(head.fc6(rois))) for head in (whole, factorised_head(whole, factors))
    ]
    of_whole, of_cut = seconds_by_turns([lambda graph=graph: graph().numpy() for graph in graphs], ROUNDS)
    products = sum(rank * sum(shape) for shape, rank in zip(shapes, DEFAULT_RANKS, strict=True))
    print(
        f"fc6 and fc7 at ranks {DEFAULT_RANKS} / whole: median {median_ratio(of_cut, of_whole):.3f} of {ROUNDS} "
        f"({1000 * statistics.median(of_whole):.0f} ms whole); products "
        f"{products / sum(inputs * units for inputs, units in shapes):.3f}"
    )


if __name__ == "__main__":
    main()
