"""Data sets that tf.data runs as they are written."""

import tensorflow as tf


def untuned(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """`dataset` without tf.data's own tuning.

    It rewrites the pipeline whenever an iterator is made, which is for each picture where a data set is read within a
    function; and its thread sleeps for up to a minute at a time, and is waited for when an iterator is deleted: it can
    miss the call to end (TensorFlow 2.20), so that the end of a training stands still for as long.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False
    return dataset.with_options(options)
