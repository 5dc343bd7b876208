"""--split-by in a training: made once, kept in the run folder, and used by everything that comes later."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from keras_frcnn.data.sources.shared import split_by
from keras_frcnn.data.sources.spec import DataSpec
from keras_frcnn.data.sources.synthetic.drawn import write_synthetic
from keras_frcnn.facts.errors import InputError
from training.alternate import parse_arguments
from training.engine.interruption import deferred
from training.run.data.splits import divided_data
from training.run.start import open_run, read_data

ROOT = Path(__file__).resolve().parents[4]
SMALL = "--short-side 64 --fc-units 32 --anchor-scales 16 32 --min-size 4 --rois 16 --weights none".split()


@pytest.fixture(scope="module")
def drawn_folder(tmp_path_factory):
    """10 drawn scenes of 64 x 96 pixels, with XML files beside them and without image sets."""
    root = tmp_path_factory.mktemp("drawn")
    write_synthetic(root / "tree", {"train": 10}, seed=0, size=(64, 96))
    (root / "data").mkdir()
    for path in [*(root / "tree").rglob("*.jpg"), *(root / "tree").rglob("*.xml")]:
        shutil.copy(path, root / "data")
    return root / "data"


@pytest.fixture
def folder(drawn_folder, tmp_path):
    return shutil.copytree(drawn_folder, tmp_path / "data")


def opened(folder, *arguments):
    """The run of these options in the folder `run` beside the data."""
    run = folder.parent / "run"
    options = parse_arguments(["--data", f"voc:{folder}", "--run", str(run), "--weights", "none", *arguments]).options
    return open_run(options, read_data(options))


def ids(dataset):
    return [one.image_id for one in dataset.examples]


def test_the_run_folder_keeps_the_splits(folder, monkeypatch, caplog):
    with caplog.at_level("INFO", "training"):
        run = opened(folder, "--split-by", "0.6/0.2/0.2")
    assert "--split-by 0.6/0.2/0.2, seed 0: train 6, val 2, test 2 pictures" in caplog.messages
    stored = json.loads((run.folder / "splits.json").read_text())
    assert stored["pictures"]["train"] == ids(run.train_set) and stored["pictures"]["val"] == ids(run.val_set)
    before = {path.name: path.read_bytes() for path in run.folder.iterdir()}
    assert sorted(before) == ["config.json", "data.json", "labels.json", "splits.json"]

    monkeypatch.setattr(split_by, "hash_pictures", None)  # no picture is compared again
    again = opened(folder, "--split-by", "0.6/0.2/0.2")
    assert (ids(again.train_set), ids(again.val_set)) == (ids(run.train_set), ids(run.val_set))
    assert {path.name: path.read_bytes() for path in run.folder.iterdir()} == before


def test_other_shares_or_another_seed_do_not_resume_the_run(folder):
    opened(folder, "--split-by", "0.6/0.2/0.2")
    before = {path: path.read_bytes() for path in (folder.parent / "run").iterdir()}
    for field, arguments in {
        "split_by": ("--split-by", "0.5/0.3/0.2"),
        "split_seed": ("--split-by", "0.6/0.2/0.2", "--split-seed", "1"),
    }.items():
        with pytest.raises(InputError, match=f"config.json, field options.{field}: this run was started with"):
            opened(folder, *arguments)
    assert {path: path.read_bytes() for path in (folder.parent / "run").iterdir()} == before


def test_a_run_takes_over_the_splits_of_a_file_for_good(folder):
    opened(folder, "--split-by", "0.6/0.2/0.2")
    file = folder.parent / "mine.json"
    shutil.move(folder.parent / "run" / "splits.json", file)
    shutil.rmtree(folder.parent / "run")
    run = opened(folder, "--split-by", str(file), "--train", "train+test")
    assert len(run.train_set.examples) == 8
    file.write_text("{}")
    again = opened(folder, "--split-by", str(file), "--train", "train+test")
    assert ids(again.train_set) == ids(run.train_set)


def test_a_picture_that_is_removed_or_added_stops_a_resumed_run(folder):
    run = opened(folder, "--split-by", "0.6/0.2/0.2")
    missing = ids(run.train_set)[0]
    (folder / f"{missing}.xml").rename(folder / "new.xml")
    (folder / f"{missing}.jpg").rename(folder / "new.jpg")
    message = (
        f"splits.json: it lists pictures that the data lacks: {missing}; it lacks pictures of the data: new; restore"
    )
    with pytest.raises(InputError, match=message):
        opened(folder, "--split-by", "0.6/0.2/0.2")


def test_without_the_option_there_is_no_file(voc_tree, tmp_path):
    run = opened(shutil.copytree(voc_tree, tmp_path / "data"))
    assert not (run.folder / "splits.json").exists()


@pytest.mark.parametrize("show", [True, False])
def test_the_bar_can_be_hidden(folder, capsys, show):
    divided_data(DataSpec(data=f"voc:{folder}", split_by="0.6/0.2/0.2"), show=show)
    assert ("comparing pictures" in capsys.readouterr().err) == show


def test_the_first_signal_ends_the_comparison(folder):
    ended = []
    with pytest.raises(KeyboardInterrupt), deferred():
        signal.raise_signal(signal.SIGTERM)
        ended.append(divided_data(DataSpec(data=f"voc:{folder}", split_by="0.6/0.2/0.2")))
    assert not ended


@pytest.mark.slow
def test_four_steps_on_pictures_without_image_sets(folder):
    """Train, resume after the last step was lost, and measure on the test split that the run wrote down."""

    def command(module, *arguments):
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        line = [sys.executable, "-m", module, *map(str, arguments)]
        done = subprocess.run(line, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run = folder.parent / "run"
    training = ["--data", f"voc:{folder}", "--split-by", "0.6/0.2/0.2", "--run", run, *SMALL, "--iterations", *"2222"]
    output = command("training.alternate", *training)
    assert "--split-by 0.6/0.2/0.2, seed 0: train 6, val 2, test 2 pictures" in output
    splits = (run / "splits.json").read_bytes()
    config = json.loads((run / "config.json").read_text())["options"]
    assert (config["split_by"], config["split_seed"]) == ("0.6/0.2/0.2", 0)
    weights = run / "weights" / "step4.npz"
    size = weights.stat().st_size
    weights.unlink()
    (run / "model.keras").unlink()

    output = command("training.alternate", *training)
    assert f"--split-by {run}/splits.json: train 6, val 2, test 2 pictures" in output
    assert weights.stat().st_size == size and (run / "model.keras").is_file()
    assert (run / "splits.json").read_bytes() == splits

    split = ["--split-by", run / "splits.json", "--split", "test"]
    output = command("training.evaluate", "--model", run, "--data", f"voc:{folder}", *split, "--out", run / "test")
    assert f"--split-by {run}/splits.json: train 6, val 2, test 2 pictures" in output
    results = "".join(path.read_text() for path in (run / "test" / "voc_results").iterdir())
    found = set(re.findall(r"^\S+", results, re.MULTILINE))
    assert found and found <= set(json.loads(splits)["pictures"]["test"])
