"""The evaluation of a detector: the thresholds of its error analysis."""

import numpy as np
import pytest

from keras_frcnn.evaluation.error_analysis.labels import Thresholds, error_kinds
from training.run.evaluation import _thresholds


@pytest.mark.parametrize(("iou", "background"), [(0.5, 0.1), (0.11, 0.1), (0.1, 0.1), (0.05, 0.05)])
def test_the_background_ends_below_a_match(iou, background):
    assert _thresholds(iou, 0.3) == Thresholds(iou, background, 0.3)


@pytest.mark.parametrize("iou", [0.0, 0.05])
def test_with_a_low_iou_each_label_has_its_meaning(iou):
    own, other = np.array([0.0, 0.2, 0.0]), np.array([0.0, 0.0, 0.2])
    kinds = error_kinds(own, other, _thresholds(iou, 0.3))
    assert kinds.tolist() == ["background", "duplicate", "confusion"]
