"""How the options of training are read from the command line and a configuration file, and written to one.

A value on the command line wins over one in the file of `--config`, which wins over the default.  This module imports
nothing heavy, so that `--help` stays fast.
"""

import argparse
import dataclasses
import json
import pathlib
from collections.abc import Sequence
from typing import Any, TypeVar

from keras_frcnn.facts.config import config_to_dict
from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.options import add_options, given_options
from keras_frcnn.facts.settings import changed, nested_default, read, settings_of
from training.run.options.declared import SECTION, TrainingOptions

Options = TypeVar("Options", bound=TrainingOptions)


def parse_options(kind: type[Options], prog: str, description: str, arguments: Sequence[str] | None = None) -> Options:
    """The options of that kind that the command line and its `--config` file give.

    Raises InputError for a value that is not allowed, for a required option that is missing, and for a bad file.
    """
    settings = settings_of(kind, SECTION)
    usage = "%(prog)s --run RUN --data DATA --weights WEIGHTS [--config FILE.json] [OPTION ...]"
    parser = argparse.ArgumentParser(prog=prog, description=description, usage=usage)
    parser.add_argument(
        "--config", metavar="FILE.json", help="read options from this file, such as the config.json of another run; "
        "options of the command line win over it",
    )  # fmt: skip
    add_options(parser, settings)
    namespace = parser.parse_args(arguments)
    given = given_options(namespace, settings)
    values = ({} if namespace.config is None else _read_file(namespace.config, kind)) | given
    for one in settings:
        if one.default is dataclasses.MISSING and one.key not in values:
            raise InputError(one.option, "is required", f"give it, or {one.key} in the file of --config")
    # The fields of the detector start from the defaults of this kind of options.
    detector = nested_default(kind.__dataclass_fields__["detector"])
    own = {one.name: values[one.key] for one in settings if one.section == SECTION and one.key in values}
    return kind(**own, detector=changed(detector, values, "detector"))


def _read_file(path: str, kind: type[TrainingOptions]) -> dict[str, Any]:
    """The checked values of a configuration file by key; raises InputError, which names the file and the field."""
    try:
        values = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"--config {path}", f"cannot be read ({error.strerror})", "give a JSON file") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"--config {path}", f"is not JSON ({error})", "correct the file") from error
    return read(values, settings_of(kind, SECTION), path)


def to_configuration(options: TrainingOptions) -> dict[str, dict[str, Any]]:
    """What config.json holds: every option and the whole configuration of the detector, ready for `--config`."""
    own = {entry.name: getattr(options, entry.name) for entry in dataclasses.fields(options)}
    own.pop("detector")
    return {SECTION: own, "detector": config_to_dict(options.detector)}


def changeable_fields(options: TrainingOptions) -> frozenset[str]:
    """The fields of config.json that do not change the result, so that a resumed run may have other values."""
    return frozenset(one.key for one in settings_of(type(options), SECTION) if one.changeable)
