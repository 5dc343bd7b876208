"""The schedule of a step on several replicas."""

import numpy as np
import pytest

from keras_frcnn.data.example import Dataset, Example
from keras_frcnn.data.stream.order import training_order
from training.alternate import parse_arguments
from training.four_steps import FOUR_STEPS
from training.run.start import Run
from training.run.train_step import divide, schedule_of, used_pictures

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
