"""Errors that the user can fix end a command with one line and exit status 2; all others keep their traceback."""

import importlib

import pytest

from keras_frcnn.facts.errors import InputError, exit_on_input_error


def test_an_input_error_is_one_line_of_three_parts(capsys):
    with pytest.raises(SystemExit) as exit_, exit_on_input_error():
        raise InputError("config.json, field rois", "expected a number\n(got 'x')", "give 64")
    assert exit_.value.code == 2
    assert capsys.readouterr().err == "error: config.json, field rois: expected a number (got 'x'); give 64\n"


@pytest.mark.parametrize("extra", ["train", "export"])
def test_a_missing_package_names_the_extra_that_installs_it(capsys, extra):
    with pytest.raises(SystemExit) as exit_, exit_on_input_error(extra=extra):
        importlib.import_module("no_such_package.part")
    assert exit_.value.code == 2
    assert capsys.readouterr().err == (
        "error: no_such_package is not installed; this command needs more packages: "
        f"pip install 'keras-frcnn[{extra}]'\n"
    )


@pytest.mark.parametrize(
    ("extra", "module"),
    [
        pytest.param(None, "no_such_package", id="a command without an extra"),
        pytest.param("train", "keras_frcnn.no_such_module", id="a module of our own"),
    ],
)
def test_another_missing_module_keeps_its_traceback(extra, module):
    with pytest.raises(ModuleNotFoundError), exit_on_input_error(extra=extra):
        importlib.import_module(module)


def test_nothing_happens_without_an_error(capsys):
    with exit_on_input_error(extra="train"):
        pass
    assert capsys.readouterr() == ("", "")
