"""A run with a time budget ends in time, whatever the speed of the machine; time is that of a clock of the test."""

import json
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_frcnn.facts.errors import InputError
from training.engine.progress import RunProgress
from training.run.planning.budget import FEWEST_ITERATIONS, TimeBudget
from training.run.planning.forecast import Forecast, StepForecast, forecast_from_json, forecast_to_json

# 100 s of work before and after, 1000 iterations of 1 s, then 1000 of 0.5 s: 1600 s in all.
FORECAST = Forecast(
    1600.0, 40.0, (StepForecast("a", 1000, 1.0, 10.0, 20.0), StepForecast("b", 1000, 0.5, 5.0, 5.0)), 20.0
)


class Clock:
    """A clock that the test moves."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def budget_of(tmp_path, clock, forecast=FORECAST):
    return TimeBudget(forecast, tmp_path / "budget.json", clock(), clock)


def test_a_forecast_adds_up_and_survives_json():
    assert FORECAST.seconds == 40 + (10 + 1000 + 20) + (5 + 500 + 5) + 20 == FORECAST.budget
    assert forecast_from_json(json.loads(json.dumps(forecast_to_json(FORECAST)))) == FORECAST


def test_a_run_that_goes_as_forecast_keeps_its_iterations(tmp_path):
    clock = Clock()
    budget = budget_of(tmp_path, clock)
    clock.now += 40
    assert budget.begin("a") == 1000
    assert budget.next_settlement("a") == 100
    clock.now += 10 + 100
    assert budget.settle("a", 100, 1.0) == 1000
    assert budget.next_settlement("a") == 500
    clock.now += 400
    assert budget.settle("a", 500, 1.0) == 1000
    assert budget.next_settlement("a") is None
    clock.now += 500 + 20
    budget.end("a")
    assert budget.begin("b") == 1000
    assert budget.left() == 530.0 and budget.spent() == 1070.0


def test_a_slow_machine_has_fewer_iterations_in_this_and_the_later_steps(tmp_path):
    clock = Clock()
    budget = budget_of(tmp_path, clock)
    clock.now += 40
    budget.begin("a")
    clock.now += 10 + 200  # 100 iterations of 2 s; 1350 s are left
    # Fixed: 20 + 10 + 20.  Twice as slow: 2 (1000 r - 100) + 1 * 1000 r = 1300, so r = 0.5.
    assert budget.settle("a", 100, 2.0) == 500
    clock.now += 800 + 20
    assert budget.begin("b") == pytest.approx(500, abs=1)  # 530 s are left, 30 of them for other work, 1 s each


def test_time_before_the_first_step_is_taken_from_the_iterations(tmp_path):
    clock = Clock()
    budget = budget_of(tmp_path, clock)
    clock.now += 40 + 150  # 150 s later than forecast: 1350 s for 1500 s of iterations
    assert budget.begin("a") == 900


def test_without_time_each_step_has_the_fewest_iterations_and_a_warning(tmp_path, caplog):
    clock = Clock()
    budget = budget_of(tmp_path, clock)
    clock.now += 2000
    assert budget.begin("a") == FEWEST_ITERATIONS and budget.left() == -400
    assert "the budget of 1600 seconds is used up" in caplog.text


def test_a_resumed_run_keeps_what_was_settled_and_pauses_do_not_count(tmp_path):
    clock = Clock()
    budget = budget_of(tmp_path, clock)
    clock.now += 40
    budget.begin("a")
    clock.now += 210
    assert budget.settle("a", 100, 2.0) == 500
    clock.now += 1e6  # no process runs
    resumed = budget_of(tmp_path, clock)
    assert resumed.spent() == 250.0
    assert resumed.begin("a") == 500 and resumed.next_settlement("a") == 250


@pytest.mark.parametrize("content", ["[]", "{", '{"spent": 1}', '{"spent": 1, "steps": {"a": {"iterations": "x"}}}'])
def test_a_damaged_file_is_named(tmp_path, content):
    (tmp_path / "budget.json").write_text(content)
    with pytest.raises(InputError, match=r"budget\.json: is not the time budget of a run .*; restore it"):
        budget_of(tmp_path, Clock())


def test_progress_shows_the_time_left(tmp_path):
    clock = Clock()
    progress = RunProgress(2000, budget_of(tmp_path, clock))
    clock.now += 100
    assert progress.advance(10) == "25:00 of 26:40 left"
    clock.now += 2000
    assert progress.advance(10) == "00:00 of 26:40 left"


def test_a_process_that_ends_within_a_step_leaves_its_time(tmp_path):
    clock = Clock()
    budget = budget_of(tmp_path, clock)
    clock.now += 40
    budget.begin("a")
    with pytest.raises(KeyboardInterrupt), budget.kept():
        clock.now += 300
        raise KeyboardInterrupt
    stored = json.loads((tmp_path / "budget.json").read_text())
    assert stored["spent"] == 340.0 and stored["steps"]["a"]["seconds"] == 300.0
    clock.now += 5000  # nothing runs
    resumed = budget_of(tmp_path, clock)
    assert resumed.spent() == 340.0
    resumed.begin("a")
    clock.now += 60
    resumed.end("a")
    stored = json.loads((tmp_path / "budget.json").read_text())
    assert stored["spent"] == 400.0 and stored["steps"]["a"]["seconds"] == 360.0


def test_the_time_is_saved_while_nothing_else_saves_it(tmp_path, monkeypatch):
    monkeypatch.setattr("training.run.planning.budget._SAVE_SECONDS", 0.01)
    clock = Clock()
    budget = budget_of(tmp_path, clock)
    saved = threading.Event()
    monkeypatch.setattr(budget, "save", saved.set)
    with budget.kept():
        assert saved.wait(60)


speeds = st.floats(0.4, 2.5)


@settings(max_examples=60, deadline=None)
@given(
    shares=st.lists(st.floats(0.05, 1.0), min_size=1, max_size=4),
    speed=st.lists(speeds, min_size=4, max_size=4),
    other=st.lists(speeds, min_size=4, max_size=4),
    start=speeds,
)
def test_a_run_ends_within_a_tenth_of_its_budget(tmp_path_factory, shares, speed, other, start):
    """A run of an hour: each step has its own speed, and all other work takes another time than forecast."""
    total, training = 3600.0, 3000.0
    steps = [
        StepForecast(f"s{i}", round(training * share / sum(shares) / 0.3), 0.3, 15.0, 60.0 / len(shares))
        for i, share in enumerate(shares)
    ]
    forecast = Forecast(total, 60.0, tuple(steps), 20.0)
    clock = Clock()
    begun = clock.now
    budget = TimeBudget(forecast, tmp_path_factory.mktemp("run") / "budget.json", clock(), clock)
    clock.now += 60.0 * start
    for number, step in enumerate(steps):
        iterations, done, seconds = budget.begin(step.name), 0, 0.3 * speed[number]
        clock.now += step.before * other[number]
        while done < iterations:
            due = budget.next_settlement(step.name)
            end = iterations if due is None else min(due, iterations)
            clock.now += seconds * (end - done)
            done = end
            if due is not None and due == done < iterations:
                iterations = budget.settle(step.name, done, seconds)
        clock.now += step.after * other[number]
        budget.end(step.name)
    clock.now += forecast.end
    assert clock.now - begun == pytest.approx(total, rel=0.1)
