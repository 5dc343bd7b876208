"""The best and the worst images of a data set, judged by their detections and drawn for the report."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from keras_frcnn.api.drawing import MAX_ENLARGEMENT, MIN_SHORT_SIDE, SHOWN_SCORE, draw_detections
from keras_frcnn.data.example import Dataset, Example
from keras_frcnn.data.pictures.files import read_example
from keras_frcnn.evaluation.detections.record import ImageDetections
from keras_frcnn.evaluation.metrics.voc_ap import judge_image

SHOWN_PICTURES = 6  # the most images among the best, and among the worst
PICTURE_SIDE = 480  # the most pixels of the longer side

_DASH_LENGTH, _DASH_WIDTH = 6, 2  # pixels, before the picture is scaled down
_JPEG_QUALITY = 85
_EASY_GREY, _DIFFICULT_GREY = 255, 150  # of the dashes around true boxes


def f1_score(found: int, missed: int, wrong: int) -> float:
    """2 found / (2 found + missed + wrong); NaN where there is nothing to count."""
    counted = 2 * found + missed + wrong
    return 2 * found / counted if counted else math.nan


class PictureJudgement(NamedTuple):
    """The shown detections of one image compared with its objects.

    Difficult objects, and detections on them, do not count.
    """

    position: int  # of the image in the data set
    found: tuple[int, ...]  # the class of each object with a correct detection
    missed: tuple[int, ...]  # the class of each other object
    wrong: tuple[int, ...]  # the class of each detection that is not correct

    @property
    def f1(self) -> float:
        """See `f1_score`."""
        return f1_score(len(self.found), len(self.missed), len(self.wrong))


class JudgedPicture(NamedTuple):
    """One image as the report shows it."""

    image_id: str
    f1: float
    counts: str  # "found 1, missed 0, wrong 3 (cat, 2 dog)"
    jpeg: bytes


def judged_pictures(
    dataset: Dataset, records: Sequence[ImageDetections], iou_threshold: float
) -> tuple[list[JudgedPicture], list[JudgedPicture]]:
    """The best and the worst images.  `records` has the detections of each example of `dataset`, in the same order.

    Raises InputError if a chosen image cannot be read.
    """
    pairs = list(zip(dataset.examples, records, strict=True))
    judgements = [judge_picture(position, *pair, iou_threshold) for position, pair in enumerate(pairs)]
    best, worst = (
        [_judged_picture(judgement, *pairs[judgement.position], dataset.class_names) for judgement in chosen]
        for chosen in choose_pictures(judgements)
    )
    return best, worst


def judge_picture(position: int, example: Example, record: ImageDetections, iou_threshold: float) -> PictureJudgement:
    """Judge the detections with a score of at least `SHOWN_SCORE` by PASCAL VOC's rules; classes are ascending."""
    shown = _shown(record)
    found, wrong = (classes.tolist() for classes in judge_image(example, shown, iou_threshold))
    missed = Counter(example.classes[~example.difficult].tolist()) - Counter(found)
    return PictureJudgement(position, tuple(found), tuple(sorted(missed.elements())), tuple(wrong))


def choose_pictures(judgements: Iterable[PictureJudgement]) -> tuple[list[PictureJudgement], list[PictureJudgement]]:
    """The best images by F1, best first, and the worst ones, worst first.

    Each list has at most `SHOWN_PICTURES` images, and no image is in both: of a few images, half are among the best.
    Images with equal F1 keep their order.  Images with nothing to count are left out.
    """
    counted = [judgement for judgement in judgements if not math.isnan(judgement.f1)]
    best_first = sorted(counted, key=lambda judgement: -judgement.f1)
    best = best_first[: min(SHOWN_PICTURES, (len(counted) + 1) // 2)]
    chosen = {judgement.position for judgement in best}
    others = [judgement for judgement in counted if judgement.position not in chosen]
    return best, sorted(others, key=lambda judgement: judgement.f1)[:SHOWN_PICTURES]


def draw_picture(example: Example, record: ImageDetections, class_names: Sequence[str]) -> np.ndarray:
    """Draw the true boxes, dashed, and the shown detections on the image.

    Returns (H, W, 3) uint8 RGB with no side longer than `PICTURE_SIDE`.  Raises InputError if the image cannot
    be read.
    """
    canvas, scale = read_canvas(example)
    for box, difficult in zip(example.boxes * scale, example.difficult, strict=True):
        _draw_dashes(canvas, box, _DIFFICULT_GREY if difficult else _EASY_GREY)
    shown = _shown(record)
    return shrink(draw_detections(canvas, shown.boxes * scale, shown.classes, shown.scores, class_names), PICTURE_SIDE)


def read_canvas(example: Example) -> tuple[np.ndarray, np.ndarray]:
    """The decoded image in a size to draw on, the same for small and large images, so that labels have one size, too.

    Returns (H, W, 3) uint8 RGB, and (4,) the factors by which boxes grow.  Raises InputError if the image cannot be
    read.
    """
    image = read_example(example)
    canvas = _resize(image, min(MIN_SHORT_SIDE / min(image.shape[:2]), MAX_ENLARGEMENT))
    return canvas, np.tile(np.divide(canvas.shape[:2], image.shape[:2]), 2)


def shrink(image: np.ndarray, side: int) -> np.ndarray:
    """The image with no side longer than `side` pixels."""
    return _resize(image, min(side / max(image.shape[:2]), 1.0))


def encode_jpeg(image: np.ndarray) -> bytes:
    """The JPEG file of an image, (H, W, 3) uint8 RGB."""
    return cv2.imencode(".jpg", image[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY))[1].tobytes()


def _shown(record: ImageDetections) -> ImageDetections:
    """The detections with a score of at least `SHOWN_SCORE`."""
    shown = np.asarray(record.scores) >= SHOWN_SCORE
    return record._replace(boxes=record.boxes[shown], classes=record.classes[shown], scores=record.scores[shown])


def _judged_picture(
    judgement: PictureJudgement, example: Example, record: ImageDetections, class_names: Sequence[str]
) -> JudgedPicture:
    counts = (
        f"found {len(judgement.found)}, "
        f"missed {len(judgement.missed)}{_in_brackets(judgement.missed, class_names)}, "
        f"wrong {len(judgement.wrong)}{_in_brackets(judgement.wrong, class_names)}"
    )
    drawn = draw_picture(example, record, class_names)
    return JudgedPicture(example.image_id, judgement.f1, counts, encode_jpeg(drawn))


def _in_brackets(classes: Sequence[int], class_names: Sequence[str]) -> str:
    """ " (cat, 2 dog)" for a cat and two dogs; the empty string for no classes."""
    names = (f"{count if count > 1 else ''} {class_names[i - 1]}".strip() for i, count in Counter(classes).items())
    return f" ({', '.join(names)})" if classes else ""


def _resize(image: np.ndarray, factor: float) -> np.ndarray:
    height, width = (max(1, round(side * factor)) for side in image.shape[:2])
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC)


def _draw_dashes(canvas: np.ndarray, box: np.ndarray, grey: int) -> None:
    """Draw a dashed frame, black and `grey` in turn, around the box: (4,) yxyx in pixels of the canvas.

    The lines lie outside of the box, because the frame of a detection would hide them inside, but within the canvas.
    """
    outside = np.round(box).astype(int) + np.repeat((-_DASH_WIDTH, _DASH_WIDTH), 2)
    y0, x0, y1, x1 = np.clip(outside, 0, np.tile(canvas.shape[:2], 2))
    rows, columns = np.ogrid[y0:y1, x0:x1]
    colours = np.where((rows + columns) // _DASH_LENGTH % 2, 0, grey).astype(np.uint8)
    rows, columns = np.minimum(rows - y0, y1 - 1 - rows), np.minimum(columns - x0, x1 - 1 - columns)
    np.copyto(canvas[y0:y1, x0:x1], colours[..., None], where=(np.minimum(rows, columns) < _DASH_WIDTH)[..., None])
