"""A data set of drawn scenes, written as a VOC tree: for tests, for trying things out and for checking a training run.

    python -m keras_frcnn.data.synthetic --out DIR --train 300 --val 60 --test 60

takes about 40 ms a picture and gives DIR/Annotations, DIR/JPEGImages and DIR/ImageSets/Main, to be read as
`voc:DIR`, or looked at.  Each picture depends on the seed, its split and its number in the split alone: a larger set of
the same seed begins with the pictures of a smaller one.
"""

import argparse
import os
import tempfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from keras_frcnn.facts.cache import user_cache_dir
from keras_frcnn.facts.errors import InputError, exit_on_input_error

# NumPy and OpenCV are imported where something is drawn, so that `--help` answers at once.
if TYPE_CHECKING:
    from keras_frcnn.data.example import Dataset
    from keras_frcnn.data.sources.scenes import Scene

VERSION = 1  # part of the cache folder's name; raise it when the same seed draws other pictures
_JPEG_QUALITY = 95


def write_synthetic(directory, counts: dict[str, int], seed: int, size: tuple[int, int] = (240, 320)):
    """Draw the splits and write them as a flat VOC tree; the folder appears complete or not at all.

    Args:
      directory: folder to make; it may exist if it is empty.
      counts: name of each split -> its number of pictures, at least 1.
      seed: not negative.
      size: height and width of the pictures in pixels, each at least 64.

    Raises:
      InputError: a value is out of range, the folder holds something, or it cannot be written.
    """
    _check_request(counts, seed, size)
    directory = Path(directory).absolute()
    if directory.exists() and not (directory.is_dir() and not any(directory.iterdir())):
        raise InputError(directory, "exists and is not an empty folder", "give a new folder")
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=directory.parent, prefix=f".{directory.name}-") as scratch:
            tree = Path(scratch) / "tree"
            for split, count in counts.items():
                _write_split(tree, split, count, seed, size)
            os.rename(tree, directory)
    except OSError as error:
        raise InputError(directory, f"cannot be written ({error.strerror})", "give a folder that can") from None


def load_synthetic(
    split: str, counts: dict[str, int], seed: int, size=(240, 320), cache_directory=None, class_names=None
) -> "Dataset":
    """Read a split, or several joined with `+`, of a synthetic set that is drawn on its first use.

    Args:
      counts, seed, size: as in `write_synthetic`.
      cache_directory: where the set is kept; by default `keras_frcnn` in $XDG_CACHE_HOME or in ~/.cache.
      class_names: by default `scenes.CLASS_NAMES`, even if a class does not occur in the split.

    Raises:
      InputError: as `write_synthetic` and `load_voc` do.
    """
    from keras_frcnn.data.sources.scenes import CLASS_NAMES
    from keras_frcnn.data.sources.voc import load_voc

    _check_request(counts, seed, size)
    parts = [f"v{VERSION}", f"seed{seed}", f"{size[0]}x{size[1]}", *(f"{name}{n}" for name, n in counts.items())]
    directory = Path(cache_directory or user_cache_dir()) / "-".join(["synthetic", *parts])
    if not directory.exists():
        try:
            write_synthetic(directory, counts, seed, size)
        except InputError:
            if not directory.exists():  # else another process drew the same set meanwhile, and was done first
                raise
    return load_voc(directory, split, CLASS_NAMES if class_names is None else class_names)


def draw_picture(seed: int, split: str, index: int, size: tuple[int, int]) -> "Scene":
    """The scene number `index` of a split; it depends on nothing but the arguments."""
    import numpy as np

    from keras_frcnn.data.sources.scenes import draw_scene

    return draw_scene(np.random.default_rng([seed, zlib.crc32(split.encode()), index]), *size)


def _check_request(counts: dict[str, int], seed: int, size: tuple[int, int]):
    if not counts:
        raise InputError("synthetic data", "no picture is asked for", "ask for at least one picture")
    for split, count in counts.items():
        if not (split.isascii() and split.isidentifier()):
            raise InputError("synthetic data", f"{split!r} is no name for a split", "use letters, digits and _")
        if count < 1:
            raise InputError(f"synthetic data, {split}", f"{count} pictures are asked for", "ask for at least 1")
    if seed < 0:
        raise InputError("synthetic data, seed", f"{seed} is negative", "give 0 or more")
    if min(size) < 64:
        raise InputError("synthetic data, size", f"{size[0]} x {size[1]} is too small", "give sides of at least 64")


def _write_split(tree: Path, split: str, count: int, seed: int, size: tuple[int, int]):
    """Draw and write one split into the folders of a VOC tree."""
    import cv2

    folders = [tree / part for part in ("Annotations", "JPEGImages", "ImageSets/Main")]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    annotations, images, image_sets = folders
    names = [f"{split}_{index:06d}" for index in range(count)]
    for index, name in enumerate(names):
        scene = draw_picture(seed, split, index, size)
        # Encoded in memory: cv2.imwrite tells of a full disk by nothing but a return value.
        _, encoded = cv2.imencode(".jpg", scene.image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
        (images / f"{name}.jpg").write_bytes(encoded.tobytes())
        (annotations / f"{name}.xml").write_bytes(_annotation_xml(f"{name}.jpg", scene))
    (image_sets / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))


def _annotation_xml(filename: str, scene: "Scene") -> bytes:
    """A scene's annotation in the form of PASCAL VOC."""
    from keras_frcnn.data.sources.scenes import CLASS_NAMES

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


def _add_numbers(element: ElementTree.Element, **values):
    for name, value in values.items():
        ElementTree.SubElement(element, name).text = str(int(value))


def main(arguments=None):
    """Write a synthetic data set; see the head of this file."""
    parser = argparse.ArgumentParser(
        prog="python -m keras_frcnn.data.synthetic",
        description="Draw pictures of shapes with exact boxes, and write them as a PASCAL VOC tree.",
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="folder to make")
    for split, count in (("train", 300), ("val", 60), ("test", 60)):
        parser.add_argument(
            f"--{split}", type=int, default=count, metavar="N", help=f"pictures in {split}, 0 for none [{count}]"
        )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="another seed, other pictures [0]")
    parser.add_argument("--height", type=int, default=240, metavar="PIXELS", help="of each picture [240]")
    parser.add_argument("--width", type=int, default=320, metavar="PIXELS", help="of each picture [320]")
    options = parser.parse_args(arguments)
    counts = {"train": options.train, "val": options.val, "test": options.test}
    with exit_on_input_error():
        asked = {split: count for split, count in counts.items() if count != 0}
        write_synthetic(options.out, asked, options.seed, (options.height, options.width))
        print(f"{options.out}: {sum(asked.values())} pictures in {', '.join(asked)}; to be read as voc:{options.out}")


if __name__ == "__main__":
    main()
