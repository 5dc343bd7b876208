"""Which columns a CSV file of annotations has: keras-retinanet's or TensorFlow's, with or without a header.

| dialect | columns | pixels |
|---|---|---|
| keras-retinanet, keras-frcnn | `path,x1,y1,x2,y2,class` | from 0; x2 and y2 are the edges behind the last pixel |
| TensorFlow | `filename,width,height,class,xmin,ymin,xmax,ymax` | from 1; xmax and ymax are the last pixel, as in VOC |

Sources: the README of keras-retinanet ("indexing for pixel values starts at 0"), whose reader refuses x2 <= x1, so that
x2 is an edge and not a pixel.  For TensorFlow, `xml_to_csv.py` of the tutorials, which copies the numbers of PASCAL VOC
XML files unchanged.
"""

from collections.abc import Sequence
from typing import NamedTuple

from keras_frcnn.data.sources.shared.annotations import Problems
from keras_frcnn.data.sources.shared.numbers import finite_number
from keras_frcnn.facts.errors import InputError

RETINANET = ("path", "x1", "y1", "x2", "y2", "class")
TENSORFLOW = ("filename", "width", "height", "class", "xmin", "ymin", "xmax", "ymax")

NO_HEADER = f"file has no header: columns read as {','.join(TENSORFLOW)}"
NO_SIZES = "header names xmin, ymin, xmax and ymax, but no sizes: corners read as TensorFlow's, pixels counted from 1"

_FROM_0, _FROM_1 = ("x1", "y1", "x2", "y2"), ("xmin", "ymin", "xmax", "ymax")
# Other names of a column that people write, without "_" and in small letters.
_PICTURE = ("path", "filename", "file", "image", "imagepath", "imagename", "imageid")
_CLASS = ("class", "classname", "label", "name", "category")
_SCORE = ("score", "scores", "confidence", "conf", "probability")


class Columns(NamedTuple):
    """The place of each field in a row."""

    fields: int  # their number in each row
    picture: int
    class_name: int
    corners: tuple[int, int, int, int]  # left, top, right, bottom
    size: tuple[int, int] | None  # height, width; None: the file states no sizes
    from_1: bool  # pixels are counted from 1 with inclusive ends, as in VOC; else edges counted from 0
    header: bool  # the first row names the columns


def find_columns(first: Sequence[str], file: str, problems: Problems) -> Columns:
    """The columns of a file by its first row.  Counts in `problems` what the row leaves open.

    Raises:
      InputError: the columns are of neither dialect, or the rows are detections with scores.
    """
    names = [field.strip().lower().replace("_", "") for field in first]
    corners = next((each for each in (_FROM_1, _FROM_0) if set(each) <= set(names)), None)
    if corners is not None:
        return _from_header(names, corners, file, problems)
    if len(first) == len(RETINANET) and all(_is_number(field) for field in first[1:5]):
        return Columns(6, 0, 5, (1, 2, 3, 4), None, from_1=False, header=False)
    if len(first) == len(TENSORFLOW) and all(_is_number(first[place]) for place in (1, 2, 4, 5, 6, 7)):
        problems.count(NO_HEADER, file)
        return Columns(8, 0, 3, (4, 5, 6, 7), (2, 1), from_1=True, header=False)
    if len(first) == len(RETINANET) + 1 and all(_is_number(field) for field in first[1:5]):
        problem = "7 columns instead of 6: one with scores would make them detections, which are not labels"
        raise InputError(f"{file}, line 1", problem, f"write the columns {','.join(RETINANET)}")
    fix = f"write the columns {','.join(RETINANET)}, or a header {','.join(TENSORFLOW)}"
    raise InputError(f"{file}, line 1", f"the {len(first)} columns are not known", fix)


def _from_header(names: list[str], corners: tuple[str, ...], file: str, problems: Problems) -> Columns:
    """The columns that the header names."""
    where = f"{file}, line 1"
    score = next((name for name in names if name in _SCORE), None)
    if score is not None:
        problem = f"the column {score} makes the rows detections, which are not labels"
        raise InputError(where, problem, "give the file of the labelled objects")
    picture, class_name = (
        next((names.index(each) for each in known if each in names), None) for known in (_PICTURE, _CLASS)
    )
    if picture is None or class_name is None:
        missing = ("picture", _PICTURE[0]) if picture is None else ("class", _CLASS[0])
        raise InputError(where, f"the header names no column for the {missing[0]}", f"name it {missing[1]}")
    has_sizes = {"width", "height"} <= set(names)
    if corners == _FROM_1 and not has_sizes:
        problems.count(NO_SIZES, file)
    left, top, right, bottom = (names.index(name) for name in corners)
    size = (names.index("height"), names.index("width")) if has_sizes else None
    return Columns(len(names), picture, class_name, (left, top, right, bottom), size, corners == _FROM_1, header=True)


def _is_number(field: str) -> bool:
    """Whether the field is empty or a number, so that it can be a coordinate."""
    return not field.strip() or finite_number(field) is not None
