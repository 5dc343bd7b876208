"""How much memory a training needs, roughly.

VGG16 keeps, for each pixel of the picture, the outputs of its convolutions: 2 x 64 numbers in block 1, and
(2 x 128) / 4, (3 x 256) / 16, (3 x 512) / 64 and (3 x 512) / 256 in blocks 2 to 5, 270 in all with a few more for the
poolings.  The gradient needs as many again.  Blocks 1 and 2 do not train, but TensorFlow holds their outputs for a
while.  The weights are held with their gradient and their momentum.
"""

from keras_frcnn.facts.config import DetectorConfig
from keras_frcnn.network.backbone import BLOCKS, STRIDE

_NUMBERS_PER_PIXEL = 300
_BYTES = 4  # of a number; half precision needs less, but not for everything
_RUNTIME = 0.9e9  # bytes of Python, TensorFlow and its buffers
_CONVOLUTION_WEIGHTS = 14.7e6 + 2.4e6  # of VGG16 and of the RPN's own layer
_COPIES = 3  # of the weights: values, gradients, momentum
_IOU_COPIES = 6  # matrices of anchors x objects that live at the same time


def memory_bytes(config: DetectorConfig, pixels: float, images: int, most_objects: int) -> float:
    """The bytes that training needs at most.

    Args:
      config: of the detector.
      pixels: of the largest resized picture.
      images: of a mini-batch.
      most_objects: in a picture.
    """
    head = config.head
    inputs = head.pool_size**2 * BLOCKS[-1][0]
    weights = _CONVOLUTION_WEIGHTS + inputs * head.fc_units + head.fc_units**2
    activations = images * pixels * _NUMBERS_PER_PIXEL * 2
    regions = images * head.batch_size * (4 * inputs + 4 * head.fc_units) * 2
    anchors = pixels / STRIDE**2 * len(config.anchors.scales) * len(config.anchors.ratios)
    numbers = _COPIES * weights + activations + regions + images * anchors * (most_objects + 10) * _IOU_COPIES
    return _RUNTIME + _BYTES * numbers
