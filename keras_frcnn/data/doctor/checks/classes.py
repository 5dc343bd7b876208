"""Checks of the class names, and of which classes each split has."""

import re
from collections.abc import Mapping, Sequence

from keras_frcnn.data.doctor import findings
from keras_frcnn.data.doctor.checks.counts import SplitCounts
from keras_frcnn.data.doctor.findings import Finding

FEW_OBJECTS = 10  # a class with fewer in the first split is rare

_BACKGROUND = {"background", "bg", "none", "nothing"}  # after `_plain`
_SHORTEST_PLURAL = 4  # letters: "as" is not a plural of "a"


def class_findings(counts: Sequence[SplitCounts]) -> list[Finding]:
    """Variants of one name, names of the background, classes that a split lacks, and rare classes.

    The first split is taken as the one to train on.
    """
    names = list(dict.fromkeys(name for split in counts for name in split.objects))
    found = []
    variants = name_variants(names)
    if variants:
        detail = "; ".join(" / ".join(map(repr, group)) for group in variants)
        found.append(Finding(findings.CLASS_VARIANTS, len(variants), detail=detail))
    background = [name for name in names if _plain(name) in _BACKGROUND]
    if background:
        found.append(Finding(findings.BACKGROUND_CLASS, len(background), detail=", ".join(map(repr, background))))
    first, *later = counts
    for split in later:
        new = [name for name, count in split.objects.items() if count and not first.objects.get(name)]
        absent = [name for name, count in first.objects.items() if count and not split.objects.get(name)]
        if new:
            detail = f"{', '.join(new)}: in {split.name}, not in {first.name}"
            found.append(Finding(findings.ONLY_IN_LATER_SPLIT, len(new), detail=detail))
        if absent:
            detail = f"{', '.join(absent)}: in {first.name}, not in {split.name}"
            found.append(Finding(findings.ABSENT_CLASS, len(absent), detail=detail))
    rare = {name: count for name, count in first.objects.items() if count < FEW_OBJECTS}
    if rare:
        found.append(Finding(findings.RARE_CLASS, len(rare), detail=f"{_listed(rare)} in {first.name}"))
    return found


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def name_variants(names: Sequence[str]) -> list[tuple[str, ...]]:
    """Groups of names that differ only in case, spaces, hyphens, underscores, dots or the plural, in order."""
    groups: list[list[str]] = []
    for name in names:
        forms = _forms(name)
        alike = next((group for group in groups if any(forms & _forms(other) for other in group)), None)
        if alike is None:
            groups.append([name])
        else:
            alike.append(name)
    return [tuple(group) for group in groups if len(group) > 1]


def _plain(name: str) -> str:
    """A name in lower case, without spaces, hyphens, underscores and dots."""
    return re.sub(r"[\s_.-]+", "", name.casefold()) or name


def _forms(name: str) -> set[str]:
    """The plain form of a name, and the words of which it may be the plural."""
    plain = _plain(name)
    forms = {plain}
    if len(plain) >= _SHORTEST_PLURAL and plain.endswith("s") and not plain.endswith("ss"):
        forms.add(plain[:-1])
        if plain.endswith("ies"):
            forms.add(f"{plain[:-3]}y")
        elif re.search(r"(s|x|z|ch|sh|o)es$", plain):
            forms.add(plain[:-2])
    return forms
