"""Settings: fields of frozen dataclasses that are declared once, with default, range, source and help.

    @dataclass(frozen=True)
    class HeadConfig:
        dropout: float = setting(0.5, "share of units dropped in training", at_least=0, less_than=1, source="...")

The declaration gives the option of the command line (`options.py`), the field of a JSON file (`read`), the check of a
value (`check`) and the row of the reference page (`reference_markdown`).

This module imports only the standard library and `facts`, so that `--help` stays fast.
"""

import dataclasses
import itertools
import sys
import types
import typing
from collections.abc import Iterable
from typing import Any, NamedTuple

from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.limits import MOST_WHOLE

_KINDS = {int: "whole number", float: "number", str: "string", bool: "true or false"}
_BOUNDS = {"more_than": "greater than", "at_least": "at least", "less_than": "less than", "at_most": "at most"}


class SettingError(InputError):
    """A value that a setting cannot have.  The message reads `WHERE must be RULE (got VALUE).`"""

    def __init__(self, where: str, rule: str, value: object):
        """`where` is the option, or the file and the field; `rule` says what a right value is."""
        ValueError.__init__(self, f"{where} must {rule} (got {value!r}).".replace("\n", " "))


class Limits(NamedTuple):
    """The range of a number.  A bound that is None does not apply.  NaN and infinity are always outside."""

    more_than: float | None = None
    at_least: float | None = None
    less_than: float | None = None
    at_most: float | None = None

    def hold(self, value: float) -> bool:
        return (
            abs(value) <= sys.float_info.max  # False for NaN and infinity, and for an int that no float can hold
            and (self.more_than is None or value > self.more_than)
            and (self.at_least is None or value >= self.at_least)
            and (self.less_than is None or value < self.less_than)
            and (self.at_most is None or value <= self.at_most)
        )

    def text(self) -> str:
        """The range in words, e.g. "greater than 0 and at most 1"."""
        bounds = [f"{_BOUNDS[name]} {bound}" for name, bound in self._asdict().items() if bound is not None]
        return " and ".join(bounds) or "finite"


class Setting(NamedTuple):
    """One declared field, as `settings_of` gives it."""

    group: str  # heading of the dataclass that declares it: the first line of its docstring
    section: str  # dotted path in a configuration file, e.g. "detector.rpn"
    name: str  # of the field
    option: str  # e.g. "--rpn-channels"
    hidden_option: str | None  # a second name that --help does not show
    kind: type  # int, float, str or bool; of each value of a list
    is_list: bool
    length: int | None  # of a list; None: any but 0
    may_be_none: bool
    default: Any  # dataclasses.MISSING where the setting is required
    limits: Limits
    choices: tuple[str, ...] | None
    source: str  # where the default comes from
    help: str
    none_text: str  # what None does
    changeable: bool  # whether a run that is resumed may have another value

    @property
    def key(self) -> str:
        """Section and name, e.g. "detector.rpn.channels"."""
        return f"{self.section}.{self.name}" if self.section else self.name

    def default_text(self) -> str:
        if self.default is dataclasses.MISSING:
            return "required"
        return self.none_text if self.default is None else plain_text(self.default)

    def type_text(self) -> str:
        kind = _KINDS[self.kind]
        if not self.is_list:
            return kind
        return f"{'list of' if self.length is None else self.length} {kind}s"

    def range_text(self) -> str:
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        return self.limits.text() if self.kind in (int, float) else ""


def setting(
    default: Any = dataclasses.MISSING,
    help: str = "",
    *,
    source: str = "",
    option: str | None = None,
    hidden_option: str | None = None,
    choices: tuple[str, ...] | None = None,
    none_text: str = "none",
    changeable: bool = False,
    **limits: float,
) -> Any:
    """A dataclass field that is a setting.

    Args:
        default: its default; left out, the setting is required.
        help: one line without a full stop.
        source: of the default: a section of the paper, or the released code.
        option: its option; by default --SECTION-NAME.
        hidden_option: a second name of the option, which --help does not show.
        choices: the strings that it can be.
        none_text: what the default None stands for.
        changeable: whether a run that is resumed may have another value.
        limits: any of more_than, at_least, less_than and at_most.
    """
    about: dict[str, Any] = {"option": option, "hidden_option": hidden_option, "choices": choices, "source": source}
    about |= {"help": help, "limits": Limits(**limits), "none_text": none_text, "changeable": changeable}
    return dataclasses.field(default=default, metadata={"setting": about})


def with_default(cls: type, name: str, default: Any) -> Any:
    """The declaration of the field `name` of `cls` with another default."""
    declared = {field.name: field for field in dataclasses.fields(cls)}
    return dataclasses.field(default=default, metadata=declared[name].metadata)


def nested_default(field: dataclasses.Field) -> Any:
    """The default of a field that holds a dataclass: what its `default_factory` returns.

    Raises TypeError if the field has no `default_factory`.
    """
    if field.default_factory is dataclasses.MISSING:
        raise TypeError(f"the field {field.name} has no default_factory: declare it with one")
    return field.default_factory()


def settings_of(cls: type, own_section: str = "") -> tuple[Setting, ...]:
    """The settings of a dataclass and of the dataclasses that are its fields, in the order of declaration.

    `own_section` is the section of the fields of `cls` itself; the field of a nested dataclass names its section.
    """
    return tuple(_settings(cls, None, own_section, ""))


def _settings(cls: type, defaults: Any, own_section: str, path: str) -> Iterable[Setting]:
    """`defaults` is an instance of `cls`; with None, the defaults are those of the declarations."""
    # The last entry of a name stays: the class that declared it first, not one that gives it another default.
    declared_in = {name: base for base in cls.__mro__ for name in base.__dict__.get("__annotations__", ())}
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        if dataclasses.is_dataclass(hints[field.name]):
            nested = getattr(defaults, field.name) if defaults is not None else nested_default(field)
            name = f"{path}.{field.name}" if path else field.name
            yield from _settings(hints[field.name], nested, name, name)
            continue
        prefix = f"{own_section.split('.')[-1]}-" if path else ""
        option = field.metadata["setting"]["option"] or f"--{prefix}{field.name}".replace("_", "-")
        kind, is_list, length, may_be_none = _type_of(hints[field.name])
        yield Setting(
            group=(declared_in[field.name].__doc__ or "").partition("\n")[0].rstrip("."),
            section=own_section,
            name=field.name,
            kind=kind,
            is_list=is_list,
            length=length,
            may_be_none=may_be_none,
            default=field.default if defaults is None else getattr(defaults, field.name),
            **{**field.metadata["setting"], "option": option},
        )


def _type_of(hint: Any) -> tuple[type, bool, int | None, bool]:
    """(kind, whether it is a list, its length, whether None is allowed) of a field's type."""
    parts = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    (kind,) = (part for part in parts if part is not type(None))
    values = typing.get_args(kind)
    length = None if not values or values[-1] is Ellipsis else len(values)
    return values[0] if values else kind, bool(values), length, len(parts) > 1


def check(value: Any, setting: Setting, where: str) -> Any:
    """`value` as the setting holds it: lists as tuples, whole numbers of a float setting as floats.

    Raises SettingError, which names `where`, for a value of another type or out of range.
    """
    if value is None and setting.may_be_none:
        return None
    if not setting.is_list:
        return _check_one(value, setting, where, "be ")
    rule = f"be a {setting.type_text() if setting.length is None else f'list of {setting.type_text()}'}"
    if not isinstance(value, list | tuple) or setting.length not in (None, len(value)):
        raise SettingError(where, rule, value)
    if not value:
        raise SettingError(where, f"{rule} with at least one value", value)
    return tuple(_check_one(part, setting, where, f"{rule}, each ") for part in value)


def _check_one(value: Any, setting: Setting, where: str, verb: str) -> Any:
    accepted = (int, float) if setting.kind is float else (setting.kind,)
    if type(value) not in accepted:  # not isinstance: True is an int
        article = "" if setting.kind is bool else "a "
        raise SettingError(where, f"{verb}{article}{_KINDS[setting.kind]}", value)
    if setting.choices and value not in setting.choices:
        raise SettingError(where, f"{verb}{setting.range_text()}", value)
    if setting.kind in (int, float):
        rule = "only hold values " if setting.is_list else "be "
        check_number(value, setting.limits, where, rule)
        if setting.kind is int:
            check_number(value, Limits(at_most=MOST_WHOLE), where, rule)
    return float(value) if setting.kind is float else value


def check_number(value: float, limits: Limits, where: str, verb: str = "be ") -> None:
    """Raise SettingError, which names `where`, for a number outside of the limits."""
    if not limits.hold(value):
        raise SettingError(where, f"{verb}{limits.text()}", value)


def read(values: Any, settings: Iterable[Setting], where: str, section: str = "") -> dict[str, Any]:
    """The checked values of nested dicts, by the keys of their settings.

    Raises InputError for a section or field that does not exist, and SettingError for a value that is not allowed;
    both name `where` and the field.
    """
    by_key = {setting.key: setting for setting in settings}
    if not isinstance(values, dict):
        place = f"{where}, field {section}" if section else where
        raise InputError(place, f"{values!r} is not an object", "give an object of fields, {...}")
    found = {}
    for name, value in values.items():
        key = f"{section}.{name}" if section else name
        if key in by_key:
            found[key] = check(value, by_key[key], f"{where}, field {key}")
        elif any(known.startswith(f"{key}.") for known in by_key):
            found |= read(value, by_key.values(), where, key)
        else:
            below = [known[len(section) :].lstrip(".") for known in by_key if known.startswith(section)]
            kind = "field" if section else "section"
            names = ", ".join(dict.fromkeys(known.split(".")[0] for known in below))
            raise InputError(f"{where}, field {key}", f"no such {kind}", f"use one of {names}")
    return found


def changed(start: Any, values: dict[str, Any], section: str = "") -> Any:
    """The dataclass instance `start` with the checked `values`, by key, in place of its own."""
    changes = {}
    for field in dataclasses.fields(start):
        key, value = f"{section}.{field.name}" if section else field.name, getattr(start, field.name)
        if dataclasses.is_dataclass(value):
            changes[field.name] = changed(value, values, key)
        elif key in values:
            changes[field.name] = values[key]
    return dataclasses.replace(start, **changes)


def reference_markdown(cls: type, title: str, own_section: str = "") -> str:
    """The settings of a dataclass as a Markdown section: a heading, and a table for each group."""
    lines = [f"## {title}"]
    for group, members in itertools.groupby(settings_of(cls, own_section), key=lambda setting: setting.group):
        lines += ["", f"### {group}", "", "| Option | Field | Type | Default | Range | Source | Meaning |"]
        lines.append("|---|---|---|---|---|---|---|")
        for setting in members:
            cells = [f"`{setting.option}`", f"`{setting.key}`", setting.type_text(), setting.default_text()]
            cells += [setting.range_text(), setting.source, setting.help]
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def plain_text(value: Any) -> str:
    """A value of a setting as a reader would type it."""
    if isinstance(value, tuple):
        return " ".join(map(plain_text, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)
