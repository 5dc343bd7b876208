"""The published detections of VOC2007 test, with the annotations of its images."""

import json
import tarfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from keras_frcnn.data.example import Example
from keras_frcnn.evaluation.detections.record import ImageDetections, read_voc_results

REFERENCE = Path(__file__).resolve().parents[3] / "shared" / "data" / "voc_eval"


class Published(NamedTuple):
    """Detections of a real detector, and their official figures."""

    reference: dict
    class_names: list[str]
    examples: list[Example]
    detections: list[ImageDetections]


@pytest.fixture(scope="session")
def published(tmp_path_factory):
    if not REFERENCE.is_dir():
        pytest.skip(f"reference detections of VOC2007 test are not in {REFERENCE}")
    folder = tmp_path_factory.mktemp("voc_eval")
    reference = json.loads((REFERENCE / "reference.json").read_text())
    class_names = list(reference["per_class_[11point,area]"])
    with tarfile.open(REFERENCE / "detections.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    examples = read_annotations(REFERENCE / "annotations.tar.gz", class_names)
    return Published(reference, class_names, examples, read_voc_results(folder, class_names))


def read_annotations(path, class_names):
    """The official XML as examples, without the sizes of the images."""
    examples = []
    with tarfile.open(path) as archive:
        for member in archive:
            if not member.name.endswith(".xml"):
                continue
            objects = ElementTree.parse(archive.extractfile(member)).getroot().findall("object")
            corners = [
                [float(entry.find("bndbox").findtext(side)) for side in ("ymin", "xmin", "ymax", "xmax")]
                for entry in objects
            ]
            boxes = np.asarray(corners).reshape(-1, 4) - (1, 1, 0, 0)
            classes = [class_names.index(entry.findtext("name")) + 1 for entry in objects]
            difficult = [entry.findtext("difficult") == "1" for entry in objects]
            arrays = boxes.astype(np.float32), np.asarray(classes, np.int32), np.asarray(difficult, bool)
            examples.append(Example(Path(member.name).stem, "", 200, 200, *arrays))
    return examples
