"""From a specification of data to a checked data set: read the sources, join them, map the classes, check all."""

import importlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from keras_frcnn.data.example import Dataset
from keras_frcnn.data.sources.shared.annotations import Problems, SourcePictures, make_dataset
from keras_frcnn.data.sources.shared.class_map import map_classes, map_names, read_class_map
from keras_frcnn.data.sources.shared.split_by import Divided, Progress, divide, members_of, split_names
from keras_frcnn.data.sources.spec import ALL, DataSpec, Request, requests
from keras_frcnn.data.sources.table import SOURCES
from keras_frcnn.facts.errors import OWN_PACKAGES, InputError, first_names


def load_dataset(spec: DataSpec, split: str, exif: str = "auto", divided: Divided | None = None) -> Dataset:
    """Load one split of the data.

    Args:
      spec: what to read.
      split: name of the split.  Several names joined with `+` give one data set, e.g. `train+val`.
      exif: whether boxes refer to pictures with their EXIF orientation applied, see `annotations.make_dataset`.
      divided: the result of `divide_data` for this data, so that several splits need it only once; with None and
        `spec.split_by`, the data is divided here.

    Returns:
      The data set; its name is the data and the split, e.g. `voc:PATH train`.

    Raises:
      InputError: a kind of source is unknown, the class names are not valid, or a source cannot be read.
    """
    if spec.class_names is not None:
        check_class_names(spec.class_names)
    problems = Problems(spec.strict)
    read = read_pictures(spec, split, problems) if divided is None else members_of(divided, split, problems)
    names = spec.class_names or read.class_names or None  # not (): a class map may drop all declared classes
    return make_dataset(f"{spec.data} {split}", read.pictures, names, problems, exif, spec.max_pixels)


def read_pictures(spec: DataSpec, split: str, problems: Problems) -> SourcePictures:
    """The pictures of one split as their sources describe them, joined, with the classes mapped.

    With `spec.split_by`, the splits are those of `--split-by`.  Of several sources, each image id starts with the
    number of its source, e.g. `2/000001`.

    Raises:
      InputError: as in `load_dataset`.
    """
    if spec.split_by is None:
        return _read_sources(spec, split, problems)
    found = problems.another()
    divided = divide_data(spec, problems=found)
    problems.errors += found.errors
    return members_of(divided, split, problems)


def divide_data(spec: DataSpec, progress: Progress | None = None, problems: Problems | None = None) -> Divided:
    """Read all pictures of the data, and divide them as `spec.split_by` says.

    Args:
      spec: what to read; it has `split_by`.
      progress: shows how many pictures are compared.
      problems: counts the faults; None makes a new one.

    Raises:
      InputError: as in `load_dataset`, or the data cannot be divided, see `split_by.divide`.
    """
    assert spec.split_by is not None
    split_names(spec.split_by)  # a mistake in the option is found before the data is read
    problems = problems or Problems(spec.strict)
    read = _read_sources(spec, ALL, problems)
    return Divided(read, problems.by_kind(), divide(spec, read, _own_splits(spec), progress))


def dataset_splits(spec: DataSpec) -> tuple[str, ...]:
    """The names of the splits: those of `--split-by`, or those that all sources have, in the order of the first source.

    Raises:
      InputError: as in `load_dataset`.
    """
    return _own_splits(spec) if spec.split_by is None else split_names(spec.split_by)


def _own_splits(spec: DataSpec) -> tuple[str, ...]:
    """The names of the splits that all sources of the data have, in the order of the first source."""
    found = [_module(request).splits(request) for request in requests(spec, ALL)]
    return tuple(name for name in found[0] if all(name in names for names in found))


def _read_sources(spec: DataSpec, split: str, problems: Problems) -> SourcePictures:
    """The pictures of a split that the sources have."""
    renamed = None if spec.class_map is None else read_class_map(spec.class_map)
    asked = requests(spec, split)
    parts = [_module(request).read(request, problems) for request in asked]
    if len(parts) > 1:
        parts = [_numbered(part, number) for number, part in enumerate(parts, start=1)]
    pictures = tuple(picture for part in parts for picture in part.pictures)
    names = _joined_names(parts)
    if renamed is not None:
        pictures = map_classes(pictures, names, renamed, problems)
        names = None if names is None else map_names(names, renamed)
    return SourcePictures(pictures, names)


def describe_problems(dataset: Dataset) -> list[str]:
    """One line for each kind of repaired fault: how often it occurs, and the first files that have it."""
    lines = []
    for kind, files in dataset.problems.items():
        names = [Path(file).name for file in Counter(files)]  # a Counter keeps each file once, in order
        lines.append(f"{dataset.name}: {kind}: {len(files)} in {first_names(names)}")
    return lines


def _module(request: Request) -> ModuleType:
    """The module of the source, with the functions that table.py describes."""
    try:
        return importlib.import_module(SOURCES[request.kind].module)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in OWN_PACKAGES:
            raise
        problem = f"needs the package {package}, which is not installed"
        raise InputError(request.where, problem, "pip install 'keras-frcnn[data]'") from None


def _numbered(part: SourcePictures, number: int) -> SourcePictures:
    """The pictures with the number of their source in front of each image id."""
    pictures = (picture._replace(image_id=f"{number}/{picture.image_id}") for picture in part.pictures)
    return part._replace(pictures=tuple(pictures))


def _joined_names(parts: Sequence[SourcePictures]) -> tuple[str, ...] | None:
    """The class names that the sources declare, then the sorted names of objects in sources that declare none."""
    declared = dict.fromkeys(name for part in parts for name in part.class_names or ())
    if not declared:
        return None
    undeclared = {
        annotated.class_name
        for part in parts
        if part.class_names is None
        for picture in part.pictures
        for annotated in picture.objects
    }
    return (*declared, *sorted(undeclared - declared.keys()))


def check_class_names(class_names: Sequence[str]) -> None:
    """Raise InputError unless the class names are a sequence of unique, non-empty strings."""
    where = "class names"
    if isinstance(class_names, str) or not class_names or not all(class_names):
        raise InputError(where, f"expected a list of non-empty names (got {class_names!r})", "name at least one class")
    repeated = [name for name, count in Counter(class_names).items() if count > 1]
    if repeated:
        raise InputError(where, f"{', '.join(sorted(repeated))} occurs more than once", "name each class once")
