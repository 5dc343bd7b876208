"""What the doctor finds: the kinds of findings with their severity and their fix, and findings as text."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from keras_frcnn.facts.errors import first_names

ERROR, WARNING, NOTE = SEVERITIES = ("error", "warning", "note")


class Kind(NamedTuple):
    """One kind of finding."""

    name: str
    severity: str  # one of SEVERITIES
    fix: str


class Finding(NamedTuple):
    """One kind of finding in one data set."""

    kind: Kind
    occurrences: int
    files: tuple[str, ...] = ()  # that have it, each once, in order
    detail: str = ""  # what exactly, for example the names that differ
    fix: str = ""  # in place of the kind's, where the fix depends on the data

    @property
    def advice(self) -> str:
        return self.fix or self.kind.fix


# An error stops training, loses a picture or an object, or makes an evaluation wrong.
UNUSABLE = Kind("picture or annotation that cannot be read", ERROR, "fix each as its message says")
UNREADABLE = Kind("picture that cannot be decoded", ERROR, "replace the file, or remove its picture from the split")
TRUNCATED = Kind("truncated picture", ERROR, "copy the file again, or remove its picture from the split")
NO_AREA = Kind("box without area", ERROR, "correct the box or remove the object; training drops it")
OUTSIDE = Kind("box outside the picture", ERROR, "correct the box or remove the object; training drops it")
IN_TWO_SPLITS = Kind("picture in two splits", ERROR, "list the picture in one split only")
EXACT_COPY = Kind("exact copy in another split", ERROR, "remove one copy, or move both to one split")
ONLY_IN_LATER_SPLIT = Kind(
    "class that the first split lacks", ERROR, "add pictures of it to the first split, or correct the class name"
)

# A warning makes training or its results worse.
CLIPPED = Kind("box beyond the edge of the picture", WARNING, "correct the box; training clips it to the picture")
WRONG_SIZE = Kind(
    "stated size differs from the file", WARNING,
    "write the size of the file; if it is that of the turned picture, set --exif; check that the boxes fit",
)  # fmt: skip
OTHER_PICTURE = Kind("annotation names another picture", WARNING, "correct the file name in the annotation")
OTHER_FAULT = Kind("fault in an annotation", WARNING, "correct the annotation")
TINY = Kind(
    "box that is tiny after resizing", WARNING,
    "raise --short-side and --long-side, lower --min-size, or remove the object",
)  # fmt: skip
DUPLICATE_BOX = Kind("duplicate box", WARNING, "remove one of the two objects")
NEAR_DUPLICATE_BOX = Kind("two nearly identical boxes of one class", WARNING, "remove one of the two objects")
TWO_CLASSES = Kind("one box with two classes", WARNING, "decide for one of the two classes")
NEAR_DUPLICATE = Kind(
    "near-duplicate picture in another split", WARNING, "move both to one split, or split again with --split-by"
)
COPY_IN_SPLIT = Kind("exact copy in the same split", WARNING, "remove one copy")
ID_CLASH = Kind(
    "image ids that clash", WARNING, "rename one of the files: what is written for one picture replaces the other's"
)
CLASS_VARIANTS = Kind("class names that look like one class", WARNING, "write the name in one way everywhere")
BACKGROUND_CLASS = Kind(
    "class that is named like the background", WARNING,
    "the detector has a background of its own: drop the class with --class-map, or rename it if it is an object",
)  # fmt: skip
ABSENT_CLASS = Kind("class that a later split lacks", WARNING, "its AP is not measured there; add pictures of it")
POOR_COVERAGE = Kind(
    "class that the anchors miss", WARNING, "set --anchor-scales and --anchor-ratios, or raise --short-side"
)

# A note is worth knowing.
EMPTY = Kind("picture without objects", NOTE, "nothing to do if it shows none; it then trains the background")
EXIF_APPLIED = Kind(
    "picture with an EXIF orientation, applied", NOTE, "set --exif ignore if the boxes belong to the stored pixels"
)
EXIF_IGNORED = Kind(
    "picture with an EXIF orientation, ignored", NOTE, "set --exif apply if the boxes belong to the turned picture"
)
MAPPED_TO_NULL = Kind("object dropped by the class map", NOTE, "nothing to do if that is intended")
RARE_CLASS = Kind("class with few objects", NOTE, "add pictures of it")
BETTER_ANCHORS = Kind("other anchors fit better", NOTE, "set --anchor-scales and --anchor-ratios")


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """Errors first, then warnings, then notes; otherwise the order stays."""
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.kind.severity))


def has_errors(findings: Iterable[Finding]) -> bool:
    return any(finding.kind.severity == ERROR for finding in findings)


def in_files(kind: Kind, files: Sequence[str], detail: str = "") -> list[Finding]:
    """The finding of a kind that occurs once for each entry of `files`; none if there are no entries."""
    return [Finding(kind, len(files), tuple(dict.fromkeys(files)), detail)] if files else []


def finding_line(finding: Finding) -> str:
    """One line of text: severity, kind, count, what exactly, the first files, and the fix."""
    line = f"{finding.kind.severity}: {finding.kind.name}: {finding.occurrences}"
    if finding.files and Path(finding.files[0]).name not in finding.detail:
        line += f" in {named_files(finding.files)}"
    if finding.detail:
        line += f" ({finding.detail})"
    return f"{line}; {finding.advice}"


def named_files(files: Sequence[str]) -> str:
    """The first few names of files, without folders, and how many more there are."""
    return first_names([Path(file).name for file in files])


def to_json(finding: Finding) -> dict:
    """Plain values for `json.dump`."""
    return {
        "severity": finding.kind.severity,
        "kind": finding.kind.name,
        "count": finding.occurrences,
        "detail": finding.detail,
        "files": list(finding.files),
        "fix": finding.advice,
    }


def summary_line(findings: Iterable[Finding]) -> str:
    """How many kinds of errors, warnings and notes there are, in one line."""
    counts = Counter(finding.kind.severity for finding in findings)
    return ", ".join(f"{counts[name]} {name}{'' if counts[name] == 1 else 's'}" for name in SEVERITIES)
