"""Sample pictures with their boxes: those with findings first, then some of the others."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import tensorflow as tf

from keras_frcnn.data.doctor.checks.objects import Objects
from keras_frcnn.data.doctor.findings import NOTE, Finding
from keras_frcnn.data.example import Example
from keras_frcnn.data.pictures.images import decode_image
from keras_frcnn.data.pictures.orientation import apply_orientation
from keras_frcnn.facts.pages.plots import COLOURS

MOST_SAMPLES = 12
PICTURE_SIDE = 480  # the most pixels of the longer side

_OF_EACH_FINDING = 2
_OTHERS = 4  # pictures without findings
_JPEG_QUALITY = 85


class Sample(NamedTuple):
    """One picture of the page."""

    name: str
    why: str  # kind of finding; empty for a picture without one
    classes: tuple[tuple[str, str], ...]  # names of the classes in it and the colours of their boxes, as #rrggbb
    jpeg: bytes


def sample_pictures(objects: Objects, findings: Sequence[Finding]) -> list[Sample]:
    """Pictures of errors and warnings, at most MOST_SAMPLES, then some others; boxes in the colours of their classes.

    Pictures that cannot be decoded are left out.
    """
    chosen = _with_findings(objects.examples, findings)
    for place in range(1, _OTHERS + 1):
        if objects.examples:
            chosen.setdefault(len(objects.examples) * place // (_OTHERS + 1), "")
    drawn = (
        _draw(objects.examples[index], objects.classes[objects.pictures == index], objects.class_names, why)
        for index, why in chosen.items()
    )
    return [sample for sample in drawn if sample is not None]


def _with_findings(examples: Sequence[Example], findings: Sequence[Finding]) -> dict[int, str]:
    """Indices of pictures of errors and warnings, and the kind of finding."""
    # A finding names the file of a picture or of its annotation.
    places = {Path(example.image_path).stem: index for index, example in enumerate(examples)}
    places |= {example.image_path: index for index, example in enumerate(examples)}
    chosen: dict[int, str] = {}
    for finding in findings:
        if finding.kind.severity != NOTE:
            found = (places.get(file, places.get(Path(file).stem)) for file in finding.files)
            new = [index for index in dict.fromkeys(found) if index is not None and index not in chosen]
            chosen |= dict.fromkeys(new[:_OF_EACH_FINDING], finding.kind.name)
    return dict(list(chosen.items())[:MOST_SAMPLES])


def _draw(example: Example, classes: np.ndarray, class_names: Sequence[str], why: str) -> Sample | None:
    """The picture of an example with its N boxes; `classes` (N,) are indices.  None if it cannot be decoded."""
    try:
        image = decode_image(tf.io.read_file(os.fsencode(example.image_path)))
    except tf.errors.OpError:
        return None
    pixels = apply_orientation(image, example.orientation).numpy()
    scale = min(1.0, PICTURE_SIDE / max(pixels.shape[:2]))
    size = [max(1, round(side * scale)) for side in pixels.shape[1::-1]]
    canvas = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    present = sorted(set(classes.tolist()))
    # With many classes, colours differ only within the picture.
    many = len(class_names) > len(COLOURS)
    colours = {index: COLOURS[(place if many else index) % len(COLOURS)] for place, index in enumerate(present)}
    for box, index in zip(example.boxes * scale, classes.tolist(), strict=True):
        y0, x0, y1, x1 = np.round(box).astype(int).tolist()
        rgb = tuple(int(colours[index][start : start + 2], 16) for start in (1, 3, 5))
        cv2.rectangle(canvas, (x0, y0), (max(x0, x1 - 1), max(y0, y1 - 1)), (255, 255, 255), 3)
        cv2.rectangle(canvas, (x0, y0), (max(x0, x1 - 1), max(y0, y1 - 1)), rgb, 2)
    _, encoded = cv2.imencode(".jpg", canvas[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    legend = tuple((class_names[index], colour) for index, colour in colours.items())
    return Sample(Path(example.image_path).name, why, legend, encoded.tobytes())
