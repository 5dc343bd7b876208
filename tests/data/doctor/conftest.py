"""A clean drawn data set, and the faults that tests put into copies of it."""

import shutil
import xml.etree.ElementTree as ET
from pathlib import Path

import cv2
import numpy as np
import pytest

from keras_frcnn.data.sources.synthetic.drawn import write_synthetic


class Tree:
    """A VOC tree that can be changed."""

    def __init__(self, root: Path):
        self.root = root

    def picture(self, name: str) -> Path:
        return self.root / "JPEGImages" / f"{name}.jpg"

    def annotation(self, name: str) -> Path:
        return self.root / "Annotations" / f"{name}.xml"

    def list_in(self, split: str, name: str) -> None:
        with open(self.root / "ImageSets" / "Main" / f"{split}.txt", "a") as file:
            file.write(f"{name}\n")

    def unlist(self, split: str, name: str) -> None:
        path = self.root / "ImageSets" / "Main" / f"{split}.txt"
        path.write_text("".join(line for line in path.read_text().splitlines(True) if line.strip() != name))

    def edit(self, name: str, change) -> None:
        """Call `change` with the root element of an annotation, and write it."""
        root = ET.fromstring(self.annotation(name).read_bytes())
        change(root)
        self.annotation(name).write_bytes(ET.tostring(root))

    def add_object(self, name: str, box, class_name="star") -> None:
        """Add an object; `box` is xmin ymin xmax ymax, 1-based with inclusive ends."""

        def add(root):
            element = ET.SubElement(root, "object")
            ET.SubElement(element, "name").text = class_name
            corners = ET.SubElement(element, "bndbox")
            for side, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True):
                ET.SubElement(corners, side).text = str(value)

        self.edit(name, add)

    def copy_picture(self, name: str, new: str, split: str) -> None:
        """Copy a picture and its annotation, and list the copy."""
        shutil.copy(self.picture(name), self.picture(new))
        shutil.copy(self.annotation(name), self.annotation(new))
        self.edit(new, lambda root: root.find("filename").__setattr__("text", f"{new}.jpg"))
        self.list_in(split, new)

    def write_jpeg(self, name: str, pixels: np.ndarray, quality: int = 95) -> None:
        assert cv2.imwrite(str(self.picture(name)), pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])

    def pixels(self, name: str) -> np.ndarray:
        return cv2.imread(str(self.picture(name)))


@pytest.fixture(scope="session")
def clean_tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("doctor") / "clean"
    write_synthetic(root, {"train": 30, "val": 14}, seed=5, size=(96, 128))
    return root


@pytest.fixture
def tree(clean_tree, tmp_path):
    """A copy of the clean tree that a test may change."""
    shutil.copytree(clean_tree, tmp_path / "tree")
    return Tree(tmp_path / "tree")
