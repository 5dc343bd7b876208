"""Which splits of a data set are examined, and in which order."""

from collections.abc import Iterable, Mapping

from keras_frcnn.data.doctor import findings
from keras_frcnn.data.doctor.findings import Finding
from keras_frcnn.data.example import Dataset


def training_first(names: Iterable[str]) -> list[str]:
    """The names with those of training splits first; otherwise the order stays."""
    return sorted(names, key=lambda name: not name.rpartition("/")[2].startswith("train"))


def without_unions(datasets: Mapping[str, Dataset]) -> tuple[dict[str, Dataset], list[Finding]]:
    """Leave out splits whose pictures are exactly those of two or more smaller splits, such as VOC's trainval.

    Returns:
      The other splits, and a note that names those that are left out.
    """
    pictures = {name: {example.image_path for example in dataset.examples} for name, dataset in datasets.items()}
    unions = []
    for name, own in pictures.items():
        parts = [other for other in pictures.values() if other < own]
        if len(parts) > 1 and set().union(*parts) == own:
            unions.append(name)
    found = [Finding(findings.UNION_SPLIT, len(unions), detail=", ".join(unions))] if unions else []
    return {name: dataset for name, dataset in datasets.items() if name not in unions}, found
