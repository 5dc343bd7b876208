"""Drawn detections as files."""

import numpy as np
from PIL import Image

from keras_frcnn.data.example import Dataset, Example
from keras_frcnn.evaluation.detections.record import ImageDetections
from training.reporting.detection_pictures import write_pictures


def test_each_picture_has_a_file_of_its_own_whatever_its_id_is(tmp_path):
    ids = ("a_b", "a_b_2", "a/b", "../up", "n" * 300, "猫" * 90, "not drawn")
    path = tmp_path / "picture.png"
    Image.new("RGB", (40, 30), "grey").save(path)
    empty = {"boxes": np.zeros((0, 4), np.float32), "classes": np.zeros(0, np.int32)}
    examples = tuple(
        Example(image_id=name, image_path=str(path), height=30, width=40, difficult=np.zeros(0, bool), **empty)
        for name in ids
    )
    detections = [ImageDetections(name, empty["boxes"], empty["classes"], np.zeros(0)) for name in ids]
    out = tmp_path / "out"
    files = write_pictures(Dataset("made", ("cat",), examples, {}), detections, out, 6)
    assert len(set(files)) == 6 and sorted(files) == sorted(out.iterdir())
    assert [file.name for file in files[:4]] == ["a_b.png", "a_b_2.png", "a_b_3.png", ".._up.png"]
    with Image.open(files[0]) as drawn:
        assert drawn.convert("RGB").getpixel((5, 5)) == (128, 128, 128)
