"""A run with augmentation, from the command line to the detector: stored features are left out, and the log says so."""

import json
from pathlib import Path

import pytest

from keras_frcnn.data.augmentation.presets import PRESETS
from keras_frcnn.data.stream.pipeline import training_batches
from training.alternate import main

OPTIONS = "--short-side 64 --fc-units 32 --anchor-scales 16 32 --min-size 4 --rois 16 --weights none --quiet".split()


def alternate(tree: Path, folder: Path, *options: str) -> int:
    """The exit status of the four steps: 1, 1, 12 and 6 iterations, of 1, 2, 1 and 2 pictures."""
    iterations = ("--iterations", "1", "1", "12", "6")
    with pytest.raises(SystemExit) as end:
        main(["--data", f"voc:{tree}", "--run", str(folder), *OPTIONS, *iterations, *options])
    return end.value.code or 0


@pytest.mark.slow
def test_the_four_steps_train_with_augmentation_and_without_stored_features(
    voc_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    presets = []

    def recorded(*arguments, augment=None, **options):
        presets.append(augment)
        return training_batches(*arguments, augment=augment, **options)

    monkeypatch.setattr("training.run.train_step.training_batches", recorded)
    monkeypatch.setattr("training.run.start.FeatureCache", lambda *_: pytest.fail("features are stored"))
    folder = tmp_path / "run"
    assert alternate(voc_tree, folder, "--augment", "strong") == 0
    assert presets == [PRESETS["strong"]] * 4
    assert (folder / "model.keras").is_file()
    assert json.loads((folder / "config.json").read_text())["options"]["augment"] == "strong"
    # 4 pictures and their mirror images could have been stored.
    costs = [line for line in (folder / "logs" / "train.log").read_text().splitlines() if "--augment" in line]
    excluded = "--augment strong excludes stored features, so the convolutions process 12 images instead of 8"
    assert costs == [f"step 3 RPN: {excluded}", f"step 4 detector: {excluded}"]
    assert all(line in capsys.readouterr().out for line in costs[:1])

    assert alternate(voc_tree, folder, "--augment", "light") == 2
    error = capsys.readouterr().err
    assert "config.json, field options.augment: this run was started with 'strong', now it is 'light'" in error


def test_an_unknown_preset_is_one_line(voc_tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert alternate(voc_tree, tmp_path / "run", "--augment", "medium") == 2
    assert capsys.readouterr().err.strip().endswith("--augment must be one of none, light, strong (got 'medium').")
    assert not (tmp_path / "run").exists()
