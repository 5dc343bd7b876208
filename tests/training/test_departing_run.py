"""A run with the options that depart from the paper: each reaches the training."""

import json
from pathlib import Path

import numpy as np
import pytest

from keras_frcnn.api.model_file import load_model
from training.alternate import main

OPTIONS = (
    "--short-side 64 --fc-units 32 --anchor-scales 16 32 --min-size 4 --rois 16 --weights none --iterations 4 2 2 "
    "--learning-rate 0.01 1e-12 1e-12 --step2-backbone step1 --last-steps together --anchor-shapes released "
    "--val-images 1"
).split()


def backbone(path: Path) -> dict[str, np.ndarray]:
    """The convolutions that a step trains."""
    with np.load(path) as weights:
        return {
            name: weights[name]
            for name in weights.files
            if "block1" not in name and "block2" not in name and "backbone" in name
        }


@pytest.mark.slow
def test_the_options_that_depart_from_the_paper_reach_the_training(
    voc_tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    with pytest.raises(SystemExit) as end:
        main(["--data", f"voc:{voc_tree}", "--run", str(folder), *OPTIONS])
    assert not end.value.code
    printed = capsys.readouterr().out

    first, second = (backbone(folder / "weights" / f"{step}.npz") for step in ("step1", "step2"))
    assert len(first) == 18  # kernels and biases of nine layers
    for name, value in first.items():
        np.testing.assert_allclose(second[name], value, rtol=1e-6, atol=1e-9, err_msg=name)
    assert sorted(path.name for path in (folder / "weights").iterdir()) == ["step1.npz", "step2.npz", "step3.npz"]
    assert load_model(folder).config.anchors.shapes == "released"
    assert "1 pictures of" in printed
    measured = [json.loads(path.read_text()) for path in sorted((folder / "evaluation").glob("*.detector.json"))]
    assert len(measured) == 2
