"""One run: its folder, data, configuration and model.

Everything here goes on from where the run folder stands.  On several machines every process calls the same functions in
the same order; the chief alone writes and prints.
"""

import contextlib
import dataclasses
import fcntl
import hashlib
import math
import pathlib
from typing import NamedTuple

from keras_frcnn.facts.config import DetectorConfig, config_to_dict
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

# Options that change no result, and may be others when a run goes on.
CHANGEABLE = (
    "run", "feature_cache_gib", "feature_cache_folder", "checkpoint_steps", "checkpoint_minutes", "checkpoints", "quiet"
)  # fmt: skip


Start = TrainedDetector | PretrainedVGG16 | None  # what a training starts from


class Run(NamedTuple):
    """What stays the same through a run."""

    folder: pathlib.Path
    options: object  # argparse.Namespace
    config: DetectorConfig
    train_set: Dataset
    val_set: Dataset


def read_data(options) -> tuple[Dataset, Dataset]:
    """The training and the validation set; raises InputError."""
    train_set = load_dataset(options.data, options.train, options.class_names, options.strict)
    return train_set, load_dataset(options.data, options.val, train_set.class_names, options.strict)


def open_run(options, train_set: Dataset, val_set: Dataset) -> Run:
    """Create the run folder, or check that the one that exists has these options and this data; raises InputError."""
    config = detector_config(options)
    plain = {name: value for name, value in vars(options).items() if name not in CHANGEABLE}
    configuration = {"options": plain, "detector": config_to_dict(config)}
    if not is_chief():
        wait_for_all()  # the chief makes the folder
    folder = open_folder(options.run, configuration, fingerprint(train_set, val_set))
    if is_chief():
        wait_for_all()
    for line in describe_problems(train_set) + describe_problems(val_set):
        print(line)
    print(
        f"{len(train_set.examples)} pictures to train on, {len(val_set.examples)} to measure on, "
        f"{len(train_set.class_names)} classes: {', '.join(train_set.class_names)}"
    )
    return Run(folder, options, config, train_set, val_set)


def say(folder: pathlib.Path, text: str):
    """Print, and keep in logs/train.log."""
    print(text, flush=True)
    if is_chief():
        logs = folder / "logs"
        logs.mkdir(exist_ok=True)
        with open(logs / "train.log", "a", encoding="utf-8") as log_file:
            log_file.write(f"{text}\n")


def check_numbers(options):
    """Raise InputError for the first option whose numbers make no sense; a number that is no number never does."""
    positive = (lambda x: 0 < x < math.inf, "numbers over 0")
    share = (lambda x: 0 <= x < 1, "a number from 0, under 1")
    part = (lambda x: 0 < x <= 1, "a number over 0, at most 1")
    not_negative = (lambda x: 0 <= x < math.inf, "a number from 0")
    rules = {
        **dict.fromkeys(("steps", "images", "rpn_images", "head_images", "rois", "fc_units", "accumulate"), positive),
        **dict.fromkeys(("short_side", "long_side", "min_size", "anchor_scales", "anchor_ratios"), positive),
        **dict.fromkeys(("learning_rate", "clip_norm"), positive),
        **dict.fromkeys(("checkpoint_steps", "checkpoint_minutes", "checkpoints"), positive),
        **dict.fromkeys(("momentum", "dropout"), share),
        **dict.fromkeys(("nms_iou", "drop_at"), part),
        **dict.fromkeys(("weight_decay", "warmup", "feature_cache_gib"), not_negative),
        "seed": (lambda x: 0 <= x < 2**28, "a whole number from 0, under 2**28"),
    }
    for name, (holds, wanted) in rules.items():
        value = getattr(options, name, None)  # an option of the other command line is not there
        numbers = value if isinstance(value, list | tuple) else [] if value is None else [value]
        if not all(holds(number) for number in numbers):
            raise InputError(f"--{name.replace('_', '-')} {value}", "makes no sense", f"give {wanted}")


def detector_config(options) -> DetectorConfig:
    """The paper's configuration with what the options change."""
    given = {
        "image": {"short_side": options.short_side, "long_side": options.long_side},
        "anchors": {"scales": options.anchor_scales, "ratios": options.anchor_ratios},
        "rpn": {"min_size": options.min_size},
        "head": {"batch_size": options.rois, "fc_units": options.fc_units, "dropout": options.dropout},
        "test": {"nms_iou": options.nms_iou},
    }
    paper = DetectorConfig()
    sections = {}
    for section, fields in given.items():
        changed = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in fields.items()
            if value is not None
        }
        sections[section] = dataclasses.replace(getattr(paper, section), **changed)
    return dataclasses.replace(paper, **sections)


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
