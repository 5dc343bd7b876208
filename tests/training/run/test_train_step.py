"""The schedule of a step on several replicas."""

import pytest

from training.alternate import parse_arguments
from training.four_steps import FOUR_STEPS
from training.run.train_step import plan

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
    planned = plan(STEP, options_of(*arguments), replicas)
    assert planned[:3] == (iterations, mini_batches, images)
    schedule = planned.schedule
    assert (schedule.learning_rate, schedule.warmup) == (pytest.approx(rate), warmup)
    assert (schedule.iterations, schedule.drop_at) == (iterations, 0.75)


def test_the_warmup_has_at_most_500_iterations():
    assert plan(STEP._replace(iterations=80000), options_of(), 8).schedule.warmup == 500
