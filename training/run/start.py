"""One run: its folder, data, configuration and model.

Everything here resumes from what the run folder holds.  On several machines every process calls the same functions in
the same order; only the chief writes and prints.
"""

import contextlib
import fcntl
import hashlib
import pathlib
from typing import NamedTuple

from keras_frcnn.facts.config import DetectorConfig
from keras_frcnn.data.example import Dataset
from keras_frcnn.data.sources.table import describe_problems, load_dataset
from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.files import remove_halves
from keras_frcnn.network.model import FasterRCNN
from keras_frcnn.network.weights.pretrained import PretrainedVGG16, apply_pretrained, load_pretrained
from keras_frcnn.network.weights.warm_start import TrainedDetector, read_detector, warm_start
from training.run.fingerprint import fingerprint
from training.engine.distribution import is_chief, wait_for_all
from training.stores.features import FeatureCache
from training.run.folder import open_folder
from training.run.options import TrainingOptions, changeable_fields, to_configuration

Start = TrainedDetector | PretrainedVGG16 | None  # what a training starts from


class Run(NamedTuple):
    """What stays the same through a run."""

    folder: pathlib.Path
    options: TrainingOptions
    config: DetectorConfig
    train_set: Dataset
    val_set: Dataset


def read_data(options: TrainingOptions) -> tuple[Dataset, Dataset]:
    """The training and the validation set; raises InputError."""
    train_set = load_dataset(options.data, options.train, options.class_names, options.strict)
    return train_set, load_dataset(options.data, options.val, train_set.class_names, options.strict)


def open_run(options: TrainingOptions, train_set: Dataset, val_set: Dataset) -> Run:
    """Create the run folder, or check that the one that exists has these options and this data; raises InputError."""
    if not is_chief():
        wait_for_all()  # the chief makes the folder
    data = fingerprint(train_set, val_set)
    folder = open_folder(options.run, to_configuration(options), data, changeable_fields(options))
    if is_chief():
        wait_for_all()
    for line in describe_problems(train_set) + describe_problems(val_set):
        print(line)
    print(
        f"{len(train_set.examples)} pictures to train on, {len(val_set.examples)} to measure on, "
        f"{len(train_set.class_names)} classes: {', '.join(train_set.class_names)}"
    )
    return Run(folder, options, options.detector, train_set, val_set)


def say(folder: pathlib.Path, text: str):
    """Print, and keep in logs/train.log."""
    print(text, flush=True)
    if is_chief():
        logs = folder / "logs"
        logs.mkdir(exist_ok=True)
        with open(logs / "train.log", "a", encoding="utf-8") as log_file:
            log_file.write(f"{text}\n")


@contextlib.contextmanager
def locked(folder):
    """Keep other processes from working in the run folder; the system lets go of it however this one ends.

    Raises InputError where another process has it.
    """
    if not is_chief():
        yield
        return
    with open(pathlib.Path(folder) / "lock", "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            mend = "wait for it, or give another folder with --run"
            raise InputError(folder, "another process is training in this run folder", mend) from error
        remove_halves(folder)
        yield


def load_start(source: str) -> Start:
    """What `--weights` names: a finished run's detector, VGG16, or nothing; raises InputError."""
    return read_detector(source) if pathlib.Path(source).is_dir() else load_pretrained(source)


def new_model(run: Run, start: Start) -> FasterRCNN:
    """A model in float32 as training starts: weights of `start` where it has them, else new ones of the run's seed."""
    model = FasterRCNN(run.config, run.train_set.class_names, seed=run.options.seed)
    if isinstance(start, TrainedDetector):
        warm_start(model, start)
    elif start is not None:
        apply_pretrained(model, start)
    return model


def feature_cache(run: Run, model: FasterRCNN) -> FeatureCache | None:
    """Where features of the model's backbone, which does not change, are stored; None where nothing is to be stored."""
    if run.options.feature_cache_gib == 0:
        return None
    budget = int(run.options.feature_cache_gib * 2**30)
    return FeatureCache(feature_folder(run), model, budget, run.options.feature_cache_dtype)


def feature_folder(run: Run) -> pathlib.Path:
    """In the run folder, or a folder of this run's own in the one given."""
    given = run.options.feature_cache_folder
    if given is None:
        return run.folder / "features"
    stamp = hashlib.sha256(str(run.folder.resolve()).encode()).hexdigest()[:8]
    return pathlib.Path(given) / f"{run.folder.resolve().name}-{stamp}"


def proposal_directory(run: Run, name: str, split: str) -> pathlib.Path:
    return run.folder / "proposals" / name / split
