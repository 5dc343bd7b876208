"""What is made from the record of a detection."""

import json

from keras_frcnn.api.bulk.formats import write_coco
from keras_frcnn.api.bulk.inputs import PictureFile


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
