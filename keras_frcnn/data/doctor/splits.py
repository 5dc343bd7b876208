"""Load the splits that are examined.  A picture that cannot be read becomes a finding, and the others are examined."""

from collections.abc import Iterable, Sequence

from keras_frcnn.data.doctor import findings
from keras_frcnn.data.doctor.findings import Finding
from keras_frcnn.data.example import Dataset
from keras_frcnn.data.sources.loading import check_class_names, dataset_splits, divide_data, read_pictures
from keras_frcnn.data.sources.shared.annotations import Problems, SourcePictures, make_dataset
from keras_frcnn.data.sources.shared.split_by import members_of
from keras_frcnn.data.sources.spec import ALL, DataSpec
from keras_frcnn.facts.errors import InputError

_SHOWN_ERRORS = 3  # messages in a line


def load_splits(spec: DataSpec, names: Sequence[str] | None, exif: str) -> tuple[dict[str, Dataset], list[Finding]]:
    """Load splits of a data set, the one to train on first.

    Args:
      spec: what to read.
      names: the splits; None takes all that the data set has, or all pictures where it has no splits.
      exif: as in `make_dataset`.  The decision for the first split holds for all splits, as in training.

    Returns:
      The splits by name, and what was found while they were read.

    Raises:
      InputError: a split cannot be read at all.
    """
    if spec.class_names is not None:
        check_class_names(spec.class_names)
    of_all = Problems(spec.strict, keep_going=True)
    divided = None if spec.split_by is None else divide_data(spec, problems=of_all)
    errors = of_all.errors
    datasets: dict[str, Dataset] = {}
    for name in names or _training_first(dataset_splits(spec)) or [ALL]:
        problems = Problems(spec.strict, keep_going=True)
        if divided is None:
            read = read_pictures(spec, name, problems)
        else:
            read = members_of(divided, name, problems)
        first = next(iter(datasets.values()), None)
        classes = spec.class_names or read.class_names or _names_of(read) or (first and first.class_names)
        policy = first.exif if first else exif
        datasets[name] = make_dataset(f"{spec.data} {name}", read.pictures, classes, problems, policy, spec.max_pixels)
        errors += problems.errors
    return datasets, _error_findings(errors)


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
