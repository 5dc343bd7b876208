"""How a user names data: the options that every command that reads data has.

This module imports no heavy package, so that `--help` stays fast.
"""

import re
from dataclasses import dataclass
from typing import NamedTuple

from keras_frcnn.data.sources.table import DATA_HELP, SOURCES
from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.limits import MAX_PIXELS_HELP, MOST_PIXELS, PILLOW_LIMIT
from keras_frcnn.facts.settings import setting, settings_of

_OF_SOURCES = {name for source in SOURCES.values() for name in source.options}  # options that only some sources use
ALL = "all"  # the split that holds every picture of a source


@dataclass(frozen=True, kw_only=True)
class DataSpec:
    """Data: where it is, and how to read it."""

    # A run knows its data by their content, so the place may change.
    data: str = setting(help=f"{DATA_HELP}; join several with +", changeable=True)
    class_names: tuple[str, ...] | None = setting(None, "names of the classes", none_text="those found in the data")
    class_map: str | None = setting(
        None, 'a JSON file that renames, merges or drops classes: {"old name": "new name", "unwanted": null}'
    )
    images_root: str | None = setting(
        None,
        "folder of the pictures, where the annotations do not lie beside them",
        none_text="found from the data",
        changeable=True,
    )
    split_by: str | None = setting(
        None,
        "make splits of all pictures: 0.8/0.1/0.1 gives train, val and test, 0.8/0.2 gives train and val; or the "
        "splits.json that a run wrote",
        none_text="the splits that the data has",
    )
    split_seed: int = setting(0, "seed of the splits of --split-by", at_least=0)
    tfds_dir: str | None = setting(
        None,
        "folder of the prepared TensorFlow data sets, for tfds:",
        none_text="that of TensorFlow Datasets",
        changeable=True,
    )
    allow_download: bool = setting(
        False, "let tfds: download and prepare a data set that is not there yet", changeable=True
    )
    max_pixels: int = setting(MOST_PIXELS, MAX_PIXELS_HELP, at_least=1, at_most=PILLOW_LIMIT, changeable=True)
    strict: bool = setting(False, "treat annotation faults as errors instead of repairing them")


class Request(NamedTuple):
    """What one source is asked for."""

    kind: str  # of the source, for messages
    argument: str | None  # the text after the colon; None without a colon
    split: str  # one name, or several joined with +; ALL for every picture
    images_root: str | None = None
    tfds_dir: str | None = None
    allow_download: bool = False

    @property
    def where(self) -> str:
        """The source as the user wrote it, for messages."""
        return f"--data {self.kind}" + ("" if self.argument is None else f":{self.argument}")


def requests(spec: DataSpec, split: str) -> tuple[Request, ...]:
    """What each source of the specification is asked for.

    Several sources take one split name each, separated by commas, or all take the same one.

    Raises InputError for a kind of source that does not exist, for another number of splits than of sources, and for an
    option that none of the sources uses.
    """
    kinds = "|".join(SOURCES)
    # Only a + in front of a kind joins sources: paths may contain one, too.
    parts = re.split(rf"\+(?=(?:{kinds})(?:[:+]|$))", spec.data)
    names = split.split(",") if len(parts) > 1 else [split]
    if len(names) not in (1, len(parts)):
        fix = f"give one name for all, or {len(parts)} names separated by commas"
        raise InputError(f"split {split!r}", f"{len(names)} names for {len(parts)} data sources", fix)
    asked = []
    for part, name in zip(parts, names * len(parts) if len(names) == 1 else names, strict=True):
        kind, colon, argument = part.partition(":")
        if kind not in SOURCES:
            usages = " or ".join(source.usage for source in SOURCES.values())
            raise InputError(f"--data {part!r}", "unknown kind of data source", f"use {usages}")
        options = (spec.images_root, spec.tfds_dir, spec.allow_download)
        asked.append(Request(kind, argument if colon else None, name, *options))
    for one in settings_of(DataSpec):
        used = any(one.key in SOURCES[request.kind].options for request in asked)
        if one.key in _OF_SOURCES and getattr(spec, one.key) and not used:
            raise InputError(one.option, f"has no effect on --data {spec.data}", "remove it")
    return tuple(asked)
