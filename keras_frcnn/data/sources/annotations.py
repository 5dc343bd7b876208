"""From annotated pictures to a checked data set.

Each source reads its own file format into `AnnotatedPicture`s.  `make_dataset` then applies the rules that all sources
share: it numbers the classes, compares the stated picture sizes with the files, and fits the boxes into the pictures.

The whole project ignores the EXIF orientation: boxes refer to the pixels in the order in which the file stores them.

Axes: N objects of one picture.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_frcnn.data.example import Dataset, Example
from keras_frcnn.data.sources.picture_header import AS_STORED, read_picture_header
from keras_frcnn.facts.errors import InputError

# The kinds of problems: what is wrong, and what is done about it.
CLIPPED = "box extends beyond the picture: clipped to the picture"
NO_AREA = "box has no area: object dropped"
OUTSIDE = "box lies entirely outside the picture: object dropped"
WRONG_SIZE = "stated size differs from the picture file: size of the file used"
EXIF_IGNORED = "picture has an EXIF orientation: ignored, boxes refer to the stored pixels"


class AnnotatedObject(NamedTuple):
    """One object, as its source describes it."""

    where: str  # place in the annotation file, for messages: "object 3"
    class_name: str
    corners: tuple[float, float, float, float] | None  # y0 x0 y1 x1, pixels, 0-based continuous; None: box has no area
    difficult: bool


class AnnotatedPicture(NamedTuple):
    """One picture and its objects, as their source describes them."""

    image_id: str  # unique in the data set
    image_path: Path
    where: str  # annotation file, with the place in it if the file describes several pictures; for messages
    size: tuple[float, float]  # height, width in pixels, as the annotation states them
    objects: tuple[AnnotatedObject, ...]


class Problems:
    """Counts the faults that were repaired; in strict mode it raises an error for the first one instead."""

    def __init__(self, strict: bool) -> None:
        self._strict = strict
        self._files: dict[str, list[str]] = {}

    def count(self, kind: str, file: str) -> None:
        """Count a problem that is never an error."""
        self._files.setdefault(kind, []).append(file)

    def repaired(self, kind: str, file: str, place: str, fix: str) -> None:
        """Count a repaired fault of an annotation.

        Args:
          kind: what is wrong and what is done about it, with a colon between the two.
          file: the annotation file.
          place: where the fault is in the file.
          fix: how the user can correct the annotation.

        Raises:
          InputError: in strict mode.
        """
        if self._strict:
            raise InputError(f"{file}, {place}", kind.split(":")[0], f"{fix}, or read the data without --strict")
        self.count(kind, file)

    def by_kind(self) -> dict[str, tuple[str, ...]]:
        """The files of each kind of problem, as in `Dataset.problems`."""
        return {kind: tuple(files) for kind, files in self._files.items()}


def make_dataset(
    name: str, pictures: Sequence[AnnotatedPicture], class_names: Sequence[str] | None, problems: Problems
) -> Dataset:
    """Check the annotated pictures of one split, and put them into the form that the rest of the project uses.

    Args:
      name: the name of the data set, for messages.
      pictures: the pictures, in the order of the split.
      class_names: the classes without background; None takes the sorted class names of all objects.
      problems: counts the faults that are repaired here; it may already hold some.

    Raises:
      InputError: a class is not among the class names, a picture file cannot be read, there are no objects to take the
        class names from, or `problems` is strict and there is a fault.
    """
    if class_names is None:
        class_names = sorted({annotated.class_name for picture in pictures for annotated in picture.objects})
        if not class_names:
            raise InputError(name, "there are no objects to take the class names from", "specify --class-names")
    class_numbers = {class_name: number for number, class_name in enumerate(class_names, start=1)}
    examples = tuple(_make_example(picture, class_numbers, problems) for picture in pictures)
    return Dataset(name, tuple(class_names), examples, problems.by_kind())


def fit_box(
    corners: tuple[float, float, float, float] | None, height: int, width: int
) -> tuple[np.ndarray | None, str | None]:
    """Clip a box to its picture, and drop it if nothing is left.

    The arithmetic is in float64.  Only the result is cast, so that no rounding can hide a fault.

    Args:
      corners: y0 x0 y1 x1, pixels, 0-based continuous corners; None for a box that the annotation gives no area.
      height, width: size of the picture in pixels.

    Returns:
      (box, kind).  `box` is (4,) float32, yxyx, inside the picture and of positive area, or None if it is dropped.
      `kind` is the fault that was repaired (`NO_AREA`, `OUTSIDE` or `CLIPPED`), or None.
    """
    if corners is None:
        return None, NO_AREA
    exact = np.array(corners, np.float64)
    if (exact[:2] >= exact[2:]).any():
        return None, NO_AREA
    clipped = np.clip(exact, 0.0, np.array([height, width, height, width], np.float64))
    if (clipped[:2] >= clipped[2:]).any():
        return None, OUTSIDE
    box = clipped.astype(np.float32)
    if (box[:2] >= box[2:]).any():  # the part inside the picture is thinner than float32 can resolve
        return None, NO_AREA
    return box, None if (clipped == exact).all() else CLIPPED


def _make_example(picture: AnnotatedPicture, class_numbers: dict[str, int], problems: Problems) -> Example:
    """Check one picture and its objects."""
    height, width, orientation = read_picture_header(picture.image_path)
    if picture.size != (height, width):
        problems.repaired(WRONG_SIZE, picture.where, "size", f"write width {width} and height {height}")
    if orientation != AS_STORED:
        problems.count(EXIF_IGNORED, str(picture.image_path))

    boxes, classes, difficult = [], [], []
    for annotated in picture.objects:
        if annotated.class_name not in class_numbers:
            raise InputError(
                f"{picture.where}, {annotated.where}",
                f"class {annotated.class_name!r} is not one of the classes {', '.join(class_numbers)}",
                "correct the name, or add the class to the class names",
            )
        box, kind = fit_box(annotated.corners, height, width)
        if kind is not None:
            problems.repaired(kind, picture.where, annotated.where, "correct the box or remove the object")
        if box is not None:
            boxes.append(box)
            classes.append(class_numbers[annotated.class_name])
            difficult.append(annotated.difficult)
    return Example(
        picture.image_id,
        str(picture.image_path),
        height,
        width,
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(classes, np.int32),
        np.array(difficult, bool),
    )
