"""Faster R-CNN with VGG16 in TensorFlow and Keras 3."""

import importlib.util
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keras_frcnn.network.model import FasterRCNN as FasterRCNN
    from keras_frcnn.network.model import load_model as load_model


def __getattr__(name: str) -> object:
    """`FasterRCNN` and `load_model`, imported when they are first used."""
    if name not in ("FasterRCNN", "load_model"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from keras_frcnn.network import model

    return getattr(model, name)


def _runs_a_command_line() -> bool:
    """Whether Python was started as `python -m ROOM.COMMAND` with a command of this project."""
    words = sys.orig_argv
    module = words[words.index("-m") + 1] if "-m" in words[:-1] else ""
    return module.startswith((f"{__name__}.", "training.", "export."))


# Importing the package registers its model with keras.saving.  The command lines do without: they read their options
# first, so that --help answers without TensorFlow, and import the model themselves.  The reference page, too, can be
# built where TensorFlow is not installed.
if not _runs_a_command_line() and importlib.util.find_spec("tensorflow"):
    import keras_frcnn.network.model  # noqa: F401
