"""The table of sources: each one can be imported, and the table itself is light."""

import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from keras_frcnn.data.sources import table


@pytest.mark.parametrize("kind", table.SOURCES)
def test_each_kind_has_its_functions_and_is_in_the_help_text(kind):
    source = table.SOURCES[kind]
    module = importlib.import_module(source.module)
    assert list(inspect.signature(module.read).parameters) == ["request", "problems"]
    assert list(inspect.signature(module.splits).parameters) == ["request"]
    assert source.usage.startswith(kind) and f"{source.usage} ({source.help})" in table.DATA_HELP


def test_the_table_imports_no_heavy_package():
    # In a process of its own, with an empty top package: the real one may import TensorFlow.
    code = (
        "import sys; package = type(sys)('keras_frcnn'); package.__path__ = ['keras_frcnn'];"
        "sys.modules['keras_frcnn'] = package;"
        "import keras_frcnn.data.sources.spec as table; print(table.DATA_HELP);"
        "print({'numpy', 'cv2', 'PIL', 'tensorflow'} & set(sys.modules))"
    )
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [table.DATA_HELP, "set()"]
