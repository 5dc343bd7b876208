"""What measuring says besides its figures."""

import logging
from types import SimpleNamespace

import numpy as np
import pytest

from training.run import measure


@pytest.mark.parametrize("count", [0, 3])
def test_an_rpn_without_proposals_is_a_warning(monkeypatch, caplog, count):
    recall = SimpleNamespace(mean_proposals=np.full(5, count))
    config = SimpleNamespace(rpn=SimpleNamespace(min_size=16))
    for name in ("_propose", "measured_counts", "proposal_directory", "format_recall_table", "recall_to_json"):
        monkeypatch.setattr(measure, name, lambda *_: None)
    monkeypatch.setattr(measure, "measure_recall", lambda *_: recall)
    monkeypatch.setattr(measure, "_measured", lambda run, step, kind, function: function())
    run, step = SimpleNamespace(config=config, val_set=None), SimpleNamespace(name="step1", title="step 1 RPN")
    with caplog.at_level(logging.WARNING):
        measure.measure_rpn(run, None, step, None)
    warnings = [] if count else ["step 1 RPN makes no proposal with sides of --min-size 16: lower it, or train longer"]
    assert caplog.messages == warnings
