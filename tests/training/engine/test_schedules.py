"""The learning rate falls at the mini-batch the paper names."""

import pytest

from training.engine.schedules import StepDecay


@pytest.mark.parametrize(
    ("iterations", "drop_at", "first_dropped"),
    [
        (80000, 0.75, 60000),  # section 3.1.3: 60k mini-batches, then 20k
        (40000, 0.75, 30000),
        (70000, 50 / 70, 50000),  # approximate joint training
        (8, 0.75, 6),
        (4, 0.0, 0),
        (4, 1.0, 4),
    ],
)
def test_the_rate_is_a_tenth_from_its_share_of_the_iterations_on(iterations, drop_at, first_dropped):
    schedule = StepDecay(0.001, iterations, drop_at)
    for number in {0, first_dropped - 1, first_dropped, iterations - 1}:
        if 0 <= number < iterations:
            expected = 0.0001 if number >= first_dropped else 0.001
            assert float(schedule(number)) == pytest.approx(expected, rel=1e-6), number


def test_the_rate_rises_in_a_line_over_the_warmup():
    schedule = StepDecay(0.8, 20, 0.75, warmup=4)
    rates = [float(schedule(number)) for number in range(20)]
    assert rates == pytest.approx([0.2, 0.4, 0.6, *[0.8] * 12, *[0.08] * 5])
