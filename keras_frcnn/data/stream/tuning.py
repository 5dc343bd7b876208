"""Switch off the automatic tuning of tf.data."""

import tensorflow as tf


def untuned(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """`dataset` without autotuning and without graph rewrites: tf.data runs it as it is written.

    There are two reasons.  tf.data rewrites the pipeline each time an iterator is created; a data set that is read
    inside a function creates one for every picture.  And in TensorFlow 2.20 the autotuning thread sleeps for up to a
    minute and can miss the request to stop, so that deleting an iterator, and with it the end of a training, can block
    for that long.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False
    return dataset.with_options(options)
