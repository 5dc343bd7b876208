"""Settings: one declaration gives the check, the field of a file, the option and the row of the reference page."""

import argparse
import dataclasses
import math
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from keras_frcnn.facts.config import DetectorConfig
from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.options import add_options, given_options
from keras_frcnn.facts.settings import (
    Limits,
    SettingError,
    changed,
    check,
    read,
    reference_markdown,
    setting,
    settings_of,
    with_default,
)

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Oven:
    """Oven: how it bakes."""

    heat: float = setting(180.0, "degrees", source="grandmother", more_than=0, at_most=250)
    fan: bool = setting(False, "whether the fan runs")
    kind: str = setting("gas", "what heats it", choices=("gas", "electric"))


@dataclass(frozen=True, kw_only=True)
class Cake:
    """Cake: what goes into it.

    This paragraph is not part of the heading.
    """

    name: str = setting(help="100% its own | name")
    eggs: int = setting(3, "eggs", option="--egg-count", hidden_option="--eggs", at_least=0, less_than=13)
    sugar: int | None = setting(None, "spoons of sugar", none_text="to taste", more_than=0)
    layers: tuple[float, ...] = setting((1.0, 2.5), "heights", more_than=0)
    size: tuple[int, int] = setting((20, 30), "width and depth", changeable=True, more_than=0)
    toppings: tuple[str, ...] | None = setting(None, "toppings")
    oven: Oven = field(default_factory=lambda: Oven(heat=160.0))


CAKE = {one.key: one for one in settings_of(Cake)}


def test_rows_follow_the_declarations():
    assert list(CAKE) == ["name", "eggs", "sugar", "layers", "size", "toppings", "oven.heat", "oven.fan", "oven.kind"]
    assert [one.option for one in CAKE.values()] == [
        "--name", "--egg-count", "--sugar", "--layers", "--size", "--toppings", "--oven-heat", "--oven-fan",
        "--oven-kind",
    ]  # fmt: skip
    assert [one.type_text() for one in CAKE.values()] == [
        "string", "whole number", "whole number", "list of numbers", "2 whole numbers", "list of strings", "number",
        "true or false", "string",
    ]  # fmt: skip
    assert [one.default_text() for one in CAKE.values()] == [
        "required", "3", "to taste", "1 2.5", "20 30", "none", "160", "no", "gas",
    ]  # fmt: skip
    assert {one.group for one in CAKE.values()} == {"Cake: what goes into it", "Oven: how it bakes"}
    assert [one.key for one in CAKE.values() if one.changeable] == ["size"]


def test_the_default_of_a_nested_setting_is_that_of_the_outer_class():
    assert CAKE["oven.heat"].default == 160.0
    assert settings_of(Oven)[0].default == 180.0 and settings_of(Oven)[0].option == "--heat"


def test_a_section_of_its_own_is_in_the_keys_and_not_in_the_options():
    rows = settings_of(Cake, "dough")
    assert (rows[1].key, rows[1].option) == ("dough.eggs", "--egg-count")
    assert (rows[0].key, rows[0].option) == ("dough.name", "--name")
    assert (rows[-1].key, rows[-1].option) == ("oven.kind", "--oven-kind")


def test_another_default_keeps_everything_else():
    @dataclass(frozen=True)
    class HotOven(Oven):
        """Hot oven."""

        heat: float = with_default(Oven, "heat", 250.0)

    usual, hot = settings_of(Oven)[0], settings_of(HotOven)[0]
    assert hot._replace(default=180.0, group=usual.group) == usual and HotOven().heat == 250.0


@pytest.mark.parametrize(
    ("limits", "inside", "outside", "text"),
    [
        (Limits(more_than=0), [1e-9, 5], [0, -1], "greater than 0"),
        (Limits(at_least=0, less_than=1), [0, 0.999], [-1e-9, 1], "at least 0 and less than 1"),
        (Limits(more_than=0, at_most=1), [1e-9, 1], [0, 1.001], "greater than 0 and at most 1"),
        (Limits(), [-5, 0, 1e300], [], "finite"),
    ],
)
def test_limits(limits, inside, outside, text):
    assert limits.text() == text
    assert all(limits.hold(value) for value in inside)
    for value in (*outside, math.nan, math.inf, -math.inf, 10**400):
        assert not limits.hold(value), value


@pytest.mark.parametrize(
    ("key", "value", "held"),
    [
        ("eggs", 12, 12),
        ("sugar", None, None),
        ("layers", [1, 2], (1.0, 2.0)),
        ("size", (4, 5), (4, 5)),
        ("toppings", ["nuts"], ("nuts",)),
        ("oven.heat", 200, 200.0),
        ("oven.fan", True, True),
        ("oven.kind", "electric", "electric"),
    ],
)
def test_a_right_value(key, value, held):
    checked = check(value, CAKE[key], "here")
    assert checked == held and type(checked) is type(held)
    if isinstance(held, tuple):
        assert [type(one) for one in checked] == [type(one) for one in held]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("eggs", -1, "must be at least 0 and less than 13 (got -1)."),
        ("eggs", 13, "must be at least 0 and less than 13 (got 13)."),
        ("eggs", 1.5, "must be a whole number (got 1.5)."),
        ("eggs", True, "must be a whole number (got True)."),
        ("eggs", None, "must be a whole number (got None)."),
        ("sugar", 0, "must be greater than 0 (got 0)."),
        ("layers", [1, -2.0], "must only hold values greater than 0 (got -2.0)."),
        ("layers", [1, "x"], "must be a list of numbers, each a number (got 'x')."),
        ("layers", 5, "must be a list of numbers (got 5)."),
        ("layers", [], "must be a list of numbers with at least one value (got [])."),
        ("size", [1, 2, 3], "must be a list of 2 whole numbers (got [1, 2, 3])."),
        ("toppings", [1], "must be a list of strings, each a string (got 1)."),
        ("oven.heat", math.nan, "must be greater than 0 and at most 250 (got nan)."),
        ("oven.heat", "hot", "must be a number (got 'hot')."),
        ("oven.heat", False, "must be a number (got False)."),
        ("oven.fan", 1, "must be true or false (got 1)."),
        ("oven.kind", "wood", "must be one of gas, electric (got 'wood')."),
    ],
)
def test_a_wrong_value_is_named_with_the_rule(key, value, message):
    with pytest.raises(SettingError) as raised:
        check(value, CAKE[key], "here")
    assert str(raised.value) == f"here {message}"
    assert isinstance(raised.value, InputError)


def test_read_gives_checked_values_by_key():
    values = {"eggs": 4, "oven": {"heat": 100, "fan": True}}
    assert read(values, CAKE.values(), "cake.json") == {"eggs": 4, "oven.heat": 100.0, "oven.fan": True}
    assert read({}, CAKE.values(), "cake.json") == {} == read({"oven": {}}, CAKE.values(), "cake.json")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"eggs": -1}, "cake.json, field eggs must be at least 0 and less than 13 (got -1)."),
        ({"oven": {"heat": 0}}, "cake.json, field oven.heat must be greater than 0 and at most 250 (got 0)."),
        ({"oven": {"flame": 1}}, "cake.json, field oven.flame: no such field; use one of heat, fan, kind"),
        ({"oven": 5}, "cake.json, field oven: 5 is not an object; give an object of fields, {...}"),
        ([1], "cake.json: [1] is not an object; give an object of fields, {...}"),
    ],
)
def test_read_names_the_file_and_the_field(values, message):
    with pytest.raises(InputError) as raised:
        read(values, CAKE.values(), "cake.json")
    assert str(raised.value) == message


def test_changed_replaces_the_given_fields_alone():
    cake = Cake(name="plum")
    other = changed(cake, {"eggs": 5, "oven.kind": "electric"})
    assert other == dataclasses.replace(cake, eggs=5, oven=Oven(160.0, False, "electric"))
    assert changed(cake, {}) == cake


def options_of(*arguments):
    parser = argparse.ArgumentParser()
    add_options(parser, CAKE.values())
    return parser, given_options(parser.parse_args(arguments), CAKE.values())


def test_only_what_is_given_is_an_option():
    _, given = options_of("--size", "1", "2", "--oven-fan", "--layers", "4", "--sugar", "2")
    assert given == {"size": (1, 2), "oven.fan": True, "layers": (4.0,), "sugar": 2}
    assert options_of("--no-oven-fan")[1] == {"oven.fan": False}
    assert options_of()[1] == {}


def test_an_option_out_of_range_is_named():
    with pytest.raises(SettingError, match=r"^--egg-count must be at least 0 and less than 13 \(got -3\)\.$"):
        options_of("--egg-count", "-3")


def test_help_shows_groups_and_defaults_and_no_hidden_option():
    text = options_of()[0].format_help()
    words = " ".join(text.split())
    assert "Cake: what goes into it:" in words and "Oven: how it bakes:" in words
    assert "100% its own | name (required)" in words and "degrees (default: 160)" in words
    assert "spoons of sugar (default: to taste)" in words and "{gas,electric}" in words
    assert "--egg-count" in words and "--eggs" not in words
    assert options_of("--eggs", "7")[1] == {"eggs": 7}


def test_the_reference_has_a_row_for_each_setting():
    lines = reference_markdown(Cake, "Cakes").splitlines()
    assert lines[:3] == ["## Cakes", "", "### Cake: what goes into it"] and "### Oven: how it bakes" in lines
    row = "| `--oven-heat` | `oven.heat` | number | 160 | greater than 0 and at most 250 | grandmother | degrees |"
    assert row in lines
    assert sum(line.startswith("| `--") for line in lines) == len(CAKE)
    assert "| `--name` | `name` | string | required |  |  | 100% its own \\| name |" in lines


@pytest.mark.parametrize("one", settings_of(DetectorConfig), ids=lambda one: one.key)
def test_a_field_of_the_detector_has_a_range_a_source_and_a_help(one):
    assert one.kind is bool or one.choices or one.limits != Limits()
    assert one.source and one.help and not one.help.endswith(".")
    assert check(one.default, one, "the default") == one.default


def test_the_reference_of_training_needs_no_installed_package():
    """-S hides site-packages."""
    code = "from training.run.options.declared import reference; print(reference())"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "`detector.rpn.channels`" in done.stdout and "`options.iterations`" in done.stdout
    assert "`training.joint` has other defaults for `--drop-at` (0.714286), `--rois` (128)." in done.stdout
