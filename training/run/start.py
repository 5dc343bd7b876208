"""One run: its folder, data, configuration and model.

Everything here resumes from what the run folder holds.  On several machines every process calls the same functions in
the same order; only the chief writes and prints.
"""

import contextlib
import dataclasses
import fcntl
import hashlib
import logging
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from keras_frcnn.data.doctor.examine import quick_findings
from keras_frcnn.data.doctor.findings import finding_line
from keras_frcnn.data.example import Dataset
from keras_frcnn.data.sources.loading import describe_problems, load_dataset
from keras_frcnn.data.sources.shared.split_by import Splits, write_splits
from keras_frcnn.facts.config import DetectorConfig
from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.files import make_writable, remove_halves
from keras_frcnn.network.model import FasterRCNN
from keras_frcnn.network.weights.pretrained import PretrainedVGG16, apply_pretrained, load_pretrained
from keras_frcnn.network.weights.warm_start import TrainedDetector, read_detector, warm_start
from training.engine.distribution import is_chief, wait_for_all
from training.run.data.fingerprint import fingerprint
from training.run.data.splits import SPLITS_FILE, divided_data
from training.run.folder import open_folder
from training.run.options.declared import AlternationOptions, TrainingOptions
from training.run.options.reading import changeable_fields, to_configuration
from training.run.planning.forecast import Forecast
from training.run.stores.features import FeatureCache

_log = logging.getLogger(__name__)

_SHOWN_FINDINGS = 5  # lines at the start of a run

Start = TrainedDetector | PretrainedVGG16 | None  # what a training starts from


class RunData(NamedTuple):
    """The data of a run."""

    train_set: Dataset
    val_set: Dataset
    splits: Splits | None  # those of --split-by


class Planned(NamedTuple):
    """What is settled before a run begins."""

    options: TrainingOptions
    forecast: Forecast | None  # of a run with a time budget
    file: dict[str, Any] | None = None  # what plan.json of a new run will hold


class Run(NamedTuple):
    """What stays the same through a run."""

    folder: pathlib.Path
    options: TrainingOptions
    config: DetectorConfig  # of the model; that of `options` may still say "auto"
    train_set: Dataset
    val_set: Dataset


def read_data(options: TrainingOptions, show: bool = True) -> RunData:
    """The training and the validation set; `show`: whether to show progress bars.

    Raises InputError if they cannot be read, or if there is no object to train on.
    """
    exif = options.detector.image.exif
    divided = divided_data(options, pathlib.Path(options.run), show)
    train_set = load_dataset(options, options.train, exif, divided)
    if all(example.difficult.all() for example in train_set.examples):
        problem = f"there is no object to train on in {len(train_set.examples)} pictures"
        raise InputError(train_set.name, problem, "check --train, and whether all objects are marked as difficult")
    # The validation set has the classes of the training set, and its boxes refer to pictures of the same orientation.
    val_spec = dataclasses.replace(options, class_names=train_set.class_names)
    val_set = load_dataset(val_spec, options.val, train_set.exif, divided)
    return RunData(train_set, val_set, None if divided is None else divided.splits)


def with_val_images(data: RunData, count: int | None) -> RunData:
    """The data with `count` of the validation pictures: a random choice that is the same for every run."""
    return data if count is None else data._replace(val_set=some_pictures(data.val_set, count))


def some_pictures(dataset: Dataset, count: int) -> Dataset:
    """At most `count` pictures of a data set: a random choice that is always the same, in their order."""
    total = len(dataset.examples)
    if count >= total:
        return dataset
    return dataset.select(sorted(np.random.default_rng(0).permutation(total)[:count]))


def open_run(options: TrainingOptions, data: RunData) -> Run:
    """Create the run folder, or check that the one that exists has these options and this data; raises InputError."""
    if not is_chief():
        wait_for_all()  # until the chief has created the folder
    train_set, val_set, splits = data
    stamp = fingerprint(train_set, val_set)
    folder = open_folder(options.run, to_configuration(options), stamp, changeable_fields(options))
    if is_chief():
        if splits is not None and not (folder / SPLITS_FILE).exists():
            write_splits(folder / SPLITS_FILE, splits)
        wait_for_all()
    for line in (splits.lines if splits else ()) + (*describe_problems(train_set), *describe_problems(val_set)):
        _log.info("%s", line)
    _log.info(
        f"{len(train_set.examples)} images to train on, {len(val_set.examples)} to measure on, "
        f"{len(train_set.class_names)} classes: {', '.join(train_set.class_names)}"
    )
    if is_chief():
        _log_findings(options, train_set, val_set)
    return Run(folder, options, resolved(options.detector, train_set.exif), train_set, val_set)


def resolved(config: DetectorConfig, exif: str) -> DetectorConfig:
    """The configuration of the run's model: its `image.exif` is the data set's `exif` instead of "auto"."""
    if config.image.exif != "auto":
        return config
    return dataclasses.replace(config, image=dataclasses.replace(config.image, exif=exif))


def _log_findings(options: TrainingOptions, train_set: Dataset, val_set: Dataset) -> None:
    """Log what the cheap checks of the data doctor find, with the fix of each finding."""
    findings = quick_findings(train_set, val_set, options.detector)
    for finding in findings[:_SHOWN_FINDINGS]:
        _log.info("%s", finding_line(finding))
    if findings:
        _log.info("all checks of the data: python -m keras_frcnn.data.validate %s", options.data)


@contextlib.contextmanager
def locked(folder: pathlib.Path) -> Iterator[None]:
    """Lock the run folder against other processes; the system releases the lock however this process ends.

    Also removes half-written files of an earlier process.  Raises InputError if another process has the lock.
    """
    if not is_chief():
        yield
        return
    with open(folder / "lock", "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            fix = "wait until it ends, or give another folder with --run"
            raise InputError(folder, "another process is training in this run folder", fix) from error
        remove_halves(folder)
        yield


def load_start(source: str) -> Start:
    """The weights that `--weights` names: those of a finished run or of VGG16, or None.  Raises InputError."""
    return read_detector(source) if pathlib.Path(source).is_dir() else load_pretrained(source)


def digest_of(start: Start) -> str:
    """A digest of the starting weights; the same for the same values, wherever they come from."""
    digest = hashlib.sha256()
    for name, arrays in sorted(start.layers.items() if start is not None else ()):
        for array in arrays:
            digest.update(f"{name} {array.shape}\n".encode() + np.ascontiguousarray(array, np.float32).tobytes())
    return digest.hexdigest()


def new_model(run: Run, start: Start) -> FasterRCNN:
    """A new float32 model of the run with the weights of `start`."""
    return starting_model(run.config, run.train_set.class_names, start, run.options.seed)


def starting_model(
    config: DetectorConfig, class_names: Sequence[str], start: Start, seed: int, dtype: str = "float32"
) -> FasterRCNN:
    """A new model with the weights of `start`; layers that it lacks get random weights of the seed."""
    model = FasterRCNN(config, class_names, seed=seed, dtype=dtype)
    if isinstance(start, TrainedDetector):
        warm_start(model, start)
    elif start is not None:
        apply_pretrained(model, start)
    return model


def feature_cache(run: Run, model: FasterRCNN) -> FeatureCache | None:
    """The store for features of the model's backbone, which must not change; None if the options turn it off."""
    options = run.options
    if not isinstance(options, AlternationOptions) or not options.stores_features:
        return None
    budget = int(options.feature_cache_gib * 2**30)
    folder = feature_folder(run.folder, options.feature_cache_folder)
    return FeatureCache(folder, model, budget, options.feature_cache_dtype)


def feature_folder(run_folder: pathlib.Path, given: str | None) -> pathlib.Path:
    """The folder of stored features: in the run folder, or a folder for this run in --feature-cache-folder."""
    if given is None:
        return run_folder / "features"
    stamp = hashlib.sha256(str(run_folder.resolve()).encode()).hexdigest()[:8]
    return pathlib.Path(given) / f"{run_folder.resolve().name}-{stamp}"


def check_feature_folder(run: Run) -> None:
    """Raise InputError if features go to a folder of their own, which cannot be written."""
    options = run.options
    if not isinstance(options, AlternationOptions) or not options.stores_features:
        return
    given = options.feature_cache_folder
    if given is not None and is_chief():
        make_writable(given, f"--feature-cache-folder {given}", "give another folder")


def checkpoint_folder(run: Run, name: str) -> pathlib.Path:
    """The folder of the checkpoints of the step `name`, which is deleted when the step is done."""
    return run.folder / "checkpoints" / name


def proposal_directory(run: Run, name: str, split: str) -> pathlib.Path:
    """The proposals of the step `name` for the "train" or "val" set, or for the "mirrored" training set."""
    return run.folder / "proposals" / name / split


def mirrors_proposals(run: Run) -> bool:
    """Whether the run makes proposals on mirrored pictures, too; joint training stores no proposals."""
    return isinstance(run.options, AlternationOptions) and run.options.mirrored_proposals


def detection_directory(run: Run, name: str) -> pathlib.Path:
    """The detections of the step `name` in the validation set."""
    return run.folder / "detections" / name
