"""A data set of drawn scenes, written as a PASCAL VOC tree: for tests, first trials and checks of the training.

Each picture depends only on the seed, its split and its number in the split.  A larger set of the same seed therefore
begins with the pictures of a smaller one.
"""

import os
import tempfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np

from keras_frcnn.data.sources.shared.annotations import Problems, SourcePictures
from keras_frcnn.data.sources.shared.numbers import whole_number
from keras_frcnn.data.sources.spec import Request
from keras_frcnn.data.sources.synthetic.scenes import CLASS_NAMES, Scene, draw_scene
from keras_frcnn.data.sources.voc import reading as voc
from keras_frcnn.facts.cache import user_cache_dir
from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.files import refuse_content
from keras_frcnn.facts.limits import MOST_WHOLE

# Enough pictures for a VGG16 detector to learn six shapes in a few hundred iterations, few enough to draw in seconds.
PICTURE_COUNTS = {"train": 200, "val": 60, "test": 60}
PICTURE_SIZE = (240, 320)  # height, width in pixels

VERSION = 1  # part of the cache folder's name; raise it when a change makes the same seed draw other pictures
_SHORTEST_SIDE = 64  # pixels
_JPEG_QUALITY = 95


def read(request: Request, problems: Problems) -> SourcePictures:
    """Read a split of `synthetic[:SEED]`, without SEED of seed 0.

    The set has the splits of `PICTURE_COUNTS` and pictures of `PICTURE_SIZE`.  The first use draws the set and keeps it
    in the cache folder.

    Raises:
      InputError: SEED is not a whole number of at least 0, or as in `write_synthetic`.
    """
    return voc.read_tree(_drawn(request), request.split, problems)._replace(class_names=CLASS_NAMES)


def splits(request: Request) -> tuple[str, ...]:
    """The splits of the drawn set."""
    return tuple(PICTURE_COUNTS)


def _drawn(request: Request) -> Path:
    """The folder of the drawn set; draws it if it does not exist."""
    seed = "0" if request.argument is None else request.argument
    number = whole_number(seed, below=MOST_WHOLE)
    if number is None:
        problem = f"expected a seed of at least 0 (got {seed!r})"
        raise InputError("--data synthetic", problem, "use synthetic or synthetic:SEED, e.g. synthetic:1")
    return drawn_set(PICTURE_COUNTS, number, PICTURE_SIZE)


def drawn_set(
    counts: Mapping[str, int], seed: int, size: tuple[int, int] = PICTURE_SIZE, cache_directory: Path | None = None
) -> Path:
    """The folder of a set of drawn scenes in the cache; the first use draws the set.

    Args:
      counts, seed, size: as in `write_synthetic`.
      cache_directory: folder for the drawn sets; None takes `keras_frcnn` in $XDG_CACHE_HOME or in ~/.cache.

    Raises:
      InputError: as in `write_synthetic`.
    """
    _check_request(counts, seed, size)
    parts = [f"v{VERSION}", f"seed{seed}", f"{size[0]}x{size[1]}", *(f"{name}{n}" for name, n in counts.items())]
    directory = (cache_directory or user_cache_dir()) / "-".join(["synthetic", *parts])
    if not directory.exists():
        try:
            write_synthetic(directory, counts, seed, size)
        except InputError:
            if not directory.exists():  # if it exists, another process has just drawn the same set
                raise
    return directory


def write_synthetic(
    directory: str | Path, counts: Mapping[str, int], seed: int, size: tuple[int, int] = PICTURE_SIZE
) -> None:
    """Draw a set and write it as a flat VOC tree.  The folder appears only when it is complete.

    Args:
      directory: the new folder; it may exist if it is empty.
      counts: number of pictures of each split, at least 1.
      seed: at least 0.
      size: height and width of the pictures in pixels, each at least 64.

    Raises:
      InputError: an argument is out of range, the folder is not empty, or it cannot be written.
    """
    _check_request(counts, seed, size)
    directory = Path(directory).absolute()
    refuse_content(directory)
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=directory.parent, prefix=f".{directory.name}-") as scratch:
            tree = Path(scratch) / "tree"
            for split, count in counts.items():
                _write_split(tree, split, count, seed, size)
            os.rename(tree, directory)
    except OSError as error:
        fix = "free some space, or use a folder that you can write to"
        raise InputError(directory, f"cannot be written ({error.strerror})", fix) from None


def draw_picture(seed: int, split: str, index: int, size: tuple[int, int]) -> Scene:
    """Draw the scene number `index` of a split; `size` is height and width in pixels."""
    return draw_scene(np.random.default_rng([seed, zlib.crc32(split.encode()), index]), *size)


def _check_request(counts: Mapping[str, int], seed: int, size: tuple[int, int]) -> None:
    """Raise InputError for arguments of `write_synthetic` that are out of range."""
    where = "synthetic data"
    if not counts:
        raise InputError(where, "no pictures requested", "request at least one picture")
    for split, count in counts.items():
        if not (split.isascii() and split.isidentifier()):
            fix = "use letters, digits and _, and begin with a letter"
            raise InputError(where, f"{split!r} is not a valid name of a split", fix)
        if count < 1:
            raise InputError(f"{where}, {split}", f"expected at least 1 picture (got {count})", "request 1 or more")
    if seed < 0:
        raise InputError(f"{where}, seed", f"must not be negative (got {seed})", "use 0 or more")
    if min(size) < _SHORTEST_SIDE:
        problem = f"{size[0]} x {size[1]} pixels is too small"
        raise InputError(f"{where}, size", problem, f"use a height and width of at least {_SHORTEST_SIDE}")


def _write_split(tree: Path, split: str, count: int, seed: int, size: tuple[int, int]) -> None:
    """Draw one split and write it into the folders of a VOC tree."""
    folders = [tree / part for part in ("Annotations", "JPEGImages", "ImageSets/Main")]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    annotations, images, image_sets = folders
    names = [f"{split}_{index:06d}" for index in range(count)]
    for index, name in enumerate(names):
        scene = draw_picture(seed, split, index, size)
        # Encode in memory: on a full disk cv2.imwrite raises no error, it only returns False.
        _, encoded = cv2.imencode(".jpg", scene.image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
        (images / f"{name}.jpg").write_bytes(encoded.tobytes())
        (annotations / f"{name}.xml").write_bytes(_annotation_xml(f"{name}.jpg", scene))
    (image_sets / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))


def _annotation_xml(filename: str, scene: Scene) -> bytes:
    """The annotation of a scene in the format of PASCAL VOC."""
    height, width, depth = scene.image.shape
    root = ElementTree.Element("annotation")
    ElementTree.SubElement(root, "filename").text = filename
    _add_numbers(ElementTree.SubElement(root, "size"), width=width, height=height, depth=depth)
    for box, class_index, difficult, truncated in zip(
        scene.boxes, scene.classes, scene.difficult, scene.truncated, strict=True
    ):
        element = ElementTree.SubElement(root, "object")
        ElementTree.SubElement(element, "name").text = CLASS_NAMES[class_index]
        _add_numbers(element, truncated=truncated, difficult=difficult)
        xmin, ymin, xmax, ymax = box
        _add_numbers(ElementTree.SubElement(element, "bndbox"), xmin=xmin, ymin=ymin, xmax=xmax, ymax=ymax)
    ElementTree.indent(root)
    return ElementTree.tostring(root)


def _add_numbers(element: ElementTree.Element, **values: int) -> None:
    """Add a child element with a whole number for each keyword."""
    for name, value in values.items():
        ElementTree.SubElement(element, name).text = str(int(value))
