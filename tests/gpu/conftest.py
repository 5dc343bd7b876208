"""The devices that the tests of kernels run on."""

import os

import pytest
import tensorflow as tf


@pytest.fixture(params=["CPU", "GPU"])
def device(request):
    """Run the test on this device: its eager operations go there, except those that have no kernel there."""
    if not tf.config.list_logical_devices(request.param):
        if os.environ.get("KERAS_FRCNN_TEST_GPU") == "1":
            pytest.fail("KERAS_FRCNN_TEST_GPU is 1, but TensorFlow finds no GPU; install CUDA or unset it")
        pytest.skip("no GPU in use; on a machine with one run `make test-gpu`")
    with tf.device(f"/{request.param}:0"):
        yield request.param


@pytest.fixture
def tensor_float_32():
    """A function that turns TF32 on or off; the former setting returns after the test."""
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    yield tf.config.experimental.enable_tensor_float_32_execution
    tf.config.experimental.enable_tensor_float_32_execution(before)
