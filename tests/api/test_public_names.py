"""The names of the package: imported on first use, without heavy modules, and documented."""

import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

import keras_frcnn

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {"tensorflow", "keras", "numpy", "cv2", "PIL"}
NAMES = {"load", "Detector", "Result", "DetectorConfig", "draw_detections", "InputError", "__version__"}


def imported_by(statement):
    """The top-level modules that a new process has imported after `statement`."""
    code = f"{statement}\nimport sys\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "statement",
    [
        "import keras_frcnn",
        "from keras_frcnn import DetectorConfig, InputError; DetectorConfig()",
        "import keras_frcnn; keras_frcnn.__version__; dir(keras_frcnn)",
        "import keras_frcnn.detect",
    ],
)
def test_the_import_is_light(statement):
    modules = imported_by(statement)
    assert "keras_frcnn" in modules and not modules & HEAVY


def test_all_names_are_there():
    assert set(keras_frcnn.__all__) == NAMES and len(keras_frcnn.__all__) == len(NAMES)
    assert NAMES <= set(dir(keras_frcnn))
    scope = {}
    exec("from keras_frcnn import *", scope)
    assert NAMES <= scope.keys()
    assert keras_frcnn.load.__module__ == "keras_frcnn.api.detector"


def test_the_version_is_that_of_the_distribution():
    line = next(line for line in (ROOT / "setup.cfg").read_text().splitlines() if line.startswith("version ="))
    assert keras_frcnn.__version__ == line.split("=")[1].strip()


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'keras_frcnn' has no attribute 'lod'"):
        keras_frcnn.lod  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'lod'"):
        from keras_frcnn import lod  # noqa: F401


def test_every_name_and_method_is_documented():
    documented = []
    for name in NAMES - {"__version__"}:
        value = getattr(keras_frcnn, name)
        documented.append((name, value))
        if inspect.isclass(value):
            documented += [(f"{name}.{key}", item) for key, item in vars(value).items() if key[0] != "_"]
    assert len(documented) > 10
    for name, value in documented:
        if callable(value) or isinstance(value, property):
            assert inspect.getdoc(value), name
            assert not inspect.getdoc(value).startswith(f"{name}("), f"{name} has only the docstring of a dataclass"
