"""A table of steps is run as it stands, and the finished detector has one backbone."""

import numpy as np
import pytest
import tensorflow as tf

from keras_frcnn.data.example import Dataset
from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.files import write_json
from training.alternate import main as alternate
from training.alternate import parse_arguments
from training.engine.progress import RunProgress
from training.engine.trainer import NonFiniteLoss
from training.four_steps import FOUR_STEPS, JOINT_TRAINING, TOGETHER
from training.reporting.summary import TrainingResult
from training.run import training
from training.run.folder import save_parts, weights_path
from training.run.start import Run, read_data
from training.run.training import check_shared_backbone, run_steps


def make_run(folder, model) -> Run:
    none = Dataset("none", model.class_names, (), {})
    options = parse_arguments(["--data", "synthetic", "--run", str(folder), "--weights", "none"]).options
    return Run(folder, options, model.config, none, none)


@pytest.mark.parametrize(
    ("steps", "last", "title"),
    [
        (FOUR_STEPS, "step2", "step 2 detector"),
        ((*FOUR_STEPS, FOUR_STEPS[1]._replace(name="step5", title="step 5 detector")), "step5", "step 5 detector"),
        (JOINT_TRAINING, "joint", "joint training"),
    ],
)
def test_the_backbone_is_proved_to_be_that_of_the_last_step_that_trained_it(
    make_model, tmp_path, capsys, steps, last, title
):
    model = make_model()
    run = make_run(tmp_path, model)
    save_parts(weights_path(tmp_path, last), model, ("backbone", "head"))
    check_shared_backbone(run, model, steps)
    assert f"share one backbone of 26 variables, unchanged since {title}" in capsys.readouterr().out
    kernel = model.backbone.convolutions[-1].kernel
    values = kernel.numpy()
    values[0, 0, 0, 0] = np.nextafter(values[0, 0, 0, 0], np.float32(9))  # one bit
    kernel.assign(values)
    with pytest.raises(AssertionError, match=f"changed after {title}"):
        check_shared_backbone(run, model, steps)


@pytest.fixture
def calls(monkeypatch):
    """The calls of the functions that run a step, in order, in place of their work."""
    calls = []

    def record(name, is_measure=False):
        def call(run, model, step, *_):
            calls.append((name, step.name))
            if is_measure:
                return TrainingResult(step.name, step.title, 1, 1, 0.0, {name: 1.0}, None, "")

        monkeypatch.setattr(training, name, call)

    record("train_step")
    record("store_training_proposals")
    record("measure_rpn", is_measure=True)
    record("measure_detector", is_measure=True)
    monkeypatch.setattr(training, "_set_parts", lambda model, sources, run, start: calls.append(sources))
    monkeypatch.setattr(training, "feature_cache", lambda run, model: None)
    monkeypatch.setattr(training, "validation_of", lambda run, model, step, cache: None)
    monkeypatch.setattr(training, "used_pictures", lambda step, run, growth: None)
    monkeypatch.setattr(training, "check_shared_backbone", lambda run, model, steps: calls.append("check"))
    return calls


def test_the_four_steps_run_in_order(model, tmp_path, calls):
    results = run_steps(make_run(tmp_path, model), model, None, FOUR_STEPS)
    assert calls == [
        {"backbone": "pretrained", "rpn": "new", "head": None},
        ("train_step", "step1"), ("store_training_proposals", "step1"), ("measure_rpn", "step1"),
        {"backbone": "pretrained", "rpn": None, "head": "pretrained"},
        ("train_step", "step2"), ("measure_detector", "step2"),
        {"backbone": "step2", "rpn": "step1", "head": None},
        ("train_step", "step3"), ("store_training_proposals", "step3"), ("measure_rpn", "step3"),
        {"backbone": "step2", "rpn": "step3", "head": "step2"},
        ("train_step", "step4"), ("measure_detector", "step4"),
        "check",
    ]  # fmt: skip
    assert [result.name for result in results] == ["step1", "step2", "step3", "step4"]


def test_joint_training_is_one_step_measured_in_both_ways(model, tmp_path, calls):
    (result,) = run_steps(make_run(tmp_path, model), model, None, JOINT_TRAINING)
    assert calls == [
        {"backbone": "pretrained", "rpn": "new", "head": "pretrained"},
        ("train_step", "joint"), ("measure_rpn", "joint"), ("measure_detector", "joint"), "check",
    ]  # fmt: skip
    assert result.headlines == {"measure_rpn": 1.0, "measure_detector": 1.0}


def test_a_step_that_is_done_is_not_trained_again(model, tmp_path, calls, monkeypatch):
    skipped = []
    monkeypatch.setattr(RunProgress, "skip", lambda self, mini_batches: skipped.append(mini_batches))
    for step in FOUR_STEPS[:2]:
        path = weights_path(tmp_path, step.name)
        path.parent.mkdir(exist_ok=True)
        path.touch()
    run_steps(make_run(tmp_path, model), model, None, FOUR_STEPS)
    assert [call for call in calls if "train_step" in call] == [("train_step", "step3"), ("train_step", "step4")]
    assert calls[0] == {"backbone": "step1", "rpn": "step1", "head": None}
    assert skipped == [80000, 40000]


def test_a_later_step_does_not_outlive_a_change_of_an_earlier_one(model, tmp_path, calls):
    for step in FOUR_STEPS[:2]:
        save_parts(weights_path(tmp_path, step.name), model, step.trains)
    write_json(tmp_path / "logs" / "step2.json", {"sources": {"step1": "of other weights"}})
    with pytest.raises(InputError, match=r"step2\.npz: was trained after step1\.npz, which has changed since; restore"):
        run_steps(make_run(tmp_path, model), model, None, FOUR_STEPS)
    assert calls == []


def test_a_fifth_step_needs_a_row_alone(model, tmp_path, calls):
    fifth = FOUR_STEPS[2]._replace(name="step5", title="step 5 RPN", rpn_from="step3", head_from="step4")
    run_steps(make_run(tmp_path, model), model, None, (*FOUR_STEPS, fifth))
    assert calls[-4:] == [
        {"backbone": "step2", "rpn": "step3", "head": "step4"},
        ("train_step", "step5"), ("measure_rpn", "step5"), "check",
    ]  # fmt: skip


def test_the_last_steps_run_together(model, tmp_path, calls):
    steps = (*FOUR_STEPS[:2], TOGETHER)
    results = run_steps(make_run(tmp_path, model), model, None, steps)
    assert calls[-5:] == [
        {"backbone": "step2", "rpn": "step1", "head": "step2"},
        ("train_step", "step3"), ("measure_rpn", "step3"), ("measure_detector", "step3"),
        "check",
    ]  # fmt: skip
    assert [result.name for result in results] == ["step1", "step2", "step3"]
    assert set(results[-1].headlines) == {"measure_rpn", "measure_detector"}


@pytest.fixture
def stopped(voc_tree, tmp_path, monkeypatch, capsys):
    """Run the four steps, which stop with an error in one function; returns the exit status and the error line."""

    def run(error, place="run_steps"):
        def stop(*_):
            raise error

        monkeypatch.setattr(training, place, stop)
        options = "--short-side 64 --fc-units 32 --anchor-scales 16 32 --min-size 4 --weights none --quiet".split()
        with pytest.raises(SystemExit) as end:
            alternate(["--data", f"voc:{voc_tree}", "--run", str(tmp_path / "run"), *options])
        return end.value.code, capsys.readouterr().err.strip().splitlines()[-1]

    return run


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (
            NonFiniteLoss(7, ["a", "b"]),
            1,
            "error: the loss of iteration 7 or its gradient is not finite, on a, b; the last good weights are in "
            "{run}/checkpoints; start another run with a lower --learning-rate, with --warmup or with --clip-norm",
        ),
        (
            tf.errors.UnavailableError(None, None, "Connection reset by peer"),
            75,
            "error: lost another worker (UnavailableError); start all workers again with the same command: training "
            "resumes from the newest checkpoint",
        ),
        (
            tf.errors.ResourceExhaustedError(None, None, "{{node loss}} OOM when allocating tensor with shape[9]"),
            1,
            "error: out of memory (OOM when allocating tensor with shape[9]); start another run with a smaller "
            "--short-side, fewer --rois or fewer images in a mini-batch",
        ),
        (
            tf.errors.ResourceExhaustedError(None, None, "ckpt-3.index; No space left on device"),
            74,
            "error: {run}: ckpt-3.index; No space left on device; make room, or correct the place or its permissions, "
            "and run the same command again",
        ),
        (
            tf.errors.DataLossError(None, None, "{run}/features/a.tfrecord: corrupted record at 0"),
            74,
            "error: {run}: {run}/features/a.tfrecord: corrupted record at 0; make room, or correct the place or its "
            "permissions, and run the same command again",
        ),
    ],
    ids=["loss", "worker", "memory", "disk", "file"],
)
def test_what_stops_a_run_is_one_line(stopped, tmp_path, error, status, line):
    if isinstance(error, tf.errors.OpError):
        error = type(error)(None, None, error.message.replace("{run}", str(tmp_path / "run")))
    assert stopped(error) == (status, line.replace("{run}", str(tmp_path / "run")))


@pytest.mark.parametrize("place", ["connect_machines", "open_session", "_model_of"])
def test_a_worker_that_is_lost_before_the_steps_is_one_line(stopped, place):
    status, line = stopped(tf.errors.UnavailableError(None, None, "Connection reset by peer"), place)
    assert status == 75 and line.startswith("error: lost another worker (UnavailableError); start all workers again")


def test_only_the_chief_shows_how_pictures_are_read(stopped, monkeypatch):
    shown = []

    def read(options, show):
        shown.append(show)
        return read_data(options, show)

    def check(options, steps, data, show):
        shown.append(show)
        raise ZeroDivisionError

    monkeypatch.setattr(training, "read_data", read)
    monkeypatch.setattr(training, "check_pictures", check)
    monkeypatch.setattr(training, "is_chief", lambda: False)
    with pytest.raises(ZeroDivisionError):
        stopped(None)
    assert shown == [False, False]


def test_an_error_of_the_code_keeps_its_traceback(stopped):
    with pytest.raises(ZeroDivisionError):
        stopped(ZeroDivisionError())


def test_an_error_that_names_no_file_of_the_run_keeps_its_traceback(stopped, tmp_path):
    with pytest.raises(tf.errors.InternalError):
        stopped(tf.errors.InternalError(None, None, f"{tmp_path}/run: other{tmp_path}/run/x, {tmp_path}/run2/x"))
