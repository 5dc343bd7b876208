"""What masking the padding between the convolutions costs: the backbone with and without it, as a ratio in one run.

    python tests/benchmarks/padding_masks.py
"""

import statistics
import time

import tensorflow as tf

from keras_frcnn.backbone import Backbone

ROUNDS = 7
SHAPE = (1, 384, 512, 3)


def main():
    backbone = Backbone()
    images = tf.random.stateless_normal(SHAPE, [0, 0])
    sizes = tf.constant([SHAPE[1:3]])
    forms = {"masked": tf.function(lambda: backbone(images, sizes)), "plain": tf.function(lambda: backbone(images))}
    seconds = {name: [] for name in forms}
    for round_number in range(ROUNDS + 1):
        for name, form in forms.items():
            start = time.perf_counter()
            form().numpy()
            if round_number:  # the first round traces
                seconds[name].append(time.perf_counter() - start)
    ratios = [masked / plain for masked, plain in zip(seconds["masked"], seconds["plain"], strict=True)]
    print(f"forward pass with masks / without: median {statistics.median(ratios):.3f} of {ROUNDS}")


if __name__ == "__main__":
    main()
