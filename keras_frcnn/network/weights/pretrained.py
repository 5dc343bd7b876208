"""A detector that starts from the ImageNet weights of VGG16 (paper, section 3.1.3).

Random weights are used only if the user asks for them with `none`.  If a source cannot be read, loading fails.
"""

from pathlib import Path
from typing import NamedTuple

from keras_frcnn.facts.cache import user_cache_dir
from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.files import user_path
from keras_frcnn.network.model import FasterRCNN
from keras_frcnn.network.weights.keras_files import KERAS_FILES, fetch_keras_file
from keras_frcnn.network.weights.package_index import load_torchvision
from keras_frcnn.network.weights.readers import READERS
from keras_frcnn.network.weights.vgg16 import Layers, read_layers

SOURCES = "`imagenet`, `imagenet-full`, `torchvision`, `none`, or the path of a VGG16 .h5, .npz or .keras file"


class PretrainedVGG16(NamedTuple):
    """Checked weights of VGG16 and their source."""

    layers: Layers  # the 13 convolutions; fc1 and fc2 if the source has them
    source: str  # as the user wrote it


def load_pretrained(source: str) -> PretrainedVGG16 | None:
    """Load VGG16 by name or path; return None for `none`.

    Args:
        source: `imagenet` (Keras' file), `imagenet-full` (with fc1 and fc2), `torchvision`, `none`, or the path of an
            .h5, .npz or .keras file.  The named weights are downloaded once and cached.

    Raises:
        InputError: The source is unknown, cannot be downloaded or read, or does not hold VGG16.
    """
    if source == "none":
        return None
    if source in KERAS_FILES:
        layers = read_layers(fetch_keras_file(source))
    elif source == "torchvision":
        layers = load_torchvision(user_cache_dir())
    elif Path(source).suffix.lower() in READERS:
        layers = read_layers(user_path(source))
    else:
        raise InputError(f"--weights {source}", "unknown source of weights", f"use {SOURCES}")
    return PretrainedVGG16(layers, source)


def apply_pretrained(model: FasterRCNN, pretrained: PretrainedVGG16) -> None:
    """Set the backbone's convolutions from `pretrained`, and fc6 and fc7 if it has fc1 and fc2.

    All other weights of the model stay the same.

    Raises:
        InputError: fc1 or fc2 does not have the shape of the detector's layer.
    """
    for convolution in model.backbone.convolutions:
        convolution.set_weights(pretrained.layers[convolution.name])
    for layer, name in ((model.head.fc6, "fc1"), (model.head.fc7, "fc2")):
        if name not in pretrained.layers:
            continue
        kernel, bias = pretrained.layers[name]
        if layer.kernel.shape != kernel.shape:
            raise InputError(
                f"--weights {pretrained.source}, layer {name}",
                f"shape {kernel.shape} does not match {tuple(layer.kernel.shape)} of the detector's {layer.name}",
                "leave --fc-units at 4096, or use weights without fc layers",
            )
        layer.set_weights([kernel, bias])
