"""COCO data sets: which JSON files a folder holds, and where their pictures are.

Layouts:

    annotations/instances_train2017.json, train2017/*.jpg   COCO; pictures may also lie in images/ or images/train2017/
    train/_annotations.coco.json, train/*.jpg               Roboflow's export
    train.json, val.json, images/*.jpg                      JSON files in the folder itself
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from keras_frcnn.data.sources.coco.instances import read_instances
from keras_frcnn.data.sources.shared.annotations import Problems, SourcePictures
from keras_frcnn.data.sources.shared.picture_folders import PictureFolders
from keras_frcnn.data.sources.shared.split_names import chosen_splits, joined, short_name
from keras_frcnn.data.sources.spec import ALL, Request
from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.files import user_path

_ROBOFLOW = "_annotations.coco.json"
_INSTANCES = "instances_"
_AROUND_SPLIT = re.compile(r"^_?(instances|annotations|coco)([_.-]|$)|[_.-](instances|annotations|coco)$")


def read(request: Request, problems: Problems) -> SourcePictures:
    """Read one split of `coco:PATH`.

    PATH is a folder, or one JSON file, which has only the split `all`.  A split is the name in the file name, e.g.
    `train2017` of `instances_train2017.json`, or its short form `train`.  Image ids are the ids in the file as text;
    those of several splits have the name of the split before them.

    Raises:
      InputError: there is no PATH, it holds no JSON file, the split does not exist, or as in `read_instances`.
    """
    files = _files(request)
    parts = []
    for split in chosen_splits(request, tuple(files)):
        folders = PictureFolders(_picture_folders(files[split], request.images_root))
        parts.append((split, read_instances(files[split], folders, problems)))
    return joined(parts)


def splits(request: Request) -> tuple[str, ...]:
    """The splits of the folder, those for training first; none for one JSON file."""
    return tuple(name for name in _files(request) if name != ALL)


def _files(request: Request) -> dict[str, Path]:
    """The JSON file of each split."""
    if not request.argument:
        raise InputError("--data coco", "the path of the data set is missing", "use coco:FOLDER or coco:FILE.json")
    path = user_path(request.argument)
    if path.is_file():
        return {ALL: path}
    if not path.is_dir():
        raise InputError(path, "folder or file not found", "use a COCO folder or an instances JSON file")
    found = (
        {file.parent.name: file for file in path.glob(f"*/{_ROBOFLOW}")}
        or _by_split((path / "annotations").glob(f"{_INSTANCES}*.json"))
        or _by_split((path / "annotations").glob("*.json"))
        or _by_split(path.glob("*.json"))
    )
    if not found:
        fix = f"use a folder with annotations/{_INSTANCES}SPLIT.json, SPLIT/{_ROBOFLOW} or SPLIT.json"
        raise InputError(path, "holds no annotation files of COCO", fix)
    order = ("train", "val", "test")
    ranks = {name: order.index(short) if (short := short_name(name)) in order else len(order) for name in found}
    return {name: found[name] for name in sorted(found, key=lambda name: (ranks[name], name))}


def _by_split(files: Iterable[Path]) -> dict[str, Path]:
    """The files by the split in their names; a name without a split is `ALL`."""
    named: dict[str, Path] = {}
    for file in sorted(files):
        split = _split_in(file)
        if split in named:
            problem = f"{named[split].name} is a file of the same split {split}"
            raise InputError(file, problem, "move one of them, or use coco:FILE.json")
        named[split] = file
    return named


def _split_in(file: Path) -> str:
    """The split in a file name, e.g. `train2017` of `instances_train2017.json`."""
    name = file.name.removesuffix(".json")
    while (shorter := _AROUND_SPLIT.sub("", name)) != name:
        name = shorter
    return name or ALL


def _picture_folders(file: Path, images_root: str | None) -> Iterator[Path]:
    """Where the pictures of a file may lie, the likeliest folder first."""
    beside = [file.parent.parent, file.parent] if file.parent.name == "annotations" else [file.parent]
    for base in [user_path(images_root)] if images_root else beside:
        yield from (base / _split_in(file), base / "images" / _split_in(file), base / "images", base)
