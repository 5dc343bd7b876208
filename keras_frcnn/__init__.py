"""Faster R-CNN with VGG16 in TensorFlow and Keras 3.

    import keras_frcnn

    model = keras_frcnn.load("runs/mine")
    result = model.detect("photo.jpg", score=0.5)
    result.draw().save("photo.detections.png")

The names below are imported on first use, so `import keras_frcnn` itself is quick and loads neither TensorFlow nor
NumPy.

`keras.saving.load_model("model.keras")` needs no `custom_objects` once the model's class is registered: run
`import keras_frcnn.network.model` first.  `import keras_frcnn` alone does not register it, and Keras does not import a
class of another package by itself.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keras_frcnn.api.detector import Detector, load
    from keras_frcnn.api.drawing import draw_detections
    from keras_frcnn.api.result import Result
    from keras_frcnn.facts.config import DetectorConfig
    from keras_frcnn.facts.errors import InputError

    __version__: str

__all__ = ["Detector", "DetectorConfig", "InputError", "Result", "__version__", "draw_detections", "load"]

_MODULES = {
    "Detector": "keras_frcnn.api.detector",
    "DetectorConfig": "keras_frcnn.facts.config",
    "InputError": "keras_frcnn.facts.errors",
    "Result": "keras_frcnn.api.result",
    "draw_detections": "keras_frcnn.api.drawing",
    "load": "keras_frcnn.api.detector",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use (PEP 562)."""
    if name == "__version__":
        value: Any = importlib.import_module("importlib.metadata").version("keras-frcnn")
    elif name in _MODULES:
        value = getattr(importlib.import_module(_MODULES[name]), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value  # the next access finds it without this function
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
