"""torchvision's VGG16 convolutions, converted to Keras' input and to the scale of Oxford's VGG16.

torchvision trained the same architecture separately from Oxford, whose weights Keras' files hold.  The kernels differ,
and torchvision's activations are smaller by a factor of 8 (block5_conv3) to 190 (block2_conv2).
"""

from collections.abc import Mapping

import numpy as np

from keras_frcnn.network.weights import vgg16

TORCHVISION_MEAN_RGB = np.array((0.485, 0.456, 0.406))  # of pixels scaled to 0..1
TORCHVISION_STD_RGB = np.array((0.229, 0.224, 0.225))
KERAS_MEAN_RGB = np.array((123.68, 116.779, 103.939))  # of pixels 0..255

# Root mean square of each layer's output, Oxford's divided by torchvision's, measured on eight pictures of VOC2007 at
# short side 300.  ReLU commutes with a positive scale, so layers scaled by these factors compute torchvision's
# features times 7.92.  The paper's learning rates were chosen for Oxford's weights, and fit features of that scale.
OXFORD_OVER_TORCHVISION = {
    "block1_conv1": 79.2,
    "block1_conv2": 166.0,
    "block2_conv1": 170.0,
    "block2_conv2": 187.0,
    "block3_conv1": 149.0,
    "block3_conv2": 137.0,
    "block3_conv3": 128.0,
    "block4_conv1": 89.2,
    "block4_conv2": 68.8,
    "block4_conv3": 47.0,
    "block5_conv1": 27.4,
    "block5_conv2": 16.5,
    "block5_conv3": 7.92,
}


def convert_torchvision(convolutions: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Convert torchvision's convolutions to arrays `block1_conv1/kernel`, ... in Keras' input convention.

    Each layer is scaled to the activations of Oxford's VGG16 (`OXFORD_OVER_TORCHVISION`).

    Args:
        convolutions: `Conv_0` to `Conv_12`, each a `kernel` (kh, kw, in, out) and a `bias` (out,).
    """
    arrays = {}
    input_scale = 1.0
    for i, name in enumerate(vgg16.CONV_KERNEL_SHAPES):  # flax numbers the convolutions in order
        kernel, bias = convolutions[f"Conv_{i}"]["kernel"], convolutions[f"Conv_{i}"]["bias"]
        if name == "block1_conv1":
            kernel, bias = fold_input_convention(kernel, bias)
        scale = OXFORD_OVER_TORCHVISION[name]
        arrays[f"{name}/kernel"] = kernel * np.float32(scale / input_scale)
        arrays[f"{name}/bias"] = bias * np.float32(scale)
        input_scale = scale
    return arrays


def fold_input_convention(kernel: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Change the first layer from torchvision's input to Keras' input.

    torchvision's input is (RGB / 255 - mean) / std.  Keras' input is x = RGB - m, in the channel order BGR.  In terms
    of x, torchvision's input is x / (255 std) + (m / 255 - mean) / std.  The factor goes into the kernel; the constant,
    multiplied by the kernel and summed, goes into the bias.

    The result is exact where the kernel lies inside the image.  At the border, zero padding means Keras' mean colour
    instead of torchvision's; the two differ by less than 0.002 of the pixel range.

    Args:
        kernel: (3, 3, 3, O), input channels RGB.
        bias: (O,).

    Returns:
        The new kernel (3, 3, 3, O), input channels BGR, and the new bias (O,), both float32.
    """
    kernel, bias = kernel.astype(np.float64), bias.astype(np.float64)
    offset = (KERAS_MEAN_RGB / 255 - TORCHVISION_MEAN_RGB) / TORCHVISION_STD_RGB
    folded_bias = bias + np.einsum("hwio,i->o", kernel, offset)
    folded_kernel = kernel / (255 * TORCHVISION_STD_RGB)[:, None]
    return folded_kernel[:, :, ::-1].astype(np.float32), folded_bias.astype(np.float32)
