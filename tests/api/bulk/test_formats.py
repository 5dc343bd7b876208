"""What is made from detections, and from their record."""

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from keras_frcnn.api.bulk.formats import write_coco, write_voc
from keras_frcnn.api.bulk.inputs import PictureFile
from keras_frcnn.api.bulk.run import Wanted, detect_all
from keras_frcnn.api.result import Result
from keras_frcnn.data.writers.losses import Losses
from keras_frcnn.facts.errors import InputError


@pytest.mark.parametrize("name", ["a\udcffb.jpg", "a\x01b.jpg", "a\ufffeb.jpg"])
def test_a_file_name_that_xml_cannot_hold_is_changed(tmp_path, name):
    result = Result(np.float32([[1, 2, 30, 40]]), np.float32([0.5]), np.int32([1]), ("cat",), 50, 60, name)
    losses = Losses()
    write_voc(result, PictureFile(f"photos/{name}", "place"), tmp_path, losses)
    root = ElementTree.parse(tmp_path / "place.xml").getroot()
    assert (root.findtext("filename"), root.findtext("object/name")) == ("a_b.jpg", "cat")
    assert [loss.what for loss in losses.listed()] == [
        "file names with characters that XML cannot hold: replaced by _ in the annotations"
    ]


def test_a_class_name_that_xml_cannot_hold_is_refused_before_any_work(tmp_path):
    class Eye:
        class_names, turns, nms_iou = ("cat", "a\x01b"), False, 0.3

    wanted = Wanted(tmp_path / "out", frozenset({"voc"}), 0.5, 1, None, 1, False, 10**6, False)
    with pytest.raises(InputError, match=r"^class 'a\\x01b': the name cannot be written as XML; leave voc out of"):
        detect_all(Eye(), str(tmp_path), [PictureFile("a.jpg", "a")], wanted, lambda results, _: results, print)
    assert not Path(wanted.out).exists()


def test_coco_results_hold_pictures_that_only_an_earlier_command_named(tmp_path):
    one = {"class": "dog", "score": 0.5, "box": [1, 2, 4, 8]}
    lines = [
        {"image": "photos/7.jpg", "detections": [one]},
        {"image": "gone/old.png", "detections": [one]},
        {"image": "bad.png", "detections": [], "error": "bad.png: not a readable picture"},
    ]
    record = tmp_path / "detections.jsonl"
    record.write_text("".join(json.dumps(line) + "\n" for line in lines))
    write_coco(record, tmp_path / "coco.json", [PictureFile("photos/7.jpg", "7")], ("cat", "dog"))
    expected = {"category_id": 2, "bbox": [2.0, 1.0, 6.0, 3.0], "score": 0.5}
    assert json.loads((tmp_path / "coco.json").read_text()) == [
        {"image_id": 7, **expected},
        {"image_id": "gone/old", **expected},
    ]
