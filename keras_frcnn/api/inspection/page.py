"""The page of an inspection: one HTML file with a picture of each stage that opens offline."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from keras_frcnn.api.drawing import (
    MarkedBox,
    class_colour,
    draw_anchors,
    draw_detections,
    draw_ground_truth,
    draw_marked_boxes,
    draw_proposals,
    score_colour,
)
from keras_frcnn.api.inspection.stages import Objects, Scored, Stages, Suppressed
from keras_frcnn.facts.config import DetectorConfig
from keras_frcnn.facts.pages.rendering import MISSING, write_page
from keras_frcnn.facts.pages.tables import Table, number

SHOWN_PROPOSALS = 50  # so many of the best are drawn, before and after suppression
SHOWN_DETECTIONS = 100

_TEMPLATE = Path(__file__).parent / "page.html.j2"
_REMOVED = (150, 150, 150)  # the colour of what suppression removed
_JPEG_QUALITY = 88


class Panel(NamedTuple):
    """One picture with the words beside it."""

    title: str
    words: str
    jpeg: bytes


class Stage(NamedTuple):
    """One section of the page."""

    title: str
    panels: tuple[Panel, ...]
    tables: tuple[Table, ...] = ()


class Page(NamedTuple):
    """What the page shows."""

    picture: str  # its name
    model: str
    figures: tuple[tuple[str, str], ...]  # number and what it counts
    stages: tuple[Stage, ...]


def write_inspection(
    path: Path,
    names: tuple[str, str],
    picture: np.ndarray,
    stages: Stages,
    config: DetectorConfig,
    classes: Sequence[str],
) -> None:
    """Write the page.

    Args:
        path: The HTML file.
        names: Of the picture and of the model, as the user gave them.
        picture: (H, W, 3) uint8 RGB.
        stages: What the stages made of it.
        config: That of the model.
        classes: The class names without background.

    Raises:
        OSError: The file cannot be written.
    """
    resized = cv2.resize(picture, stages.size[::-1], interpolation=cv2.INTER_AREA)
    made = [
        _input(resized, stages),
        _anchors(resized, stages, config),
        _objectness(resized, stages),
        _proposals(resized, stages, config),
        _detections(resized, stages, config, classes),
    ]
    if stages.objects is not None:
        made.append(_objects(resized, stages.objects, config, classes))
    page = Page(
        *names,
        figures=(
            (str(stages.anchors), "anchors"),
            (str(int(stages.proposals.kept.sum())), "proposals"),
            (str(int(stages.detections.kept.sum())), "detections"),
        ),
        stages=tuple(made),
    )
    write_page(path, _TEMPLATE, page._asdict())


def _input(picture: np.ndarray, stages: Stages) -> Stage:
    words = (
        f"The picture has {_size(stages.original_size)} pixels. It is resized to {_size(stages.size)}, a factor of "
        f"{stages.size[0] / stages.original_size[0]:.2f}. The backbone makes {_size(stages.cells)} feature cells of it."
    )
    return Stage("What the network sees", (_panel("Resized picture", words, picture),))


def _anchors(picture: np.ndarray, stages: Stages, config: DetectorConfig) -> Stage:
    words = (
        f"The {len(stages.shapes)} anchors of the cell in the middle: scales "
        f"{_listed(config.anchors.scales)} and ratios (height / width) {_listed(config.anchors.ratios)}. Each of the "
        f"{stages.cells[0] * stages.cells[1]} cells has the same, {stages.anchors} in all."
    )
    return Stage("Anchors", (_panel("Anchors of one cell", words, draw_anchors(picture, stages.shapes)),))


def _objectness(picture: np.ndarray, stages: Stages) -> Stage:
    scores = stages.objectness
    level = np.round(255 * (0.1 + 0.8 * np.clip(scores, 0, 1))).astype(np.uint8)
    large = cv2.resize(
        cv2.applyColorMap(level, cv2.COLORMAP_TURBO), picture.shape[1::-1], interpolation=cv2.INTER_NEAREST
    )
    blended = cv2.addWeighted(picture, 0.45, large[:, :, ::-1].copy(), 0.55, 0)
    words = (
        "The highest score of an anchor in each cell, from blue (0) to red (1). "
        f"{int((scores >= 0.5).sum())} of {scores.size} cells have a score of at least 0.5."
    )
    return Stage("Scores of the region proposal network", (_panel("Objectness", words, blended),))


def _proposals(picture: np.ndarray, stages: Stages, config: DetectorConfig) -> Stage:
    before, kept = stages.proposals
    best = Scored(*(field[kept][:SHOWN_PROPOSALS] for field in before))
    first = Suppressed(Scored(*(field[:SHOWN_PROPOSALS] for field in before)), kept[:SHOWN_PROPOSALS])
    panels = (
        _panel(
            "Before suppression",
            f"The best {len(first.kept)} boxes, in the colours of their scores. The grey, dashed ones were removed, as "
            f"their IoU with a better box is over {config.rpn.nms_iou:g}.",
            _draw_suppressed(picture, first),
        ),
        _panel(
            "After suppression",
            f"The best {len(best.scores)} proposals.",
            draw_proposals(picture, best.boxes, best.scores),
        ),
    )
    counts = Table(
        ("step", "boxes"),
        (
            ("anchors", str(stages.anchors)),
            (f"not smaller than {config.rpn.min_size:g} pixels", str(stages.large)),
            ("best, enter suppression", str(len(kept))),
            (f"kept by suppression, at most {config.test.post_nms_topk}", str(int(kept.sum()))),
        ),
    )
    return Stage("Proposals", panels, (counts,))


def _detections(picture: np.ndarray, stages: Stages, config: DetectorConfig, classes: Sequence[str]) -> Stage:
    before, kept = stages.detections
    first = Suppressed(Scored(*(field[:SHOWN_DETECTIONS] for field in before)), kept[:SHOWN_DETECTIONS])
    found = Scored(*(field[kept] for field in before))
    panels = (
        _panel(
            "Before suppression",
            f"The head gives each proposal a score and a box for each class. {len(kept)} of these scores are over "
            f"{config.test.score_threshold:g}; the best {len(first.kept)} are drawn. The grey, dashed ones were "
            f"removed, as their IoU with a better box of their class is over {config.test.nms_iou:g}.",
            _draw_suppressed(picture, first),
        ),
        _panel(
            "Detections",
            f"The {len(found.scores)} detections.",
            draw_detections(picture, found.boxes, found.classes, found.scores, classes),
        ),
    )
    rows = tuple(
        (classes[one - 1], str(int((before.classes == one).sum())), str(int((found.classes == one).sum())))
        for one in np.unique(before.classes)
    )
    return Stage("Detections", panels, (Table(("class", "before suppression", "after"), rows),) if rows else ())


def _objects(picture: np.ndarray, objects: Objects, config: DetectorConfig, classes: Sequence[str]) -> Stage:
    positive = len(objects.positive_anchors)
    panels = (
        _panel(
            "Annotated objects",
            f"The {len(objects.classes)} objects of the annotation. Training leaves out {int(objects.difficult.sum())} "
            "of them, which are difficult or crowd regions and dashed.",
            draw_ground_truth(picture, objects.boxes, objects.classes, objects.difficult, classes),
        ),
        _panel(
            "Positive anchors",
            f"Training would use {positive} anchors as positive: those with an IoU of at least "
            f"{config.rpn.positive_iou:g} with an object, and the best of each object. {objects.negative} are "
            f"negative, and {objects.ignored} are ignored, as they cross the border or are neither.",
            draw_anchors(picture, objects.positive_anchors),
        ),
    )
    rows = tuple(
        (
            f"{row + 1} {classes[objects.classes[row] - 1]}{' (difficult)' if objects.difficult[row] else ''}",
            _size(np.round(objects.boxes[row][2:] - objects.boxes[row][:2]).astype(int)),
            str(objects.positives[row]),
            number(objects.anchor_iou[row], 2),
            number(objects.proposal_iou[row], 2),
            number(objects.detection_iou[row], 2),
            number(objects.detection_score[row], 2, MISSING),
        )
        for row in range(len(objects.classes))
    )
    header = ("object", "width × height", "positive anchors", "IoU anchor", "IoU proposal", "IoU detection", "score")
    return Stage("Objects: where each one is found or lost", panels, (Table(header, rows),) if rows else ())


def _draw_suppressed(picture: np.ndarray, boxes: Suppressed) -> np.ndarray:
    """The kept boxes in the colours of their scores or classes, on top of those that were removed."""
    before, kept = boxes
    by_class = bool(before.classes.any())
    marked = [
        MarkedBox(
            before.boxes[row].astype(float),
            class_colour(before.classes[row]) if by_class else score_colour(before.scores[row]),
            "",
            False,
        )
        for row in np.flatnonzero(kept)
    ]
    marked += [MarkedBox(before.boxes[row].astype(float), _REMOVED, "", True) for row in np.flatnonzero(~kept)]
    return draw_marked_boxes(picture, marked)


def _panel(title: str, words: str, drawn: np.ndarray) -> Panel:
    _, encoded = cv2.imencode(".jpg", drawn[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return Panel(title, words, encoded.tobytes())


def _size(size: tuple[int, ...]) -> str:
    return " × ".join(str(side) for side in size[::-1])


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)
