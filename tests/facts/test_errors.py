"""Errors that the user can fix end a command with one line and an exit status; all others keep their traceback."""

import errno
import importlib
import os
import subprocess
import sys

import pytest

from keras_frcnn.facts.errors import CLOSED_PIPE, INTERRUPTED, UNWRITABLE, InputError, exit_on_input_error
from keras_frcnn.facts.files import write_atomically


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


def full_disk(path):
    """What writing to an open file raises: an error without the name of the file."""
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_one_line_that_names_the_file(tmp_path, capsys):
    path = tmp_path / "weights" / "step1.npz"
    with pytest.raises(SystemExit) as exit_, exit_on_input_error():
        write_atomically(path, full_disk)
    assert exit_.value.code == UNWRITABLE
    assert capsys.readouterr().err == (
        f"error: {path}: No space left on device; make room, or correct the place or its permissions, and run the same "
        "command again\n"
    )
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize(("hint", "line"), [("", "Interrupted."), ("Run it again.", "Interrupted. Run it again.")])
def test_ctrl_c_is_one_line(capsys, hint, line):
    with pytest.raises(SystemExit) as exit_, exit_on_input_error(interrupted=hint):
        raise KeyboardInterrupt
    assert exit_.value.code == INTERRUPTED
    assert capsys.readouterr().err == f"\n{line}\n"


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EDQUOT, errno.EIO])
def test_so_is_every_other_error_of_a_place(tmp_path, capsys, number):
    def fail(path):
        raise OSError(number, os.strerror(number))

    with pytest.raises(SystemExit) as exit_, exit_on_input_error():
        write_atomically(tmp_path / "a", fail)
    assert exit_.value.code == UNWRITABLE
    assert capsys.readouterr().err.startswith(f"error: {tmp_path}/a: {os.strerror(number)}; make room, or correct the")


def test_a_name_that_is_too_long_is_the_users_mistake(tmp_path, capsys):
    path = tmp_path / ("x" * 300)
    with pytest.raises(SystemExit) as exit_, exit_on_input_error():
        path.is_file()
    assert exit_.value.code == 2
    assert capsys.readouterr().err == f"error: {path}: File name too long; give a shorter name\n"


def test_an_error_of_a_library_without_number_and_name_is_one_line(capsys):
    with pytest.raises(SystemExit) as exit_, exit_on_input_error():
        raise OSError("Can't write data (file write failed)")
    assert exit_.value.code == UNWRITABLE
    assert capsys.readouterr().err.startswith("error: a file: Can't write data (file write failed); make room, or ")


def test_a_reader_that_goes_away_ends_a_command_in_silence():
    code = (
        "from keras_frcnn.facts.errors import exit_on_input_error\n"
        "with exit_on_input_error():\n"
        "    while True: print('a line of some length', flush=True)\n"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "a line of some length\n"
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == CLOSED_PIPE


def test_nothing_happens_without_an_error(capsys):
    with exit_on_input_error(extra="train"):
        pass
    assert capsys.readouterr() == ("", "")
