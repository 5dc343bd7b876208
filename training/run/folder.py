"""The run folder: the files of a training run, from which it can resume.

config.json          every option of the run and the detector's configuration, in the form that --config reads
labels.json          the label map, {"1": "name", ...}
plan.json            with --plan auto or a plan file: what was chosen, why, and the forecast
budget.json          with a budget: the time that was spent, and the iterations of each step
data.json            the fingerprint of the data: class names, and a digest of each image's annotation
start.json           a digest of the starting weights
splits.json          with --split-by: the image ids of each split
weights/stepN.npz    the parts that step N trained, written at the end of the step
weights/stepN.*.npz  with validations: stepN.best.npz, or with --keep best stepN.last.npz, where they are other weights
checkpoints/stepN/   the last states of the step in training, and begun.json: mini-batches per iteration, and sources
checkpoints/stepN/*  with validations: validation.json, the scores, and best-I.npz, the best weights, of iteration I
features/            backbone features of steps 3 and 4, deleted at the end of the run
proposals/stepN/     stored proposals of the RPN of step N, one file for each image
detections/stepN/    detections of the detector of step N, one file for each image
evaluation/          stepN.rpn.json or stepN.detector.json, pictures/
logs/                TensorBoard, train.log, and stepN.json: what step N started from, its iterations and time
model.keras          the finished detector
report.html          the report
lock                 locked while a process trains in this folder

Joint training has one step, "joint" instead of "stepN".
"""

import hashlib
import json
import pathlib
import shutil
import zipfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.files import PARTIAL, read_json, read_known, write_atomically, write_json
from keras_frcnn.network.model import FasterRCNN
from training.run.data.fingerprint import describe_changes
from training.run.planning.forecast import PLAN_FILE

_RESTORE = "restore it from a backup, or give another folder with --run"


def open_folder(
    folder: str | pathlib.Path, configuration: dict, data: dict, changeable: Collection[str] = ()
) -> pathlib.Path:
    """Create the run folder, or check that the one that exists belongs to this configuration and data.

    Args:
      folder: the run folder; it may be missing or empty.
      configuration: JSON values for config.json.
      data: the `fingerprint` of the two data sets.
      changeable: the fields, such as "options.quiet", that may differ from those of config.json, which keeps its own.

    Raises:
      InputError: the folder holds something else, another configuration or other data, or a file of it is damaged;
        nothing in it is changed then.
    """
    folder = pathlib.Path(folder)
    if (folder / "config.json").is_file():
        _check_configuration(folder / "config.json", configuration, changeable)
        _check_data(folder / "data.json", data)
        _check_labels(folder / "labels.json", data)
        return folder
    check_new(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(folder, f"cannot be created ({error})", "give another folder with --run") from error
    write_json(folder / "labels.json", _labels(data))
    write_json(folder / "data.json", data)
    write_json(folder / "config.json", configuration)  # last: it marks the folder as a run's
    return folder


def check_new(folder: pathlib.Path) -> None:
    """Raise InputError if a new run cannot have this folder: it must be missing, empty, or the start of a run."""
    if folder.exists() and not folder.is_dir():
        raise InputError(folder, "is a file, not a run folder", "give another folder with --run")
    if folder.is_dir() and any(not _is_start(entry) for entry in folder.iterdir()):
        raise InputError(folder, "is not empty and holds no config.json of a run", "give another folder with --run")


def keep_plan(folder: pathlib.Path, values: dict[str, Any]) -> None:
    """Write the plan of a new run, before `open_folder` makes the folder a run's.

    Raises InputError if it cannot be written, or if another process has started a run in this folder meanwhile.
    """
    if (folder / "config.json").exists():
        fix = "give the same command again to resume it, or another folder with --run"
        raise InputError(folder, "another process has started a run in it while this one made its plan", fix)
    try:
        write_json(folder / PLAN_FILE, values)
    except OSError as error:
        problem = f"cannot be written ({error.strerror or error})"
        raise InputError(folder / PLAN_FILE, problem, "give another folder with --run") from error


def _is_start(entry: pathlib.Path) -> bool:
    """Whether a run that was killed before it wrote config.json may have left this file."""
    return entry.name in ("labels.json", "data.json", PLAN_FILE) or entry.name.startswith(f".{PARTIAL}")


def _check_configuration(path: pathlib.Path, configuration: dict, changeable: Collection[str]) -> None:
    # Through JSON, so that tuples and lists compare equal.
    for field, old, new in _differences(_read_object(path), json.loads(json.dumps(configuration))):
        if field not in changeable:
            raise InputError(
                f"{path}, field {field}",
                f"this run was started with {old!r}, now it is {new!r}",
                "give the same options to resume it, or another folder with --run",
            )


def _differences(old: dict, new: dict, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Each field that differs, as (name with dots, old value, new value)."""
    for key in sorted(old.keys() | new.keys()):
        a, b = old.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            yield from _differences(a, b, f"{prefix}{key}.")
        elif a != b:
            yield f"{prefix}{key}", a, b


def _check_data(path: pathlib.Path, data: dict) -> None:
    stored = _read_object(path)
    if {key: type(value) for key, value in stored.items()} != {key: type(value) for key, value in data.items()}:
        raise InputError(path, "does not describe the data of a run", _RESTORE)
    changes = describe_changes(stored, data)
    if changes:
        raise InputError(
            path,
            f"the data changed since this run was started: {', '.join(changes)}",
            "restore the data, or give another folder with --run",
        )


def _check_labels(path: pathlib.Path, data: dict) -> None:
    if not path.is_file():
        write_json(path, _labels(data))
    elif _read_object(path) != _labels(data):
        raise InputError(
            path,
            "its class names are not those of data.json, with which this run was started",
            "delete it: the next start writes it again",
        )


def _labels(data: dict) -> dict[str, str]:
    """The label map of a run's data: class number as text -> class name."""
    return {str(number): name for number, name in enumerate(data["class_names"], start=1)}


def _read_object(path: pathlib.Path) -> dict:
    """The JSON object in a file of the run folder."""
    try:
        value = read_json(path)
    except FileNotFoundError as error:
        raise InputError(path, "is missing", _RESTORE) from error
    except ValueError as error:
        raise InputError(path, f"is not JSON ({error})", _RESTORE) from error
    if not isinstance(value, dict):
        raise InputError(path, "is not a JSON object", _RESTORE)
    return value


def bind_to_start(folder: pathlib.Path, digest: str) -> None:
    """Note the `digest` of the starting weights in a new run, or compare it with that of the run that is resumed.

    Later steps start from these weights again.  Raises InputError if they have changed, or if start.json is damaged.
    """
    path = folder / "start.json"
    if not path.is_file():  # a new run, or one of a version that did not write it
        write_json(path, {"weights": digest})
    elif read_known(path, lambda stored: stored["weights"], "delete it if the weights are still the same") != digest:
        fix = "give the same weights to resume, or another folder with --run"
        raise InputError(path, "the content of --weights has changed since this run was started", fix)


def weights_path(folder: str | pathlib.Path, name: str) -> pathlib.Path:
    """The file with the weights of the step `name`; it exists only if the step is done."""
    return pathlib.Path(folder) / "weights" / f"{name}.npz"


def save_parts(path: pathlib.Path, model: FasterRCNN, parts: Iterable[str]) -> None:
    """Store all variables of some parts of the model, keyed `part/layer/variable`."""
    values = {f"{part}/{key}": value.numpy() for part in parts for key, value in _variables(getattr(model, part))}
    write_atomically(path, lambda temporary: np.savez(temporary, **values))


def load_part(path: pathlib.Path, model: FasterRCNN, part: str) -> None:
    """Give one part of the model the values that `save_parts` stored.

    Raises InputError if the file is damaged; the part is not changed then.
    """
    variables = _variables(getattr(model, part))
    try:
        with np.load(path, allow_pickle=False) as stored:
            values = [stored[f"{part}/{key}"] for key, _ in variables]
        if any(value.shape != tuple(variable.shape) for value, (_, variable) in zip(values, variables, strict=True)):
            raise ValueError("weights of another shape")
    except Exception as error:  # NumPy raises errors of many classes for damaged files
        raise _damaged(path, error) from error
    for value, (_, variable) in zip(values, variables, strict=True):
        variable.assign(value)


def weights_digest(path: pathlib.Path) -> str:
    """A digest of stored weights, made of the checksums in the file, which is faster than reading it.

    Raises InputError if the file is damaged.
    """
    try:
        with zipfile.ZipFile(path) as stored:
            checksums = sorted((entry.filename, entry.CRC) for entry in stored.infolist())
    except (OSError, zipfile.BadZipFile) as error:
        raise _damaged(path, error) from error
    return hashlib.sha256(json.dumps(checksums).encode()).hexdigest()


def source_digests(folder: pathlib.Path, names: Iterable[str]) -> dict[str, str]:
    """The digests of the weights of some steps, by their names."""
    return {name: weights_digest(weights_path(folder, name)) for name in names}


def check_sources(folder: pathlib.Path, names: Sequence[str]) -> None:
    """Raise InputError if a finished step started from weights of an earlier one that are gone or changed since.

    `names` are those of all steps, in order.
    """
    for place, name in enumerate(names):
        path = weights_path(folder, name)
        for source, digest in (_recorded_sources(folder, name) if path.is_file() else {}).items():
            earlier = weights_path(folder, source)
            if earlier.is_file() and weights_digest(earlier) == digest:
                continue
            stale = [later for later in names[place:] if weights_path(folder, later).is_file()]
            change = "has changed" if earlier.is_file() else "is gone"
            files = " and ".join(f"weights/{later}.npz" for later in stale)
            fix = f"restore {earlier.name} from a backup, or delete {files} to train them again"
            raise InputError(path, f"was trained after {earlier.name}, which {change} since", fix)


def _recorded_sources(folder: pathlib.Path, name: str) -> dict[str, str]:
    """The digests of the weights that a finished step started from; none if an older version trained it."""
    try:
        return dict(read_json(folder / "logs" / f"{name}.json")["sources"])
    except (OSError, ValueError, LookupError, TypeError):  # measuring names a damaged file if it needs the file
        return {}


def forget_results(folder: pathlib.Path, name: str) -> None:
    """Delete what was made of the weights of the step `name`, and the detector and the report at the end of the run."""
    for directory in ("proposals", "detections"):
        shutil.rmtree(folder / directory / name, ignore_errors=True)
    for path in (*(folder / "evaluation").glob(f"{name}.*.json"), folder / "model.keras", folder / "report.html"):
        path.unlink(missing_ok=True)


def _damaged(path: pathlib.Path, error: Exception) -> InputError:
    fix = "restore it from a backup, or delete it and the weights of the later steps to train them again"
    return InputError(path, f"does not hold the weights of a step ({error})"[:300], fix)


def _variables(layer: keras.Layer) -> list[tuple[str, keras.Variable]]:
    # A variable's path ends in "<layer>/<name>"; the names of outer layers may precede them.
    return [("/".join(variable.path.split("/")[-2:]), variable) for variable in layer.variables]
