"""Numbers in the text of annotation files."""

import pytest

from keras_frcnn.data.sources.shared.numbers import read_number, whole_number
from keras_frcnn.facts.errors import InputError


@pytest.mark.parametrize(("text", "number"), [("3", 3.0), (" -1.5e2 ", -150.0), ("\u00a07", 7.0)])
def test_a_finite_number(text, number):
    assert read_number(text, "f.csv, line 1") == number


@pytest.mark.parametrize("text", ["", "x", "nan", "-inf", "1e999", "9" * 400, "1_000", "１２", "٣"])
def test_what_is_not_finite_is_named(text):
    with pytest.raises(InputError, match="^f.csv, line 1: expected a finite number .got"):
        read_number(text, "f.csv, line 1")


@pytest.mark.parametrize(
    ("text", "number"),
    [("0", 0), ("007", 7), ("99", 99), ("100", None), ("9" * 5000, None), ("-1", None), ("1.0", None), ("٣", None),
     ("", None), (3, None)],
)  # fmt: skip
def test_whole_numbers_below_a_limit(text, number):
    assert whole_number(text, below=100) == number
