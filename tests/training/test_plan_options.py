"""The options of a plan: a plan needs a time, a time needs a plan, and a plan file is read like any other file."""

import json

import pytest

from keras_frcnn.facts.errors import InputError
from training import alternate, joint, plan
from training.four_steps import four_steps, joint_training
from training.run.options.duration import duration_text, seconds_of
from training.run.planning.forecast import Forecast, StepForecast, forecast_to_json

REQUIRED = ("--data", "synthetic", "--run", "r", "--weights", "none")
FORECAST = Forecast(600.0, 30.0, (StepForecast("step1", 100, 1.0, 5.0, 5.0),), 10.0)


def plan_file(tmp_path, **changes):
    values = {
        "options": {"budget": "10m", "warmup": 7},
        "detector": {"image": {"short_side": 320}},
        "plan": {"reasons": {"options.warmup": "because"}, "forecast": forecast_to_json(FORECAST)},
    }
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(values | changes))
    return str(path)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("45m", 2700), ("1.5h", 5400), ("2d", 172800), (" 60m ", 3600), ("0.5s", 0.5)]
)
def test_durations(text, seconds):
    assert seconds_of(text, "--budget") == seconds


@pytest.mark.parametrize(
    "text", ["", "60", "m", "0m", "0.0h", "-5m", "1e3s", "5 m", "5min", "1h30m", "nan", "٣m", "9" * 99 + "s"]
)
def test_other_texts_are_no_duration(text):
    with pytest.raises(InputError) as error:
        seconds_of(text, "--budget")
    assert (
        str(error.value) == f"--budget must be a duration greater than 0 such as 90s, 45m, 1.5h or 2d (got {text!r})."
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (45, "45s"),
        (99.6, "99.6s"),
        (0.5, "0.5s"),
        (720, "12m"),
        (5400, "90m"),
        (6120, "102m"),
        (7200, "2h"),
        (86400, "1d"),
    ],
)
def test_texts_of_durations(seconds, text):
    assert duration_text(seconds) == text and seconds_of(text, "--budget") == seconds


@pytest.mark.parametrize("text", ["1.7h", "1.1h", "0.1s", "0.7m", "3.3d", "1.234567s"])
def test_the_text_of_a_duration_is_exact(text):
    assert seconds_of(duration_text(seconds_of(text, "--budget")), "--budget") == seconds_of(text, "--budget")


@pytest.mark.parametrize("parse", [alternate.parse_arguments, joint.parse_arguments])
@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--plan auto", "--plan auto: needs a time; give --budget, for example --budget 60m"),
        ("--budget 60m", "--budget: needs a plan; add --plan auto, or give a plan file with --config"),
        ("--plan auto --budget soon", "--budget must be a duration greater than 0"),
        ("--plan maybe --budget 1m", "--plan must be one of paper, auto (got 'maybe')."),
    ],
)
def test_a_plan_and_a_time_belong_together(parse, words, message):
    with pytest.raises(InputError) as error:
        parse([*REQUIRED, *words.split()])
    assert str(error.value).startswith(message)


@pytest.mark.parametrize("parse", [alternate.parse_arguments, joint.parse_arguments])
def test_what_was_given_is_known_and_defaults_are_not_given(parse):
    request = parse([*REQUIRED, "--plan", "auto", "--budget", "1.5h", "--short-side", "320"])
    assert request.options.plan == "auto" and request.options.budget == "1.5h" and request.notes is None
    assert set(request.values) == {
        "options.data", "options.run", "options.weights", "options.plan", "options.budget", "detector.image.short_side",
    }  # fmt: skip


def test_a_plan_file_gives_values_and_notes(tmp_path):
    request = alternate.parse_arguments([*REQUIRED, "--config", plan_file(tmp_path)])
    assert request.options.warmup == 7 and request.options.detector.image.short_side == 320
    assert request.options.budget == "10m" and request.notes.forecast == FORECAST
    with pytest.raises(InputError, match="--plan auto: cannot be combined with a plan file"):
        alternate.parse_arguments([*REQUIRED, "--config", plan_file(tmp_path), "--plan", "auto"])


def without_seconds(forecast):
    return forecast._replace(steps=tuple(step._replace(seconds_per_iteration=0) for step in forecast.steps))


@pytest.mark.parametrize(
    "section",
    [
        None, [], {}, {"reasons": {}}, {"reasons": [], "forecast": forecast_to_json(FORECAST)},
        {"reasons": {}, "forecast": {**forecast_to_json(FORECAST), "budget": "soon"}},
        {"reasons": {}, "forecast": {**forecast_to_json(FORECAST), "budget": 0}},
        {"reasons": {}, "forecast": {**forecast_to_json(FORECAST), "more": 1}},
        {"reasons": {}, "forecast": forecast_to_json(without_seconds(FORECAST))},
        {"reasons": {}, "forecast": {**forecast_to_json(FORECAST), "steps": [{"name": "step1"}]}},
    ],
)  # fmt: skip
def test_a_damaged_plan_is_named(tmp_path, section):
    path = plan_file(tmp_path, plan=section)
    with pytest.raises(InputError) as error:
        alternate.parse_arguments([*REQUIRED, "--config", path])
    assert str(error.value).startswith(f"{path}, field plan: is not the section of a plan (")
    assert str(error.value).endswith(
        "; make the plan again with python -m training.plan, or remove the section and --budget"
    )


@pytest.mark.parametrize(
    ("words", "steps", "command"), [([], four_steps, "alternate"), (["--joint"], joint_training, "joint")]
)
def test_the_plan_command_plans_for_one_of_the_two_trainings(words, steps, command):
    given = [
        "--data",
        "synthetic",
        "--weights",
        "none",
        "--budget",
        "5m",
        "--out",
        "p.json",
        "--fc-units",
        "64",
        *words,
    ]
    asked = plan.parse_arguments(given)
    assert asked.make_steps is steps and asked.command == f"training.{command}" and asked.out == "p.json"
    assert asked.request.options.plan == "auto" and asked.request.options.detector.head.fc_units == 64
    assert set(asked.request.values) == {
        "options.data", "options.weights", "options.budget", "detector.head.fc_units"
    }  # fmt: skip


def test_the_plan_command_takes_no_plan(tmp_path):
    given = ["--data", "synthetic", "--weights", "none", "--budget", "5m", "--out", "p.json"]
    with pytest.raises(InputError, match="--plan paper: this command always makes a plan; leave out --plan"):
        plan.parse_arguments([*given, "--plan", "paper"])
    with pytest.raises(InputError, match="--config: is a plan already; leave it out"):
        plan.parse_arguments([*given, "--config", plan_file(tmp_path)])


def test_the_plan_command_needs_a_file_to_write(capsys):
    with pytest.raises(SystemExit) as error:
        plan.parse_arguments(["--data", "synthetic", "--weights", "none", "--budget", "5m"])
    assert error.value.code == 2 and "--out" in capsys.readouterr().err
