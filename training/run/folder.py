"""The run folder: what a training run leaves behind, and what it needs to resume.

config.json          every option of the run and the detector's configuration, in the form that --config reads
labels.json          the label map, {"1": "name", ...}
weights/stepN.npz    the parts that step N trained, written when the step is done
checkpoints/stepN/   the last states of the step that is in training
features/            backbone features of steps 3 and 4, deleted at the end
proposals/stepN/     stored proposals of the RPN of step N, one file a picture
detections/stepN/    what the detector of step N finds, one file a picture
evaluation/          stepN.rpn.json or stepN.detector.json, pictures/
logs/                TensorBoard, and train.log
model.keras          the detector, when all is done
report.html          what came of it
"""

import json
import pathlib
from collections.abc import Collection, Iterator, Sequence

import numpy as np

from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.files import PARTIAL, write_atomically, write_json


def _is_start(entry: pathlib.Path) -> bool:
    """Whether it is what a run leaves that was killed before it wrote config.json."""
    return entry.name == "labels.json" or entry.name.startswith(f".{PARTIAL}")


def _differences(old: dict, new: dict, prefix: str = "") -> Iterator[tuple[str, object, object]]:
    for key in sorted(old.keys() | new.keys()):
        a, b = old.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            yield from _differences(a, b, f"{prefix}{key}.")
        elif a != b:
            yield f"{prefix}{key}", a, b


def open_folder(
    folder: str | pathlib.Path,
    configuration: dict,
    class_names: Sequence[str],
    changeable: Collection[str] = (),
) -> pathlib.Path:
    """Make the run folder, or open the one that is there.

    `changeable` names the fields, e.g. "options.quiet", that may differ from those of config.json, which keeps its own.
    Raises InputError if the folder belongs to another configuration, and touches nothing in it then.
    """
    folder = pathlib.Path(folder)
    path = folder / "config.json"
    if folder.exists() and not folder.is_dir():
        raise InputError(folder, "is a file, not a run folder", "give another folder with --run")
    if folder.is_dir() and not path.is_file() and any(not _is_start(entry) for entry in folder.iterdir()):
        raise InputError(folder, "is not empty and holds no config.json of a run", "give another folder with --run")
    if path.is_file():
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError(path, f"is not JSON ({error})", "restore it, or give another folder with --run") from error
        # Through JSON, so that tuples and lists compare equal.
        for field, old, new in _differences(stored, json.loads(json.dumps(configuration))):
            if field in changeable:
                continue
            raise InputError(
                f"{path}, field {field}",
                f"this run was started with {old!r}, now it is {new!r}",
                "give the same options to resume it, or another folder with --run",
            )
    else:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(folder, f"cannot be made ({error})", "give another folder with --run") from error
        write_json(folder / "labels.json", {str(i): name for i, name in enumerate(class_names, 1)})
        write_json(path, configuration)
    return folder


def weights_path(folder, name: str) -> pathlib.Path:
    """Where the weights of the training `name` are; there only when it is done."""
    return pathlib.Path(folder) / "weights" / f"{name}.npz"


def save_parts(path, model, parts):
    """Store all variables of the model's `parts`, keyed `part/layer/variable`."""
    values = {f"{part}/{key}": value.numpy() for part in parts for key, value in _variables(getattr(model, part))}
    write_atomically(path, lambda temporary: np.savez(temporary, **values))


def load_part(path, model, part: str):
    """Give one part of the model the values that `save_parts` stored."""
    with np.load(path, allow_pickle=False) as stored:
        for key, variable in _variables(getattr(model, part)):
            variable.assign(stored[f"{part}/{key}"])


def _variables(layer):
    # A variable's path is "<layer>/.../<name>", with or without the names of the layers around it.
    return [("/".join(variable.path.split("/")[-2:]), variable) for variable in layer.variables]
