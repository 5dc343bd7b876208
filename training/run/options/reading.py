"""How the options of training are read from the command line and a configuration file, and written to one.

A value on the command line overrides one in the file of `--config`, which overrides the default.  This module imports
nothing heavy, so that `--help` stays fast.
"""

import argparse
import dataclasses
from collections.abc import Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from keras_frcnn.facts.config import config_to_dict
from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.files import read_json
from keras_frcnn.facts.options import add_options, given_options
from keras_frcnn.facts.settings import changed, nested_default, read, settings_of
from training.run.options.declared import SECTION, AlternationOptions, CacheOptions, TrainingOptions, ValidationOptions
from training.run.options.duration import seconds_of
from training.run.planning.forecast import Notes, read_notes

Options = TypeVar("Options", bound=TrainingOptions)


class Request(NamedTuple, Generic[Options]):
    """What the user asks for."""

    options: Options
    values: dict[str, Any]  # the values that the command line or the file of --config gives, by key
    notes: Notes | None  # of a plan file


def option_parser(kind: type[TrainingOptions], prog: str, description: str, usage: str) -> argparse.ArgumentParser:
    """A parser with --config and all options of that kind."""
    parser = argparse.ArgumentParser(prog=prog, description=description, usage=usage)
    parser.add_argument(
        "--config", metavar="FILE.json", help="read options from this file, such as a plan or the config.json of "
        "another run; options of the command line override it",
    )  # fmt: skip
    add_options(parser, settings_of(kind, SECTION))
    return parser


def request_of(
    kind: type[Options],
    namespace: argparse.Namespace,
    assumed: dict[str, Any] | None = None,
    always_plans: bool = False,
) -> Request[Options]:
    """The options of that kind that the command line and its `--config` file give.

    Args:
      kind: of the options.
      namespace: of `option_parser`.
      assumed: values by key where neither gives one; they do not count as given.
      always_plans: the command makes a plan whatever is given.

    Raises:
      InputError: a value is not allowed, a required option is missing, or the file is bad.
    """
    settings = settings_of(kind, SECTION)
    from_file, notes = ({}, None) if namespace.config is None else _read_file(namespace.config, kind)
    values = from_file | given_options(namespace, settings)
    every = (assumed or {}) | values
    if always_plans:
        _refuse_plan(values, notes)
        every["options.plan"] = "auto"
    for one in settings:
        if one.default is dataclasses.MISSING and one.key not in every:
            raise InputError(one.option, "is required", f"give it, or {one.key} in the file of --config")
    request = Request(options_from(kind, every), values, notes)
    _check_plan(request)
    _check_validation(request.options)
    return request


def read_request(
    kind: type[Options], prog: str, description: str, arguments: Sequence[str] | None = None
) -> Request[Options]:
    """What the command line of a training asks for; raises the errors of `request_of`."""
    usage = "%(prog)s --run RUN --data DATA --weights WEIGHTS [--config FILE.json] [OPTION ...]"
    return request_of(kind, option_parser(kind, prog, description, usage).parse_args(arguments))


def options_from(kind: type[Options], values: dict[str, Any]) -> Options:
    """The options of that kind with checked values by key, and defaults for the others."""
    # The fields of the detector start from the defaults of this kind of options.
    detector = nested_default(kind.__dataclass_fields__["detector"])
    own = {
        one.name: values[one.key] for one in settings_of(kind, SECTION) if one.section == SECTION and one.key in values
    }
    return kind(**own, detector=changed(detector, values, "detector"))


def _refuse_plan(values: dict[str, Any], notes: Notes | None) -> None:
    """Raise InputError if a command that makes a plan gets one, or is told not to make one."""
    if notes is not None:
        raise InputError("--config", "is a plan already", "leave it out, or remove its section plan")
    if values.get("options.plan", "auto") != "auto":
        fix = "leave out --plan, also in the file of --config"
        raise InputError("--plan paper", "this command always makes a plan", fix)


def _check_plan(request: Request) -> None:
    """Raise InputError for a plan without a budget, and for a budget without a plan."""
    options = request.options
    if options.budget is not None:
        seconds_of(options.budget, "--budget")
    if options.plan == "auto" and options.budget is None:
        raise InputError("--plan auto", "needs a time", "give --budget, for example --budget 60m")
    if options.plan == "auto" and request.notes is not None:
        raise InputError(
            "--plan auto", "cannot be combined with a plan file", "leave out --plan, or give another --config"
        )
    if options.plan == "paper" and options.budget is not None and request.notes is None:
        raise InputError("--budget", "needs a plan", "add --plan auto, or give a plan file with --config")


def _check_validation(options: TrainingOptions) -> None:
    """Raise InputError for options that need validation, without one."""
    if options.validate_every is None:
        needs = {
            "--keep best": options.keep == "best",
            "--patience": options.patience is not None,
            "--validate-images": options.validate_images != ValidationOptions.validate_images,
        }
        for option in (option for option, given in needs.items() if given):
            raise InputError(option, "needs measurements while a step trains", "give --validate-every")


def _read_file(path: str, kind: type[TrainingOptions]) -> tuple[dict[str, Any], Notes | None]:
    """The checked values of a configuration file by key, and the notes of a plan.

    Raises InputError, which names the file and the field.
    """
    try:
        values = read_json(path)
    except OSError as error:
        raise InputError(f"--config {path}", f"cannot be read ({error.strerror})", "give a JSON file") from error
    except ValueError as error:
        raise InputError(f"--config {path}", f"is not JSON ({error})", "correct the file") from error
    return read_values(values, kind, path)


def read_values(values: Any, kind: type[TrainingOptions], where: str) -> tuple[dict[str, Any], Notes | None]:
    """The checked values by key, and the notes of a plan, of an object in the form of `to_configuration`.

    Raises InputError, which names `where` and the field.
    """
    notes = None
    if isinstance(values, dict) and "plan" in values:
        notes = read_notes(values["plan"], where)
        values = {section: value for section, value in values.items() if section != "plan"}
    return read(values, settings_of(kind, SECTION), where), notes


def to_configuration(options: TrainingOptions) -> dict[str, dict[str, Any]]:
    """What config.json holds: every option and the whole configuration of the detector, ready for `--config`."""
    own = {entry.name: getattr(options, entry.name) for entry in dataclasses.fields(options)}
    own.pop("detector")
    return {SECTION: own, "detector": config_to_dict(options.detector)}


def changeable_fields(options: TrainingOptions) -> frozenset[str]:
    """The fields of config.json that do not change the result, so that a resumed run may have other values."""
    fields = {one.key for one in settings_of(type(options), SECTION) if one.changeable}
    if options.validate_every is None:
        fields.add("options.validate_images")  # an older version allowed any number
    else:
        fields.discard("options.metric")  # it decides which weights are the best
    if not isinstance(options, AlternationOptions):  # an older version stored them for joint training, too
        fields |= {one.key for one in settings_of(CacheOptions, SECTION)}
    elif options.feature_cache_dtype == "float16":
        fields.discard("options.feature_cache_gib")  # features that are not stored are not rounded
    return frozenset(fields)
