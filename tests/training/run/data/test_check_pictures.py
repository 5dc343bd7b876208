"""A damaged picture is named before training starts: always with --check-data, else where that is cheap."""

import signal

import pytest

from keras_frcnn.facts.errors import InputError
from training.alternate import parse_arguments
from training.engine.interruption import deferred
from training.four_steps import FOUR_STEPS
from training.run.data import check_pictures as checks
from training.run.data.check_pictures import CHEAP_SHARE, check_pictures
from training.run.start import read_data

ENOUGH = int(6 / CHEAP_SHARE)  # uses of a picture for which decoding the six of `voc_tree` is cheap


@pytest.fixture
def options(voc_tree, tmp_path):
    return parse_arguments(["--data", f"voc:{voc_tree}", "--run", str(tmp_path / "run"), "--weights", "none"]).options


def steps(uses):
    """Two steps that use pictures so often in all."""
    return [FOUR_STEPS[0]._replace(iterations=uses - 20), FOUR_STEPS[1]._replace(iterations=10, images=2)]


@pytest.fixture
def data(options, tmp_path):
    """The data sets of `options`, one picture of the validation set cut off in the middle."""
    read = read_data(options)
    val_set = read.val_set
    last = val_set.examples[-1]
    encoded = open(last.image_path, "rb").read()
    cut = tmp_path / "cut.png"
    cut.write_bytes(encoded[: len(encoded) // 2])
    damaged = (*val_set.examples[:-1], last._replace(image_path=str(cut)))
    return read._replace(val_set=val_set._replace(examples=damaged))


def test_a_damaged_picture_is_named_where_checking_is_cheap(options, data):
    with pytest.raises(InputError, match=r"cut\.png: cannot be decoded \(the end of the file is missing\); replace it"):
        check_pictures(options, steps(ENOUGH), data)


def test_a_short_training_reads_no_picture(options, data, monkeypatch):
    monkeypatch.setattr(checks, "read_pictures", None)
    check_pictures(options, steps(ENOUGH - 1), data)


def test_check_data_reads_them_anyway(options, data):
    asked = parse_arguments(["--data", options.data, "--run", options.run, "--weights", "none", "--check-data"]).options
    with pytest.raises(InputError, match="cut"):
        check_pictures(asked, steps(ENOUGH - 1), data)


def test_a_resumed_run_reads_none(options, data, tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{}")
    monkeypatch.setattr(checks, "read_pictures", None)
    check_pictures(options, steps(ENOUGH), data)


def test_all_pictures_whole(options):
    check_pictures(options, steps(ENOUGH), read_data(options))


def test_several_damaged_pictures(options, data):
    example = data.val_set.examples[0]
    missing = tuple(example._replace(image_path=f"gone{number}.jpg") for number in range(5))
    shown = r"gone0\.jpg: .*; 5 such pictures, also gone1\.jpg, gone2\.jpg, gone3\.jpg and 1 more; replace"
    with pytest.raises(InputError, match=shown):
        check_pictures(options, steps(1000), data._replace(val_set=data.val_set._replace(examples=missing)))


def test_the_first_signal_ends_it(options, data):
    with pytest.raises(KeyboardInterrupt), deferred():
        signal.raise_signal(signal.SIGTERM)
        check_pictures(options, steps(ENOUGH), data)  # would raise the error of the damaged picture


@pytest.mark.parametrize("show", [True, False])
def test_its_bar_can_be_hidden(options, capsys, show):
    check_pictures(options, steps(ENOUGH), read_data(options), show)
    assert ("checking pictures" in capsys.readouterr().err) == show
