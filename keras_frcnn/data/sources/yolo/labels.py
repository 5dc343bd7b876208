"""One label file of a YOLO data set: check its rows, and turn them into boxes."""

from collections.abc import Sequence
from pathlib import Path

from keras_frcnn.data.sources.shared.annotations import AnnotatedObject, Problems
from keras_frcnn.data.sources.shared.numbers import read_number
from keras_frcnn.data.sources.yolo.data_yaml import class_name
from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.files import read_text

UNNAMED = "class number without a name in the YAML: class_NUMBER used"

_FARTHEST = 2.0  # a coordinate beyond it is not a fraction of a picture: the file states pixels
_LARGEST = 100_000  # class numbers


def read_labels(
    file: Path, class_names: Sequence[str], key_points: bool, problems: Problems
) -> tuple[tuple[AnnotatedObject, ...], set[int]]:
    """Read a label file.

    Args:
      file: the label file; it may be empty.
      class_names: class i of the file is class_names[i].
      key_points: rows have key points after the box.
      problems: counts the faults that are repaired.

    Returns:
      (objects, numbers).  The corners of the objects are in fractions of the picture's sides.  `numbers` are the class
      numbers without a name.

    Raises:
      InputError: the file cannot be read, a row has another form, it is a detection with a score, or a coordinate is
        no fraction.
    """
    try:
        lines = read_text(file).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(file, f"cannot be read ({error})", "save it as text with one object per line") from None
    objects, unnamed = [], set()
    for line_number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        place = f"line {line_number}"
        where = f"{file}, {place}"
        number, *coordinates = (read_number(text, where) for text in line.split())
        if number != int(number) or not 0 <= number < _LARGEST:
            raise InputError(where, f"{number:g} is not the number of a class", "number the classes from 0")
        index = int(number)
        if index < len(class_names):
            name = class_names[index]
        else:
            problems.repaired(UNNAMED, str(file), place, f"add class {index} to names in the YAML")
            name = class_name(index)
            unnamed.add(index)
        objects.append(AnnotatedObject(place, name, _corners(coordinates, key_points, where), difficult=False))
    return tuple(objects), unnamed


def _corners(coordinates: Sequence[float], key_points: bool, where: str) -> tuple[float, float, float, float]:
    """The box of a row, y0 x0 y1 x1 in fractions; of a polygon, the box around it."""
    count = len(coordinates)
    if count == 5:
        fix = "use the label files of the data set; detections have no place in --data"
        raise InputError(where, "six numbers are a detection with a score, not a label", fix)
    if key_points:
        coordinates = coordinates[:4]
    elif count != 4 and (count < 6 or count % 2):
        fix = "write class x_center y_center width height, or class and the points of a polygon"
        raise InputError(where, f"expected 5 numbers, or 7 or more for a polygon (got {count + 1})", fix)
    if len(coordinates) < 4 or any(abs(value) > _FARTHEST for value in coordinates):
        problem = (
            f"expected fractions of the picture's sides (got {' '.join(f'{value:g}' for value in coordinates[:4])})"
        )
        raise InputError(where, problem, "divide x by the width and y by the height")
    if len(coordinates) > 4:
        xs, ys = coordinates[::2], coordinates[1::2]
        return min(ys), min(xs), max(ys), max(xs)
    x, y, width, height = coordinates
    return y - height / 2, x - width / 2, y + height / 2, x + width / 2
