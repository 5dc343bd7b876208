"""The end of a run: the AP of the report is computed once."""

import pytest

from keras_frcnn.data.example import Dataset
from training.alternate import parse_arguments
from training.reporting.summary import TrainingResult
from training.run import finish as module
from training.run.finish import finish
from training.run.start import Run

MEASURED, COMPUTED = "measured by this process", "computed again"


@pytest.fixture
def reported(monkeypatch):
    """The AP of each report that was written."""
    reported = []
    monkeypatch.setattr(module, "detect_dataset", lambda *_: [])
    monkeypatch.setattr(module, "write_pictures", lambda *_: [])
    monkeypatch.setattr(module, "evaluate_voc", lambda *_: COMPUTED)
    monkeypatch.setattr(module, "write_report", lambda folder, results, dataset, detections, ap: reported.append(ap))
    return reported


@pytest.mark.parametrize(("ap", "expected"), [(MEASURED, MEASURED), (None, COMPUTED)])
def test_ap_is_computed_again_only_in_a_resumed_run(model, tmp_path, capsys, reported, ap, expected):
    options = parse_arguments(["--data", "synthetic", "--run", str(tmp_path), "--weights", "none"]).options
    none = Dataset("none", model.class_names, (), {})
    (tmp_path / "model.keras").touch()
    result = TrainingResult("step4", "step 4 detector", 1, 1, 0.0, {}, None, "", ap)
    run = Run(tmp_path, options, model.config, none, none)
    finish(run, model, [result])
    assert reported == [expected]
    assert f"report:   {tmp_path / 'report.html'}" in capsys.readouterr().out
    (tmp_path / "report.html").touch()
    finish(run, model, [result])
    assert reported == [expected]  # a report that is there is not written again
