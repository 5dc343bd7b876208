"""The four steps learn: a detector trained on four pictures finds what is on them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from keras_frcnn.data.sources.synthetic.drawn import write_synthetic

ROOT = Path(__file__).resolve().parents[1]
WEIGHTS = ROOT.parent / "shared" / "weights" / "vgg16_imagenet_notop.h5"


@pytest.mark.slow
@pytest.mark.skipif(not WEIGHTS.is_file(), reason=f"the ImageNet weights are not at {WEIGHTS}")
def test_four_steps_learn_four_pictures_by_heart(tmp_path):
    write_synthetic(tmp_path / "tree", {"train": 4}, seed=1, size=(120, 160))
    arguments = (
        f"--data voc:{tmp_path / 'tree'} --val train --run {tmp_path / 'run'} --weights {WEIGHTS} "
        "--short-side 128 --anchor-scales 16 32 64 --min-size 4 --fc-units 256 --rois 128 --dropout 0 --head-images 1 "
        "--iterations 150 300 400 1000 --learning-rate 0.001 0.001 0.001 0.001 --warmup 50"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "training.alternate", *arguments.split()],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads((tmp_path / "run" / "evaluation" / "step4.detector.json").read_text())
    assert result["ap"]["mean_ap_area"] > 0.9, result["table"]
