"""The images with the most errors, with each error drawn and labelled."""

from collections import Counter
from typing import NamedTuple

import numpy as np

from keras_frcnn.api.drawing import MarkedBox, draw_marked_boxes
from keras_frcnn.api.labels import Colour
from keras_frcnn.data.example import Dataset
from keras_frcnn.evaluation.error_analysis.analysis import ErrorAnalysis
from keras_frcnn.evaluation.error_analysis.labels import FALSE_POSITIVES, MISSED
from training.reporting.judged_pictures import encode_jpeg, f1_score, read_canvas, shrink

WORST_PICTURES = 12  # the most images that the page shows
PICTURE_SIDE = 640  # the most pixels of the longer side

COLOURS: dict[str, Colour] = {  # of the frames; suitable for colour-blind readers, right detections excepted
    "localisation": (86, 180, 233),
    "confusion": (230, 159, 0),
    "both": (204, 121, 167),
    "duplicate": (240, 228, 66),
    "background": (213, 94, 0),
    MISSED: (255, 255, 255),
    "right": (0, 158, 115),
}


class PictureErrors(NamedTuple):
    """What is right and wrong in one image, at the score threshold of the analysis.  Difficult objects do not count."""

    position: int  # of the image in the data set
    found: int  # objects with a right detection
    missed: int  # other objects
    wrong: int  # false positives

    @property
    def f1(self) -> float:
        """See `f1_score`."""
        return f1_score(self.found, self.missed, self.wrong)


class ErrorPicture(NamedTuple):
    """One image as the page shows it."""

    image_id: str
    f1: float
    counts: str  # "found 3, missed 1; 2 background"
    jpeg: bytes


def error_pictures(dataset: Dataset, analysis: ErrorAnalysis) -> list[ErrorPicture]:
    """The worst images, worst first.  `analysis` is that of all examples of `dataset`.

    Raises InputError if a chosen image cannot be read.
    """
    return [_error_picture(dataset, analysis, chosen) for chosen in worst_pictures(analysis)]


def worst_pictures(analysis: ErrorAnalysis, count: int = WORST_PICTURES) -> list[PictureErrors]:
    """At most `count` images with errors, by ascending F1; of equal ones, those with more errors come first."""
    objects, ranked, false_positives, _ = analysis.errors
    shown = ranked.scores >= analysis.score_threshold
    per_image = [
        np.bincount(images, minlength=analysis.images).tolist()
        for images in (
            ranked.images[shown & false_positives.right],
            objects.images[shown_misses(analysis)],
            ranked.images[shown & (false_positives.kinds != "")],
        )
    ]
    judged = [PictureErrors(position, *counts) for position, counts in enumerate(zip(*per_image, strict=True))]
    with_errors = [entry for entry in judged if entry.missed or entry.wrong]
    return sorted(with_errors, key=lambda entry: (entry.f1, -entry.missed - entry.wrong))[:count]


def shown_misses(analysis: ErrorAnalysis) -> np.ndarray:
    """(G,) bool: whether each object has no right detection with a score of at least the threshold.

    It is never true for difficult objects.
    """
    objects, ranked, false_positives, _ = analysis.errors
    missed = ~objects.difficult
    missed[false_positives.targets[false_positives.right & (ranked.scores >= analysis.score_threshold)]] = False
    return missed


def marked_errors(analysis: ErrorAnalysis, position: int) -> list[MarkedBox]:
    """The frames of one image: errors first, as they are drawn on top, then right detections without a label.

    Misses are dashed.  Boxes are in pixels of the image before resizing.
    """
    objects, ranked, false_positives, misses = analysis.errors
    names = [" ".join(name.split()) for name in analysis.class_names]  # a label is one line
    rows = np.flatnonzero((ranked.images == position) & (ranked.scores >= analysis.score_threshold))
    marked = []
    for row in rows[false_positives.kinds[rows] != ""]:
        kind, target = str(false_positives.kinds[row]), false_positives.targets[row]
        label = f"{names[ranked.classes[row] - 1]} {ranked.scores[row]:.2f} {kind}"
        if kind == "confusion":
            label += f": {names[objects.classes[target] - 1]}"
        marked.append(MarkedBox(ranked.boxes[row], COLOURS[kind], label, False))

    found = np.flatnonzero(false_positives.right)
    causes = dict(zip(misses.objects.tolist(), misses.causes.tolist(), strict=True))
    found_at = dict(zip(false_positives.targets[found].tolist(), ranked.scores[found].tolist(), strict=True))
    for row in np.flatnonzero((objects.images == position) & shown_misses(analysis)).tolist():
        # An object that is found below the threshold is no miss of the analysis, which uses all scores.
        cause = f"score {found_at[row]:.2f}" if row in found_at else causes[row]
        label = f"missed {names[objects.classes[row] - 1]}" + ("" if cause == "unknown" else f": {cause}")
        marked.append(MarkedBox(objects.boxes[row], COLOURS[MISSED], label, True))

    right = rows[false_positives.right[rows]]
    return marked + [MarkedBox(box, COLOURS["right"], "", False) for box in ranked.boxes[right]]


def _error_picture(dataset: Dataset, analysis: ErrorAnalysis, chosen: PictureErrors) -> ErrorPicture:
    example = dataset.examples[chosen.position]
    canvas, scale = read_canvas(example)
    marked = [entry._replace(box=entry.box * scale) for entry in marked_errors(analysis, chosen.position)]
    drawn = shrink(draw_marked_boxes(canvas, marked), PICTURE_SIDE)
    return ErrorPicture(example.image_id, chosen.f1, _counts(analysis, chosen), encode_jpeg(drawn))


def _counts(analysis: ErrorAnalysis, chosen: PictureErrors) -> str:
    """The numbers of one image as text."""
    _, ranked, false_positives, _ = analysis.errors
    rows = (ranked.images == chosen.position) & (ranked.scores >= analysis.score_threshold)
    kinds = Counter(false_positives.kinds[rows].tolist())
    wrong = ", ".join(f"{kinds[kind]} {kind}" for kind in FALSE_POSITIVES if kinds[kind])
    return f"found {chosen.found}, missed {chosen.missed}" + (f"; {wrong}" if wrong else "")
