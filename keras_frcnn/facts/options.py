"""Settings as options of a command line.

This module imports only the standard library and `facts`, so that `--help` stays fast.
"""

import argparse
import dataclasses
import itertools
from collections.abc import Iterable
from typing import Any, TypeVar

from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.settings import Setting, check, plain_text, settings_of

Settings = TypeVar("Settings")


def add_options(parser: argparse.ArgumentParser, settings: Iterable[Setting]) -> None:
    """Add an option for each setting, in groups.  What is not given is not in the namespace."""
    for group, members in itertools.groupby(settings, key=lambda setting: setting.group):
        arguments = parser.add_argument_group(group)
        for setting in members:
            _add_option(arguments, setting)


def _add_option(arguments: Any, setting: Setting) -> None:
    about: dict[str, Any] = {"dest": setting.key, "default": argparse.SUPPRESS}
    if setting.kind is bool:
        about["action"] = argparse.BooleanOptionalAction
    else:
        about |= {"type": setting.kind, "metavar": _metavar(setting)}
        if setting.is_list:
            about["nargs"] = setting.length or "+"
    default = setting.default_text()
    note = "(required)" if default == "required" else f"(default: {default})"
    arguments.add_argument(setting.option, help=f"{setting.help} {note}".replace("%", "%%"), **about)
    if setting.hidden_option:
        arguments.add_argument(setting.hidden_option, help=argparse.SUPPRESS, **about)


def _metavar(setting: Setting) -> str:
    if setting.choices:
        return "{" + ",".join(setting.choices) + "}"
    return {int: "N", float: "X", str: setting.name.split("_")[-1].upper()}[setting.kind]


def option_text(setting: Setting, value: Any) -> str:
    """The option that sets a value, such as "--anchor-scales 32 64" or "--no-quiet"."""
    if isinstance(value, bool):
        return setting.option if value else setting.option.replace("--", "--no-", 1)
    return f"{setting.option} {plain_text(value)}"


def given_options(namespace: argparse.Namespace, settings: Iterable[Setting]) -> dict[str, Any]:
    """The checked values of the options that were given, by key; raises SettingError, which names the option."""
    given = vars(namespace)
    return {
        setting.key: check(given[setting.key], setting, setting.option) for setting in settings if setting.key in given
    }


def from_options(kind: type[Settings], namespace: argparse.Namespace) -> Settings:
    """The dataclass of settings `kind` with the values of the options that `add_options` added for it.

    Raises SettingError for a value that is not allowed, and InputError for a required option that is missing.
    """
    settings = settings_of(kind)
    given = given_options(namespace, settings)
    for one in settings:
        if one.default is dataclasses.MISSING and one.key not in given:
            raise InputError(one.option, "is required", f"give {one.option}")
    return kind(**given)
