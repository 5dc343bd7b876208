"""The weights of VGG16: their names and shapes, and the checks that every source of weights must pass.

All weights are in Keras' convention.  Kernels are HWIO, float32.  The input is that of
`keras.applications.vgg16.preprocess_input`: BGR, values 0 to 255, channel means subtracted, not scaled.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.files import write_atomically
from keras_frcnn.network.weights.readers import read_arrays

# Layer name: kernel (kh, kw, in, out) or (in, out), and bias (out,).
Layers = dict[str, tuple[np.ndarray, np.ndarray]]

# Simonyan and Zisserman, arXiv:1409.1556, table 1, column D; names as in keras.applications.VGG16.
CONV_KERNEL_SHAPES = {
    "block1_conv1": (3, 3, 3, 64),
    "block1_conv2": (3, 3, 64, 64),
    "block2_conv1": (3, 3, 64, 128),
    "block2_conv2": (3, 3, 128, 128),
    "block3_conv1": (3, 3, 128, 256),
    "block3_conv2": (3, 3, 256, 256),
    "block3_conv3": (3, 3, 256, 256),
    "block4_conv1": (3, 3, 256, 512),
    "block4_conv2": (3, 3, 512, 512),
    "block4_conv3": (3, 3, 512, 512),
    "block5_conv1": (3, 3, 512, 512),
    "block5_conv2": (3, 3, 512, 512),
    "block5_conv3": (3, 3, 512, 512),
}
# The rows of fc1 are the 7x7x512 features flattened in the order height, width, channel.
FC_KERNEL_SHAPES = {"fc1": (7 * 7 * 512, 4096), "fc2": (4096, 4096)}


def read_layers(path: Path) -> Layers:
    """Read and check the VGG16 layers of one .h5, .npz or .keras file.

    Raises:
        InputError: The file is missing, cannot be read, or does not hold VGG16.
    """
    if not path.is_file():
        raise InputError(path, "no such file", "check the path, or use `--weights imagenet` to download VGG16")
    try:
        arrays = read_arrays(path, {*CONV_KERNEL_SHAPES, *FC_KERNEL_SHAPES})
    except (OSError, ValueError) as error:
        problem = f"not a readable {path.suffix.lower()} file ({error})"
        raise InputError(path, problem, "use a complete VGG16 file") from error
    return check_arrays(arrays, path)


def write_layers(path: Path, layers: Layers) -> None:
    """Write layers to an .npz file as `<layer>/kernel` and `<layer>/bias`.

    The write is atomic: `path` never holds an incomplete file.

    Raises:
        OSError: The file cannot be written.
    """
    arrays: dict[str, Any] = {}  # Any: savez also takes an option by keyword
    for name, (kernel, bias) in layers.items():
        arrays |= {f"{name}/kernel": kernel, f"{name}/bias": bias}
    write_atomically(path, lambda temporary: np.savez(temporary, **arrays))


def check_arrays(arrays: Mapping[str, np.ndarray], where: str | os.PathLike) -> Layers:
    """Pair the arrays `block1_conv1/kernel`, `block1_conv1/bias`, ... into layers and convert them to float32.

    The 13 convolutions are required.  `fc1` and `fc2` are required only if one of their kernels is present.

    Args:
        arrays: Arrays of any floating-point type by name.  Other names are ignored.
        where: The file or source, for error messages.

    Raises:
        InputError: An array is missing, has the wrong shape or type, or contains NaN or infinite values.
    """
    has_fc = any(f"{name}/kernel" in arrays for name in FC_KERNEL_SHAPES)
    kernel_shapes = CONV_KERNEL_SHAPES | (FC_KERNEL_SHAPES if has_fc else {})
    layers = {}
    for name, kernel_shape in kernel_shapes.items():
        kernel = _check_array(arrays, f"{name}/kernel", kernel_shape, where)
        bias = _check_array(arrays, f"{name}/bias", kernel_shape[-1:], where)
        layers[name] = (kernel, bias)
    return layers


def _check_array(
    arrays: Mapping[str, np.ndarray], key: str, shape: tuple[int, ...], where: str | os.PathLike
) -> np.ndarray:
    field = f"{where}, {key}"
    if key not in arrays:
        raise InputError(field, "missing", "use a VGG16 file with the layer names of keras.applications.VGG16")
    array = np.asarray(arrays[key])
    if array.shape != shape:
        fix = "use a VGG16 file with the standard number of channels"
        if key.split("/")[0] in FC_KERNEL_SHAPES:
            fix = "use a VGG16 file trained on 224x224 images, or a file without fc1 and fc2"
        raise InputError(field, f"shape {array.shape}, expected {shape}", fix)
    if array.dtype.kind != "f":
        raise InputError(field, f"type {array.dtype}, expected floating point", "use a file of trained weights")
    if not np.isfinite(array).all():
        raise InputError(field, "contains NaN or infinite values", "use a file of trained weights")
    return np.asarray(array, np.float32)
