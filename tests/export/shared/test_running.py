"""How an export is run: its lines on standard output, its exit status, and the precision it computes in."""

import logging
import re
import types

import pytest
import tensorflow as tf

from export.shared.parity import ParityError
from export.shared.running import run_export
from keras_frcnn.facts.errors import InputError

LOG = logging.getLogger("export.somewhere")
OPTIONS = types.SimpleNamespace(out="there")


def test_what_is_logged_is_printed_once_after_the_seconds(capsys):
    root = logging.StreamHandler()  # of another package: the line must not come a second time
    logging.getLogger().addHandler(root)
    try:
        for _ in range(2):  # a second export in one process prints each line once, too
            run_export(OPTIONS, lambda options: LOG.info("written to %s", options.out))
    finally:
        logging.getLogger().removeHandler(root)
    captured = capsys.readouterr()
    first, second = captured.out.splitlines()
    assert re.fullmatch(r" {3}\d\.\d s  written to there", first) and first[8:] == second[8:]
    assert captured.err == ""


def test_the_logger_is_left_as_it_was(caplog):
    before = logging.getLogger("export")
    level, handlers, propagate = before.level, list(before.handlers), before.propagate
    with pytest.raises(SystemExit):
        run_export(OPTIONS, raising(ParityError("no")))
    assert (before.level, before.handlers, before.propagate) == (level, handlers, propagate)


def raising(error):
    def export(options):
        raise error

    return export


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (InputError("--size", "is wrong", "give another"), 2, "error: --size: is wrong; give another"),
        (ParityError("too far"), 1, "error: there: not written: too far"),
    ],
)
def test_errors_are_one_line_and_a_status(capsys, error, status, line):
    with pytest.raises(SystemExit) as exit_:
        run_export(OPTIONS, raising(error))
    assert exit_.value.code == status
    assert capsys.readouterr().err == f"{line}\n"


def test_an_export_computes_without_tf32():
    enabled = tf.config.experimental.tensor_float_32_execution_enabled
    before, seen = enabled(), []
    tf.config.experimental.enable_tensor_float_32_execution(True)
    try:
        run_export(OPTIONS, lambda options: seen.append(enabled()))
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)
    assert seen == [False]
