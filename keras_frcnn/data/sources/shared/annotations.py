"""From annotated pictures to a checked data set.

Each source reads its own file format into `AnnotatedPicture`s.  `make_dataset` then applies the rules that all sources
share: it numbers the classes, compares the stated picture sizes with the files, and fits the boxes into the pictures.

Some cameras store a picture turned, with an EXIF orientation that tells viewers how to turn it back.  Some annotation
tools show the turned picture and others the stored one.  The boxes refer to the picture that the tool showed.
`make_dataset` finds out which from the stated sizes.

Axes: N objects of one picture.
"""

import contextlib
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_frcnn.data.example import Dataset, Example
from keras_frcnn.data.sources.shared.fractions import to_pixels
from keras_frcnn.data.sources.shared.picture_header import AS_STORED, PictureHeader, read_picture_header
from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.limits import MOST_PIXELS

# The kinds of problems: what is wrong, and what is done about it.
CLIPPED = "box extends beyond the picture: clipped to the picture"
NO_AREA = "box has no area: object dropped"
OUTSIDE = "box lies entirely outside the picture: object dropped"
WRONG_SIZE = "stated size differs from the picture file: size of the file used"
EXIF_IGNORED = "picture has an EXIF orientation: ignored, boxes refer to the stored pixels"
EXIF_APPLIED = "picture has an EXIF orientation: applied, boxes refer to the turned picture"

_SWAPS_SIDES = (5, 6, 7, 8)  # EXIF orientations that turn height into width


class AnnotatedObject(NamedTuple):
    """One object, as its source describes it."""

    where: str  # place in the annotation file, for messages: "object 3"
    class_name: str
    # y0 x0 y1 x1, 0-based continuous, in pixels or in fractions of the sides; None: the box has no area
    corners: tuple[float, float, float, float] | None
    difficult: bool
    crowd: bool = False  # a region of many objects (COCO)
    area: float | None = None  # of the object's outline in pixels; None: that of the box


class AnnotatedPicture(NamedTuple):
    """One picture and its objects, as their source describes them."""

    image_id: str  # unique in the data set
    image_path: Path
    where: str  # annotation file, with the place in it if the file describes several pictures; for messages
    size: tuple[float, float] | None  # height, width in pixels, as the annotation states them; None: it does not
    objects: tuple[AnnotatedObject, ...]
    in_fractions: bool = False  # corners are fractions of the picture's height and width


class SourcePictures(NamedTuple):
    """The pictures of one split, as a source reads them."""

    pictures: tuple[AnnotatedPicture, ...]
    class_names: tuple[str, ...] | None = None  # in the order that the data declares; None: it declares no classes


class Problems:
    """Counts the faults that were repaired; in strict mode it raises an error for the first one instead.

    Attributes:
      errors: with `keep_going`, the errors of the pictures that were skipped.
    """

    def __init__(self, strict: bool = False, keep_going: bool = False) -> None:
        """`keep_going`: skip a picture that cannot be used and keep its error, to report all errors at once."""
        self._strict = strict
        self._keep_going = keep_going
        self._files: dict[str, list[str]] = {}
        self.errors: list[InputError] = []

    def another(self) -> "Problems":
        """A new count that treats faults in the same way."""
        return Problems(self._strict, self._keep_going)

    @contextlib.contextmanager
    def skipping(self) -> Iterator[None]:
        """With `keep_going`, keep an InputError of the block instead of raising it; for the reading of one picture."""
        try:
            yield
        except InputError as error:
            if not self._keep_going:
                raise
            self.errors.append(error)

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
    name: str,
    pictures: Sequence[AnnotatedPicture],
    class_names: Sequence[str] | None,
    problems: Problems,
    exif: str = "auto",
    max_pixels: int = MOST_PIXELS,
) -> Dataset:
    """Check the annotated pictures of one split, and put them into the form that the rest of the project uses.

    Args:
      name: the name of the data set, for messages.
      pictures: the pictures, in the order of the split.
      class_names: the classes without background; None takes the sorted class names of all objects.
      problems: counts the faults that are repaired here; it may already hold some.
      exif: "apply" if the boxes refer to pictures with their EXIF orientation applied, "ignore" if they refer to the
        pixels as the files store them, "auto" to decide by `exif_policy`.
      max_pixels: the most pixels that a picture may have.

    Raises:
      InputError: a class is not among the class names, a picture file cannot be read or is too large, there are no
        objects to take the class names from, or `problems` is strict and there is a fault.
    """
    if class_names is None:
        class_names = sorted({annotated.class_name for picture in pictures for annotated in picture.objects})
        if not class_names:
            raise InputError(name, "there are no objects to take the class names from", "specify --class-names")
    class_numbers = {class_name: number for number, class_name in enumerate(class_names, start=1)}
    readable: list[tuple[AnnotatedPicture, PictureHeader]] = []
    for picture in pictures:
        with problems.skipping():
            _check_name(picture)
            readable.append((picture, read_picture_header(picture.image_path, max_pixels)))
    policy = exif_policy(readable) if exif == "auto" else exif
    examples = []
    for picture, header in readable:
        with problems.skipping():
            examples.append(
                _make_example(picture, _oriented(picture, header, policy, problems), class_numbers, problems)
            )
    return Dataset(name, tuple(class_names), tuple(examples), problems.by_kind(), policy)


def exif_policy(pictures: Sequence[tuple[AnnotatedPicture, PictureHeader]]) -> str:
    """Decide whether the boxes refer to pictures with their EXIF orientation applied.

    The orientation of some pictures swaps height and width.  Of these, the annotations state either the size of the
    stored picture or that of the turned one; the more frequent one decides for the whole data set.

    Returns:
      "ignore" if at least half of these pictures are stated with the stored size, else "apply".  Without any such
      picture "apply", since most viewers and annotation tools turn pictures.
    """
    stored = turned = 0
    for picture, header in pictures:
        if header.orientation in _SWAPS_SIDES and header.height != header.width and picture.size is not None:
            stored += picture.size == (header.height, header.width)
            turned += picture.size == (header.width, header.height)
    return "ignore" if stored and stored >= turned else "apply"


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
    # Plain floats: for a single box they are several times as fast as NumPy.
    y0, x0, y1, x1 = corners
    if y0 >= y1 or x0 >= x1:
        return None, NO_AREA
    # With 0.0 as the first argument, -0.0 becomes 0.0.
    clipped = (min(max(0.0, y0), height), min(max(0.0, x0), width), max(0.0, min(y1, height)), max(0.0, min(x1, width)))
    if clipped[0] >= clipped[2] or clipped[1] >= clipped[3]:
        return None, OUTSIDE
    box = np.array(clipped, np.float32)
    y0, x0, y1, x1 = box.tolist()
    if y0 >= y1 or x0 >= x1:  # the part inside the picture is thinner than float32 can resolve
        return None, NO_AREA
    return box, None if clipped == tuple(corners) else CLIPPED


def _check_name(picture: AnnotatedPicture) -> None:
    """Raise InputError if the path of a picture is not UTF-8: TensorFlow and the files of a run hold it as text."""
    try:
        os.fspath(picture.image_path).encode()
    except UnicodeEncodeError:
        raise InputError(picture.image_path, "its name is not UTF-8", "rename the file or its folder") from None


def _oriented(picture: AnnotatedPicture, header: PictureHeader, policy: str, problems: Problems) -> PictureHeader:
    """The size of the picture that the boxes refer to, with the orientation to apply; counts other orientations."""
    if header.orientation == AS_STORED:
        return header
    if policy == "ignore":
        problems.count(EXIF_IGNORED, str(picture.image_path))
        return header._replace(orientation=AS_STORED)
    problems.count(EXIF_APPLIED, str(picture.image_path))
    if header.orientation in _SWAPS_SIDES:
        return PictureHeader(header.width, header.height, header.orientation)
    return header


def _make_example(
    picture: AnnotatedPicture, header: PictureHeader, class_numbers: dict[str, int], problems: Problems
) -> Example:
    """Check one picture and its objects; `header` is that of the picture the boxes refer to."""
    height, width, orientation = header
    if picture.size is not None and picture.size != (height, width):
        problems.repaired(WRONG_SIZE, picture.where, "size", f"write width {width} and height {height}")

    boxes: list[np.ndarray] = []
    kept: list[AnnotatedObject] = []
    for annotated in picture.objects:
        if annotated.class_name not in class_numbers:
            raise InputError(
                f"{picture.where}, {annotated.where}",
                f"class {annotated.class_name!r} is not one of the classes {', '.join(class_numbers)}",
                "correct the name, or add the class to the class names",
            )
        corners = annotated.corners
        if corners is not None and not all(map(math.isfinite, corners)):
            where = f"{picture.where}, {annotated.where}"
            raise InputError(where, f"the box {corners} is not finite", "correct the box or remove the object")
        if picture.in_fractions and corners is not None:
            corners = to_pixels(corners, height, width)
        box, kind = fit_box(corners, height, width)
        if kind is not None:
            problems.repaired(kind, picture.where, annotated.where, "correct the box or remove the object")
        if box is not None:
            boxes.append(box)
            kept.append(annotated)
    return Example(
        picture.image_id,
        str(picture.image_path),
        height,
        width,
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array([class_numbers[annotated.class_name] for annotated in kept], np.int32),
        np.array([annotated.difficult or annotated.crowd for annotated in kept], bool),
        orientation,
        np.array([annotated.crowd for annotated in kept], bool) if any(one.crowd for one in kept) else None,
        _areas(kept, boxes) if any(one.area is not None for one in kept) else None,
    )


def _areas(objects: Sequence[AnnotatedObject], boxes: Sequence[np.ndarray]) -> np.ndarray:
    """(N,) float64, the stated area of each object, or that of its box."""

    def of_box(box: np.ndarray) -> float:
        return float(np.prod(box[2:].astype(np.float64) - box[:2]))

    pairs = zip(objects, boxes, strict=True)
    return np.array([of_box(box) if one.area is None else one.area for one, box in pairs], np.float64)
