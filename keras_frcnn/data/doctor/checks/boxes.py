"""Checks of the boxes: what was repaired when they were read, duplicates, and boxes that become tiny."""

import numpy as np

from keras_frcnn.data.doctor import findings
from keras_frcnn.data.doctor.checks.objects import Objects
from keras_frcnn.data.doctor.findings import Finding, in_files
from keras_frcnn.data.example import Dataset
from keras_frcnn.data.sources.shared import annotations, class_map
from keras_frcnn.data.sources.voc import pictures as voc_pictures

NEARLY_IDENTICAL = 0.95  # the IoU over which two boxes of one class are probably one object

_KINDS = {  # problem of a source -> kind of finding
    annotations.NO_AREA: findings.NO_AREA,
    annotations.OUTSIDE: findings.OUTSIDE,
    annotations.CLIPPED: findings.CLIPPED,
    annotations.WRONG_SIZE: findings.WRONG_SIZE,
    annotations.EXIF_APPLIED: findings.EXIF_APPLIED,
    annotations.EXIF_IGNORED: findings.EXIF_IGNORED,
    class_map.DROPPED: findings.MAPPED_TO_NULL,
    voc_pictures.OTHER_PICTURE: findings.OTHER_PICTURE,
}


def problem_findings(dataset: Dataset) -> list[Finding]:
    """What the source of the data set repaired or ignored."""
    found = []
    for problem, files in dataset.problems.items():
        kind = _KINDS.get(problem, findings.OTHER_FAULT)
        found += in_files(kind, files, problem if kind is findings.OTHER_FAULT else "")
    return found


def tiny_boxes(objects: Objects, min_size: float) -> list[Finding]:
    """Boxes with a side of less than `min_size` pixels of the resized picture; difficult ones do not count.

    The RPN drops proposals with a shorter side, so such an object is hardly ever found.
    """
    sides = (objects.boxes[:, 2:] - objects.boxes[:, :2]).min(axis=1)
    tiny = (sides < min_size) & ~objects.difficult
    if not tiny.any():
        return []
    detail = f"a side of less than {min_size:g} pixels, the smallest {sides[tiny].min():.1f}"
    return in_files(findings.TINY, _files(objects, np.flatnonzero(tiny)), detail)


def duplicate_boxes(objects: Objects) -> list[Finding]:
    """Pairs of boxes in one picture that are equal, or nearly so and of one class.  Crowd regions do not count."""
    objects = objects.select(~_crowd(objects))
    first, second = _close_pairs(objects)
    same_class = objects.classes[first] == objects.classes[second]
    equal = (objects.boxes[first] == objects.boxes[second]).all(axis=1)
    return [
        *in_files(findings.DUPLICATE_BOX, _files(objects, first[equal & same_class])),
        *in_files(findings.NEAR_DUPLICATE_BOX, _files(objects, first[~equal & same_class])),
        *in_files(findings.TWO_CLASSES, _files(objects, first[equal & ~same_class])),
    ]


def _files(objects: Objects, chosen: np.ndarray) -> list[str]:
    """The picture file of each chosen object."""
    return [objects.examples[picture].image_path for picture in objects.pictures[chosen].tolist()]


def _crowd(objects: Objects) -> np.ndarray:
    """Whether each object is a crowd region: (N,) bool."""
    return np.concatenate([np.zeros(0, bool), *(example.is_crowd for example in objects.examples)])


def _close_pairs(objects: Objects) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of objects of one picture with an IoU over NEARLY_IDENTICAL: two arrays of indices.

    Objects of one picture are neighbours in the table, so objects are compared with those 1, 2, 3, ... places later.
    """
    pictures, boxes = objects.pictures, objects.boxes
    places = np.arange(len(boxes))
    firsts, seconds, distance = [places[:0]], [places[:0]], 0
    while len(places):
        distance += 1
        places = places[places + distance < len(boxes)]
        places = places[pictures[places] == pictures[places + distance]]
        close = _ious(boxes[places], boxes[places + distance]) > NEARLY_IDENTICAL
        firsts.append(places[close])
        seconds.append(places[close] + distance)
    return np.concatenate(firsts), np.concatenate(seconds)


def _ious(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """IoU of each row of `a` with the same row of `b`: (N, 4), (N, 4) -> (N,).  All boxes have an area."""
    sides = np.maximum(np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2]), 0)
    intersection = sides.prod(axis=1)
    return intersection / ((a[:, 2:] - a[:, :2]).prod(axis=1) + (b[:, 2:] - b[:, :2]).prod(axis=1) - intersection)
