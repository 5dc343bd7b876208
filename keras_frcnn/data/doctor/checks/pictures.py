"""Checks of the picture files: unreadable ones, and the same picture in several places."""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path

from keras_frcnn.data.doctor import findings
from keras_frcnn.data.doctor.checks.decoding import PictureFacts
from keras_frcnn.data.doctor.findings import Finding, in_files
from keras_frcnn.data.example import Dataset
from keras_frcnn.data.pictures.near_duplicates import near_duplicate_groups

_SHOWN = 3  # groups of copies in a line, and files of each group


def decoding_findings(facts: Iterable[PictureFacts]) -> list[Finding]:
    """Files that cannot be decoded."""
    faulty = [fact for fact in facts if fact.fault]
    broken = [fact for fact in faulty if not fact.truncated]
    return [
        *in_files(findings.TRUNCATED, [fact.path for fact in faulty if fact.truncated]),
        *in_files(findings.UNREADABLE, [fact.path for fact in broken], broken[0].fault if broken else ""),
    ]


def id_findings(datasets: Mapping[str, Dataset]) -> list[Finding]:
    """Pictures that are in two splits, and image ids of different pictures that clash.

    Files made for a picture are named after its id.  On some file systems, upper and lower case are the same.
    """
    splits, paths = defaultdict(list), defaultdict(set)
    for split, dataset in datasets.items():
        for example in dataset.examples:
            splits[example.image_path].append(split)
            paths[example.image_id.replace("/", "_").casefold()].add(example.image_path)
    shared = {path: names for path, names in splits.items() if len(set(names)) > 1}
    clashing = [sorted(group) for group in paths.values() if len(group) > 1]
    pairs = dict.fromkeys(" and ".join(dict.fromkeys(names)) for names in shared.values())
    return [
        *in_files(findings.IN_TWO_SPLITS, list(shared), "; ".join(pairs)),
        *_of_groups(findings.ID_CLASH, clashing, _first_split(datasets)),
    ]


def copy_findings(datasets: Mapping[str, Dataset], facts: Sequence[PictureFacts]) -> list[Finding]:
    """Exact copies, and near-duplicates in different splits.

    Pictures that near_duplicates.py puts into one group show nearly the same.  Every file counts in the first split
    that has it.
    """
    split_of = _first_split(datasets)
    exact = _grouped((fact.path, fact.digest) for fact in facts if fact.digest)
    decoded = [fact for fact in facts if fact.hash is not None]
    labels = near_duplicate_groups([fact.hash for fact in decoded if fact.hash is not None]).tolist()
    # Of exact copies, only the first takes part in the search for near-duplicates.
    copies = {path for group in exact for path in group[1:]}
    near = _grouped((fact.path, label) for fact, label in zip(decoded, labels, strict=True) if fact.path not in copies)
    across = [group for group in exact if len({split_of[path] for path in group}) > 1]
    leaks = [group for group in near if len({split_of[path] for path in group}) > 1]
    return [
        *_of_groups(findings.EXACT_COPY, across, split_of),
        *_of_groups(findings.NEAR_DUPLICATE, leaks, split_of),
        *_of_groups(findings.COPY_IN_SPLIT, [group for group in exact if group not in across], split_of),
    ]


def _first_split(datasets: Mapping[str, Dataset]) -> dict[str, str]:
    """The first split that has each picture file."""
    split_of: dict[str, str] = {}
    for split, dataset in datasets.items():
        for example in dataset.examples:
            split_of.setdefault(example.image_path, split)
    return split_of


def _grouped(keyed: Iterable[tuple[str, Hashable]]) -> list[list[str]]:
    """The paths that share a key, two or more at a time, in order."""
    groups = defaultdict(list)
    for path, key in keyed:
        groups[key].append(path)
    return [group for group in groups.values() if len(group) > 1]


def _of_groups(kind: findings.Kind, groups: Sequence[Sequence[str]], split_of: Mapping[str, str]) -> list[Finding]:
    """The finding of groups of files that belong together; the count is that of the groups."""
    if not groups:
        return []
    shown = [" = ".join(f"{Path(path).name} in {split_of[path]}" for path in group[:_SHOWN]) for group in groups]
    detail = "; ".join(shown[:_SHOWN])
    return [Finding(kind, len(groups), tuple(path for group in groups for path in group), detail)]
