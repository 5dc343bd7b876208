"""The schedule of a step on several replicas."""

import numpy as np
import pytest

from keras_frcnn.data.example import Dataset, Example
from keras_frcnn.data.stream.order import training_order
from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.files import read_json
from training.alternate import parse_arguments
from training.engine.progress import RunProgress
from training.four_steps import FOUR_STEPS
from training.run.folder import save_parts, source_digests, weights_path
from training.run.start import Run
from training.run.train_step import (
    BEGUN_FILE,
    _store,
    bind_to_begin,
    divide,
    schedule_of,
    train_step,
    used_pictures,
)

STEP = FOUR_STEPS[1]._replace(iterations=101, images=2, learning_rate=0.001)


def options_of(*arguments):
    return parse_arguments(["--data", "synthetic", "--run", "r", "--weights", "none", *arguments]).options


@pytest.mark.parametrize(
    ("arguments", "replicas", "iterations", "mini_batches", "images", "rate", "warmup"),
    [
        ((), 1, 101, 1, 2, 0.001, 0),
        ((), 4, 26, 4, 8, 0.004, 2),  # ceil(101 / 4) iterations, a tenth of them to warm up
        (("--accumulate", "2"), 4, 13, 8, 16, 0.008, 1),
        (("--accumulate", "2", "--warmup", "7"), 1, 51, 2, 4, 0.002, 7),
        (("--warmup", "3"), 1, 101, 1, 2, 0.001, 3),
    ],
)
def test_more_mini_batches_per_iteration_mean_fewer_iterations_and_a_larger_rate(
    arguments, replicas, iterations, mini_batches, images, rate, warmup
):
    options = options_of(*arguments)
    divided = divide(STEP, options, replicas)
    assert divided == (iterations, mini_batches, images)
    schedule = schedule_of(STEP, options, divided)
    assert (schedule.learning_rate, schedule.warmup) == (pytest.approx(rate), warmup)
    assert (schedule.iterations, schedule.drop_at) == (iterations, 0.75)


def test_the_warmup_has_at_most_500_iterations():
    long, options = STEP._replace(iterations=80000), options_of()
    assert schedule_of(long, options, divide(long, options, 8)).warmup == 500


def test_proposals_are_needed_for_the_pictures_that_a_step_uses():
    example = Example("a", "a.png", 10, 10, np.zeros((0, 4)), np.zeros(0, int), np.zeros(0, bool))
    dataset = Dataset("made", ("cat",), tuple(example._replace(image_id=str(number)) for number in range(50)), {})
    run = Run(None, options_of(), None, dataset, dataset)
    step = STEP._replace(iterations=5, images=2, seed=3)
    order = [int(index) for _, index, _ in training_order(dataset, 3, 2).take(30)]
    assert used_pictures(step, run) == list(dict.fromkeys(order[:10]))
    assert used_pictures(step, run, growth=3.0) == list(dict.fromkeys(order))
    assert used_pictures(step._replace(iterations=50), run) is None  # every picture and its mirror image


FROM = {"step1": "a digest"}


def test_a_step_that_has_begun_keeps_its_mini_batches_per_iteration(tmp_path):
    bind_to_begin(tmp_path, 4, FROM)
    bind_to_begin(tmp_path, 2, FROM)  # no iteration is in a checkpoint yet
    (tmp_path / "ckpt-3.index").touch()
    bind_to_begin(tmp_path, 2, FROM)
    with pytest.raises(InputError) as caught:
        bind_to_begin(tmp_path, 4, FROM)
    assert str(caught.value) == (
        f"{tmp_path}/{BEGUN_FILE}: this step has begun with 2 mini-batches per iteration, now there would be 4; give "
        f"it as many replicas (GPUs and machines) as before, or delete {tmp_path} to restart this step"
    )
    assert read_json(tmp_path / BEGUN_FILE) == {"mini_batches": 2, "sources": FROM}
    (tmp_path / BEGUN_FILE).write_text("{")
    with pytest.raises(InputError, match=f"^{tmp_path}/{BEGUN_FILE}: cannot be read .*; delete {tmp_path} to restart"):
        bind_to_begin(tmp_path, 2, FROM)


def test_a_step_that_has_begun_keeps_the_weights_that_it_started_from(tmp_path):
    bind_to_begin(tmp_path, 2, FROM)
    (tmp_path / "ckpt-3.index").touch()
    with pytest.raises(InputError, match="the weights of step1 have changed since this step has begun; restore them"):
        bind_to_begin(tmp_path, 2, {"step1": "another digest"})


def test_a_step_on_other_devices_is_refused_before_it_begins(model, tmp_path):
    folder = tmp_path / "checkpoints" / "step2"
    save_parts(weights_path(tmp_path, "step1"), model, ("rpn",))
    bind_to_begin(folder, 3, source_digests(tmp_path, ["step1"]))
    (folder / "ckpt-3.index").touch()
    with pytest.raises(InputError, match="has begun with 3 mini-batches per iteration, now there would be 1"):
        train_step(Run(tmp_path, options_of(), model.config, None, None), model, STEP, RunProgress(1))


def test_a_step_that_an_older_version_began_resumes(tmp_path):
    (tmp_path / "ckpt-3.index").touch()
    bind_to_begin(tmp_path, 4, FROM)
    assert read_json(tmp_path / BEGUN_FILE) == {"mini_batches": 4, "sources": FROM}


def test_a_new_result_of_a_step_replaces_what_was_made_of_the_old_one(model, tmp_path):
    others = ["proposals/step1/train/a", "detections/step4/a", "evaluation/step1.rpn.json", "evaluation/pictures/a.png"]
    stale = ["detections/step2/a", "evaluation/step2.detector.json", "model.keras", "report.html"]
    for name in others + stale:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    save_parts(weights_path(tmp_path, "step1"), model, ("rpn",))
    run = Run(tmp_path, options_of(), model.config, None, None)
    _store(run, model, STEP, divide(STEP, run.options, 1), 60.0, None)
    assert all((tmp_path / name).is_file() for name in others) and weights_path(tmp_path, "step2").is_file()
    assert not any((tmp_path / name).exists() for name in (*stale, "detections/step2"))
    summary = read_json(tmp_path / "logs" / "step2.json")
    assert summary == {
        "sources": source_digests(tmp_path, ["step1"]),
        "iterations": 101, "images": 202, "minutes": 1.0,
    }  # fmt: skip
