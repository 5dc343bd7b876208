"""What a detector finds in one picture."""

import collections
import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from keras_frcnn.api.drawing import draw_detections
from keras_frcnn.api.pictures import to_pixels
from keras_frcnn.data.pictures.files import Reading
from keras_frcnn.evaluation.detections.coco_results import coco_row
from keras_frcnn.facts.errors import InputError


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """The N detections in one picture, best first; `len(result)` is N.

        result = keras_frcnn.load("runs/mine").detect("photo.jpg")
        for name, score, (ymin, xmin, ymax, xmax) in zip(result.names, result.scores, result.boxes):
            print(name, score, ymin, xmin, ymax, xmax)

    Two results are equal only if they are the same object.
    """

    boxes: np.ndarray  # (N, 4) float32 yxyx, in pixels of the picture, continuous corners
    scores: np.ndarray  # (N,) float32, 0 to 1
    class_ids: np.ndarray  # (N,) int32, 1 for the first class name; 0 is the background and never appears
    class_names: tuple[str, ...]  # all classes of the model
    height: int  # of the picture in pixels, turned if the model applies the EXIF orientation; 0 if it was not readable
    width: int
    source: str | None = None  # the picture's path, or its address; None for bytes, an array or a PIL image
    error: str | None = None  # why the picture could not be read; None if it was
    _pixels: np.ndarray | None = field(default=None)  # (H, W, 3) uint8 RGB of a picture that is not a file at `source`
    _reading: Reading = field(default=Reading(turned=False))  # how the picture at `source` was read

    def __len__(self) -> int:
        return len(self.scores)

    def __bool__(self) -> bool:
        """Always true: a picture without objects is a result, too."""
        return True

    def __repr__(self) -> str:
        counts = collections.Counter(self.names)
        found = ", ".join(f"{count} {name}" for name, count in counts.items()) or "nothing found"
        if self.error is not None:
            return f"Result(error: {self.error})"
        return f"Result({self.source or 'image'}, {self.height} x {self.width}: {found})"

    @property
    def names(self) -> tuple[str, ...]:
        """The class name of each detection."""
        return tuple(self.class_names[class_id - 1] for class_id in self.class_ids)

    def draw(self) -> Image.Image:
        """A new RGB picture with each box, class name and score; small pictures are enlarged.

        A picture that came from a file is read again.  An array is not copied by `detect`: if you change it before you
        draw, the drawing shows the changed array.

        Raises InputError if the picture could not be read, or if the file has changed its size since.
        """
        drawn = draw_detections(self._picture(), self.boxes, self.class_ids, self.scores, self.class_names)
        return Image.fromarray(drawn)

    def _picture(self) -> np.ndarray:
        if self.error is not None:
            raise InputError("Result", f"there is no picture to draw on ({self.error})", "check `.error` first")
        pixels = self._pixels
        if pixels is None:
            if self.source is None:
                raise InputError("Result", "it has neither pixels nor a path", "draw with keras_frcnn.draw_detections")
            pixels = to_pixels(self.source, self._reading)
        if pixels.shape[:2] != (self.height, self.width):
            size = f"{pixels.shape[0]} x {pixels.shape[1]}, not {self.height} x {self.width} as in detection"
            raise InputError(self.source or "image", f"the picture is now {size}", "run detect again")
        return pixels

    def to_coco(self, image_id: int | str) -> list[dict[str, Any]]:
        """The detections as COCO results: `[{"image_id", "category_id", "bbox", "score"}]`, plain Python numbers.

        `bbox` is [x, y, width, height] in pixels.  `category_id` is the class id, 1 for the first class name: map it
        to the ids of your annotation file if they differ.  A picture that could not be read gives no rows.
        """
        rows = zip(self.class_ids.tolist(), self.boxes.tolist(), self.scores.tolist(), strict=True)
        return [coco_row(image_id, *row) for row in rows]

    def to_dict(self, rounded: bool = True) -> dict[str, Any]:
        """The fields of `to_json`, ready for `json.dumps`; with all digits unless `rounded`."""

        def number(value: float, digits: int) -> float:
            return round(value, digits) if rounded else value

        detections = [
            {"class": name, "score": number(score, 4), "box": [number(corner, 2) for corner in box]}
            for name, score, box in zip(self.names, self.scores.tolist(), self.boxes.tolist(), strict=True)
        ]
        fields = {"image": self.source, "height": self.height, "width": self.width, "detections": detections}
        return fields if self.error is None else {**fields, "error": self.error}

    def to_json(self) -> str:
        """One JSON line: `{"image", "height", "width", "detections": [{"class", "score", "box"}]}`.

        `box` is [ymin, xmin, ymax, xmax] in pixels, rounded to 2 digits; `score` is rounded to 4.  `image` is the path
        or null.  A picture that could not be read has the extra field `error`.
        """
        return json.dumps(self.to_dict())
