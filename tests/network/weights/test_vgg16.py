"""Checks of VGG16's arrays: a wrong array is named in the error."""

from pathlib import Path

import numpy as np
import pytest

from keras_frcnn.facts.errors import InputError
from keras_frcnn.network.weights.pretrained import load_pretrained
from keras_frcnn.network.weights.vgg16 import CONV_KERNEL_SHAPES, check_arrays, read_layers, write_layers

OXFORD = Path(__file__).parents[4] / "shared/weights/vgg16_imagenet_notop.h5"


def test_written_layers_are_read_and_no_other_file_is_left(small, tmp_path, assert_layers_equal):
    path = tmp_path / "new folder" / "vgg16.npz"
    write_layers(path, check_arrays(small, "test"))
    assert [file.name for file in path.parent.iterdir()] == ["vgg16.npz"]
    assert_layers_equal(read_layers(path), small)


@pytest.mark.parametrize(
    "key, array, problem",
    [
        ("block1_conv2/kernel", None, "block1_conv2/kernel: missing"),
        ("block1_conv2/bias", None, "block1_conv2/bias: missing"),
        ("fc1/kernel", np.zeros((10, 6), np.float32), "fc1/bias: missing"),
        ("fc1/kernel", np.zeros((9, 6), np.float32), r"fc1/kernel: shape \(9, 6\), expected \(10, 6\).*without fc1"),
        ("block1_conv1/kernel", np.zeros((4, 3, 3, 3), np.float32), r"shape \(4, 3, 3, 3\), expected \(3, 3, 3, 4\)"),
        ("block1_conv1/bias", np.zeros((1, 4), np.float32), r"block1_conv1/bias: shape \(1, 4\), expected \(4,\)"),
        ("block1_conv1/bias", np.array([0, 0, np.nan, 0], np.float32), "block1_conv1/bias: contains NaN or infinite"),
        ("block1_conv1/bias", np.array([0, 0, np.inf, 0], np.float32), "block1_conv1/bias: contains NaN or infinite"),
        ("block1_conv1/bias", np.zeros(4, np.int64), "block1_conv1/bias: type int64"),
        ("block1_conv1/bias", np.array(["a", "b", "c", "d"]), "block1_conv1/bias: type <U1"),
    ],
)
def test_a_bad_array_is_named(small, tmp_path, key, array, problem):
    arrays = {k: v for k, v in (small | {key: array}).items() if v is not None}
    path = tmp_path / "vgg16.npz"
    np.savez(path, **arrays)
    with pytest.raises(InputError, match=problem) as caught:
        read_layers(path)
    assert str(path) in str(caught.value)


def test_other_float_types_become_float32(small, assert_layers_equal):
    layers = check_arrays({key: array.astype(np.float64) for key, array in small.items()}, "test")
    assert_layers_equal(layers, small)


@pytest.mark.skipif(not OXFORD.exists(), reason=f"needs {OXFORD}")
def test_oxford_weights():
    layers = load_pretrained(str(OXFORD)).layers
    assert [kernel.shape for kernel, _ in layers.values()] == list(CONV_KERNEL_SHAPES.values())
    np.testing.assert_allclose(layers["block1_conv1"][0][0, 0, 0, :3], (0.42947, 0.11727, 0.03401), atol=5e-6)
