"""What masking the padding between the convolutions costs: the backbone with and without it, as a ratio in one run.

python tests/benchmarks/padding_masks.py
"""

import tensorflow as tf
from rounds import median_ratio, seconds_by_turns

from keras_frcnn.network.backbone import Backbone

ROUNDS = 7
SHAPE = (1, 384, 512, 3)


def main():
    backbone = Backbone()
    images = tf.random.stateless_normal(SHAPE, [0, 0])
    sizes = tf.constant([SHAPE[1:3]])
    masked, plain = tf.function(lambda: backbone(images, sizes)), tf.function(lambda: backbone(images))
    seconds = seconds_by_turns([lambda: masked().numpy(), lambda: plain().numpy()], ROUNDS)
    print(f"forward pass with masks / without: median {median_ratio(*seconds):.3f} of {ROUNDS}")


if __name__ == "__main__":
    main()
