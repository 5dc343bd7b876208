"""Fixtures: the device of a test, and TF32."""

import os

import pytest
import tensorflow as tf


@pytest.fixture(params=["CPU", "GPU"])
def device(request):
    """Run the test once on each device.  Eager operations without a kernel for the device run on the CPU."""
    if not tf.config.list_logical_devices(request.param):
        if os.environ.get("KERAS_FRCNN_TEST_GPU") == "1":
            pytest.fail("KERAS_FRCNN_TEST_GPU is 1, but TensorFlow finds no GPU; install CUDA or unset the variable")
        pytest.skip("no GPU in use; run `make test-gpu` on a machine that has one")
    with tf.device(f"/{request.param}:0"):
        yield request.param


@pytest.fixture
def tensor_float_32():
    """A function that turns TF32 on or off.  The test's end restores the setting."""
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    yield tf.config.experimental.enable_tensor_float_32_execution
    tf.config.experimental.enable_tensor_float_32_execution(before)
