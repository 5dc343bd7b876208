"""The options of training, each declared once, and how they are read from the command line and a configuration file.

A value on the command line wins over one in the file of `--config`, which wins over the default.  This module imports
nothing heavy, so that `--help` stays fast.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from keras_frcnn.data.augmentation.presets import PRESETS
from keras_frcnn.data.sources.spec import DataSpec
from keras_frcnn.evaluation.metrics.names import METRIC_HELP, METRICS
from keras_frcnn.facts.config import DetectorConfig, HeadConfig, config_to_dict
from keras_frcnn.facts.errors import InputError, exit_on_input_error
from keras_frcnn.facts.options import add_options, given_options
from keras_frcnn.facts.settings import (
    changed,
    nested_default,
    read,
    reference_markdown,
    setting,
    settings_of,
    with_default,
)
from training.engine.interruption import deferred

PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
SECTION = "options"  # of the training options in config.json; the detector's section is named by its field

Options = TypeVar("Options", bound="TrainingOptions")


@dataclass(frozen=True, kw_only=True)
class DataOptions(DataSpec):
    """Splits: which pictures to train on, and which to measure on."""

    train: str = setting("train", "splits to train on, joined with +")
    val: str = setting("val", "splits to measure on, joined with +")
    check_data: bool = setting(
        False, "decode every picture before training, even if that takes long beside the training", changeable=True
    )
    metric: str = setting(
        "voc07", f"{METRIC_HELP}; only coco also measures COCO's figures", choices=METRICS, changeable=True
    )


@dataclass(frozen=True, kw_only=True)
class AugmentationOptions:
    """Augmentation: random changes of the training pictures besides the flip."""

    augment: str = setting(
        "none", "preset of crop, zoom, colour and blur; with light and strong, no features are stored",
        source="section 3.3: flips alone", choices=tuple(PRESETS),
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Run: its folder, starting weights, precision and checkpoints."""

    run: str = setting(help="run folder; if it holds a run of the same options, that run is resumed", changeable=True)
    weights: str = setting(
        help="starting weights: imagenet, imagenet-full, torchvision, none, a VGG16 .h5, .npz or .keras file, or the "
        "folder of a finished run, from which every layer that fits is taken"
    )
    seed: int = setting(0, "seed of new weights, of the order of images and of sampling", at_least=0, less_than=2**28)
    precision: str = setting(
        "float32",
        "number format of the network's layers in training; geometry and losses are always float32",
        choices=PRECISIONS,
    )
    deterministic: bool = setting(False, "give the same bits in every run, which is slower")
    checkpoint_iterations: int = setting(
        1000, "iterations between two checkpoints", hidden_option="--checkpoint-steps", more_than=0, changeable=True
    )
    checkpoint_minutes: float = setting(10.0, "most minutes between two checkpoints", more_than=0, changeable=True)
    checkpoints: int = setting(2, "number of checkpoints that are kept", more_than=0, changeable=True)
    quiet: bool = setting(False, "show no progress bars", changeable=True)


@dataclass(frozen=True, kw_only=True)
class SolverOptions:
    """Optimisation: stochastic gradient descent with momentum."""

    momentum: float = setting(0.9, "momentum of the gradient descent", source="section 3.1.3", at_least=0, less_than=1)
    weight_decay: float = setting(0.0005, "weight decay", source="section 3.1.3", at_least=0)
    drop_at: float = setting(
        0.75, "share of the iterations after which the learning rate falls to a tenth", source="section 3.1.3",
        more_than=0, at_most=1,
    )  # fmt: skip
    clip_norm: float | None = setting(None, "largest global norm of a gradient", none_text="no limit", more_than=0)
    accumulate: int = setting(
        1, "mini-batches per iteration, as if there were more GPUs: fewer iterations, a larger learning rate",
        source="Goyal et al. 2017, section 2.1", more_than=0,
    )  # fmt: skip
    warmup: int | None = setting(
        None, "iterations over which the learning rate rises",
        none_text="0 with one mini-batch per iteration, else a tenth of the iterations and at most 500",
        source="Goyal et al. 2017, section 2.2", at_least=0,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class CacheOptions:
    """Stored features of the convolutions, which do not change in steps 3 and 4."""

    feature_cache_gib: float = setting(8.0, "most GiB of features to store; 0 stores none", at_least=0, changeable=True)
    feature_cache_folder: str | None = setting(
        None, "where to store them; /dev/shm/NAME is memory", none_text="in the run folder", changeable=True
    )
    feature_cache_dtype: str | None = setting(
        None, "number format of the stored features", none_text="as computed", choices=("float32", "float16")
    )


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(CacheOptions, SolverOptions, RunOptions, AugmentationOptions, DataOptions):
    """What both ways of training share."""

    detector: DetectorConfig = field(default_factory=DetectorConfig)


@dataclass(frozen=True, kw_only=True)
class AlternationSchedule:
    """Schedule of the four steps (section 3.2)."""

    iterations: tuple[int, ...] | None = setting(
        None, "mini-batches of each step", none_text="80000 for an RPN step, 40000 for a detector step",
        source="section 3.1.3; released alternating training", hidden_option="--steps", more_than=0,
    )  # fmt: skip
    learning_rate: tuple[float, ...] | None = setting(
        None, "learning rate of each step", none_text="0.001 for every step", source="section 3.1.3", more_than=0
    )
    rpn_images: int = setting(1, "images in a mini-batch of an RPN step", source="section 3.1.3", more_than=0)
    head_images: int = setting(
        2, "images in a mini-batch of a detector step", source="Girshick 2015, section 2.3", more_than=0
    )


@dataclass(frozen=True, kw_only=True)
class JointSchedule:
    """Schedule of approximate joint training (section 3.2)."""

    iterations: int = setting(
        70000, "mini-batches", source="released joint training", hidden_option="--steps", more_than=0
    )
    learning_rate: float = setting(0.001, "learning rate", source="released joint training", more_than=0)
    images: int = setting(1, "images in a mini-batch", source="released joint training", more_than=0)


@dataclass(frozen=True, kw_only=True)
class AlternationOptions(AlternationSchedule, TrainingOptions):
    """All options of `training.alternate`."""


@dataclass(frozen=True, kw_only=True)
class JointOptions(JointSchedule, TrainingOptions):
    """All options of `training.joint`, with the defaults that it has of its own."""

    # As released: 50k of the 70k iterations at the full rate, and 128 RoIs of one image instead of 64 of two.
    drop_at: float = with_default(SolverOptions, "drop_at", 50 / 70)
    detector: DetectorConfig = field(default_factory=lambda: DetectorConfig(head=HeadConfig(batch_size=128)))


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


def reference() -> str:
    """All options of training and of the detector as Markdown, for the reference page."""
    own_defaults = ", ".join(
        f"`{joint.option}` ({joint.default_text()})"
        for common, joint in zip(settings_of(TrainingOptions), settings_of(JointOptions), strict=False)
        if joint.default != common.default
    )
    parts = (
        reference_markdown(TrainingOptions, "Options of both training commands", SECTION),
        reference_markdown(AlternationSchedule, "Options of training.alternate", SECTION),
        reference_markdown(JointSchedule, "Options of training.joint", SECTION),
        f"`training.joint` has other defaults for {own_defaults}.\n",
    )
    return "\n".join(parts)


def changeable_fields(options: TrainingOptions) -> frozenset[str]:
    """The fields of config.json that do not change the result, so that a resumed run may have other values."""
    return frozenset(one.key for one in settings_of(type(options), SECTION) if one.changeable)


def exit_with(options: TrainingOptions, load_command: Callable[[], Callable[[Any], int]]) -> None:
    """Import and run a training command, `load_command()(options)`, and exit with its status.

    A bad input prints one line and exits with status 2.  Ctrl-C and SIGTERM, which preempted machines get, print one
    line and exit with status 130.
    """
    if options.quiet:
        os.environ["TQDM_DISABLE"] = "1"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow reads it when it is imported: hide its own warnings
    try:
        with deferred(), exit_on_input_error(extra="train"):
            command = load_command()
            if options.deterministic:
                import tensorflow as tf  # heavy; only here, so that --help stays fast

                tf.config.experimental.enable_op_determinism()
            status = command(options)
    except KeyboardInterrupt:
        print("\nInterrupted. Finished work is saved; run the same command again to resume.", file=sys.stderr)
        status = 130
    raise SystemExit(status)
