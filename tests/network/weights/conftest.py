"""Shared by the tests of weights: VGG16 cut down to two small convolutions and two small fc layers, and its files."""

import h5py
import numpy as np
import pytest

from keras_frcnn.network.weights import vgg16

SMALL_CONVS = {"block1_conv1": (3, 3, 3, 4), "block1_conv2": (3, 3, 4, 5)}
SMALL_FC = {"fc1": (10, 6), "fc2": (6, 6)}


def make_arrays(kernel_shapes, seed=0):
    rng, arrays = np.random.default_rng(seed), {}
    for name, shape in kernel_shapes.items():
        arrays[f"{name}/kernel"] = rng.normal(size=shape).astype(np.float32)
        arrays[f"{name}/bias"] = rng.normal(size=shape[-1]).astype(np.float32)
    return arrays


@pytest.fixture(scope="session")
def random_arrays():
    """Make random arrays `<layer>/kernel` and `<layer>/bias` from a table of kernel shapes."""
    return make_arrays


@pytest.fixture
def small(monkeypatch):
    """Replace VGG16's shapes with small ones; return arrays of the convolutions."""
    monkeypatch.setattr(vgg16, "CONV_KERNEL_SHAPES", SMALL_CONVS)
    monkeypatch.setattr(vgg16, "FC_KERNEL_SHAPES", SMALL_FC)
    return make_arrays(SMALL_CONVS)


@pytest.fixture(scope="session")
def small_fc():
    """Arrays of the fc layers that go with `small`."""
    return make_arrays(SMALL_FC)


@pytest.fixture(scope="session")
def write_legacy_h5():
    """Write arrays in Keras' legacy layout: one group a layer, with its weight names in order in an attribute."""

    def write(path, arrays, names=("kernel:0", "bias:0"), under=""):
        with h5py.File(path, "w") as file:
            root = file.create_group(under) if under else file
            layers = sorted({key.split("/")[0] for key in arrays})
            root.attrs["layer_names"] = [layer.encode() for layer in layers]
            for layer in layers:
                group = root.create_group(layer)
                group.attrs["weight_names"] = [f"{layer}_{name}".encode() for name in names]
                for part, name in zip(("kernel", "bias"), names, strict=True):
                    group[f"{layer}_{name}"] = arrays[f"{layer}/{part}"]
        return path

    return write


@pytest.fixture(scope="session")
def assert_layers_equal():
    """Check that layers hold exactly the given arrays, in float32."""

    def check(layers, arrays):
        assert {f"{name}/{part}" for name in layers for part in ("kernel", "bias")} == set(arrays)
        for name, (kernel, bias) in layers.items():
            assert kernel.dtype == bias.dtype == np.float32
            np.testing.assert_array_equal(kernel, arrays[f"{name}/kernel"])
            np.testing.assert_array_equal(bias, arrays[f"{name}/bias"])

    return check
