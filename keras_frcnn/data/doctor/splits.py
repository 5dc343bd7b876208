"""Loading the splits that are examined: faults become findings, and the other pictures are examined all the same."""

from collections.abc import Iterable, Mapping, Sequence

from keras_frcnn.data.doctor import findings
from keras_frcnn.data.doctor.findings import Finding
from keras_frcnn.data.example import Dataset
from keras_frcnn.data.sources.loading import dataset_splits, read_pictures
from keras_frcnn.data.sources.shared.annotations import Problems, SourcePictures, make_dataset
from keras_frcnn.data.sources.spec import ALL, DataSpec
from keras_frcnn.facts.errors import InputError

_SHOWN_ERRORS = 3  # messages in a line


def load_splits(spec: DataSpec, names: Sequence[str] | None, exif: str) -> tuple[dict[str, Dataset], list[Finding]]:
    """Load splits of a data set, the one to train on first.

    Args:
      spec: what to read.
      names: the splits; None takes all that the data set has, or all pictures where it has no splits.  The ones that
        only join others, such as VOC's trainval, are then left out.
      exif: as in `make_dataset`.  What is decided for the first split holds for all, as in training.

    Returns:
      The splits by name, and what was found while they were read.

    Raises:
      InputError: a split cannot be read at all.
    """
    errors: list[InputError] = []
    datasets: dict[str, Dataset] = {}
    for name in names or _training_first(dataset_splits(spec)) or [ALL]:
        problems = Problems(spec.strict, keep_going=True)
        read = read_pictures(spec, name, problems)
        first = next(iter(datasets.values()), None)
        classes = spec.class_names or read.class_names or _names_of(read) or (first and first.class_names)
        policy = first.exif if first else exif
        datasets[name] = make_dataset(f"{spec.data} {name}", read.pictures, classes, problems, policy)
        errors += problems.errors
    found = _error_findings(errors)
    if names is None:
        datasets, unions = _without_unions(datasets)
        found += unions
    return datasets, found


def _names_of(read: SourcePictures) -> tuple[str, ...]:
    """The sorted class names of all objects."""
    return tuple(sorted({annotated.class_name for picture in read.pictures for annotated in picture.objects}))


def _error_findings(errors: Sequence[InputError]) -> list[Finding]:
    """What could not be read.  A message begins with the file and the place in it."""
    if not errors:
        return []
    messages = list(dict.fromkeys(map(str, errors)))
    files = tuple(dict.fromkeys(message.partition(": ")[0] for message in messages))
    detail = " | ".join(messages[:_SHOWN_ERRORS])
    return [Finding(findings.UNUSABLE, len(messages), files, detail)]


def _training_first(names: Iterable[str]) -> list[str]:
    """The names with those of training splits first; otherwise the order stays."""
    return sorted(names, key=lambda name: not name.rpartition("/")[2].startswith("train"))


def _without_unions(datasets: Mapping[str, Dataset]) -> tuple[dict[str, Dataset], list[Finding]]:
    """Leave out splits whose pictures are exactly those of two or more smaller splits, with a note that names them."""
    pictures = {name: {example.image_path for example in dataset.examples} for name, dataset in datasets.items()}
    unions = []
    for name, own in pictures.items():
        parts = [other for other in pictures.values() if other < own]
        if len(parts) > 1 and set().union(*parts) == own:
            unions.append(name)
    found = [Finding(findings.UNION_SPLIT, len(unions), detail=", ".join(unions))] if unions else []
    return {name: dataset for name, dataset in datasets.items() if name not in unions}, found
