"""The end of a run: the AP of the report is computed once, and no stored features stay."""

import pytest

from keras_frcnn.data.example import Dataset
from keras_frcnn.facts.files import write_json
from training.alternate import parse_arguments
from training.reporting.summary import TrainingResult
from training.run import finish as module
from training.run.finish import finish
from training.run.start import Run, feature_folder

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
    write_json(tmp_path / "config.json", {"options": {}, "detector": {}})
    result = TrainingResult("step4", "step 4 detector", 1, 1, 0.0, {}, None, "", ap)
    run = Run(tmp_path, options, model.config, none, none)
    finish(run, model, [result])
    assert reported == [expected]
    assert f"report:   {tmp_path / 'report.html'}" in capsys.readouterr().out
    (tmp_path / "report.html").touch()
    finish(run, model, [result])
    assert reported == [expected]  # a report that is there is not written again


def test_stored_features_are_deleted_in_each_folder_that_the_run_had(model, tmp_path, reported):
    """The run was started with one folder, and resumed with another."""
    run_folder, given = tmp_path / "run", [str(tmp_path / name) for name in ("first", "second", "other")]
    words = ["--data", "synthetic", "--run", str(run_folder), "--weights", "none", "--feature-cache-folder", given[1]]
    kept = tmp_path / "first" / "mine.txt"
    for one in given:
        (feature_folder(run_folder, one)).mkdir(parents=True)
        (feature_folder(run_folder, one) / "key.json").write_text("{}")
    kept.touch()
    write_json(run_folder / "config.json", {"options": {"feature_cache_folder": given[0]}, "detector": {}})
    (run_folder / "model.keras").touch()
    none = Dataset("none", model.class_names, (), {})
    result = TrainingResult("step4", "step 4 detector", 1, 1, 0.0, {}, None, "", MEASURED)
    finish(Run(run_folder, parse_arguments(words).options, model.config, none, none), model, [result])
    assert [feature_folder(run_folder, one).exists() for one in given] == [False, False, True] and kept.exists()
