"""The doctor on real annotations: blood cells with known faults."""

import json
from pathlib import Path

import pytest

from keras_frcnn.data.validate import main

BCCD = Path(__file__).resolve().parents[4] / "shared" / "data" / "bccd"

pytestmark = pytest.mark.skipif(not BCCD.is_dir(), reason="no blood cells beside the project in ../shared/data")


@pytest.fixture(scope="module")
def answer(tmp_path_factory):
    path = tmp_path_factory.mktemp("bccd") / "doctor.json"
    with pytest.raises(SystemExit) as ended:
        main([f"voc:{BCCD}", "--short-side", "480", "--json", str(path), "--quiet"])
    assert ended.value.code == 1
    return json.loads(path.read_text())


def test_splits(answer):
    assert {split["name"]: split["pictures"] for split in answer["splits"]} == {"train": 205, "test": 72, "val": 87}
    assert sum(answer["splits"][0]["objects"].values()) == 2804


def test_the_two_boxes_without_area_are_named(answer):
    (finding,) = (finding for finding in answer["findings"] if finding["severity"] == "error")
    assert finding["kind"] == "box without area" and finding["count"] == 2
    assert {Path(file).name for file in finding["files"]} == {"BloodImage_00338.xml", "BloodImage_00343.xml"}


def test_one_scene_in_two_splits(answer):
    (finding,) = (finding for finding in answer["findings"] if finding["kind"].startswith("near-duplicate picture"))
    assert [Path(file).name for file in finding["files"]] == ["BloodImage_00038.jpg", "BloodImage_00037.jpg"]


def test_suggested_anchors_cover_much_more(answer):
    configured, suggested = answer["anchors"]["configured"], answer["anchors"]["suggested"]
    assert configured["scales"] == [128, 256, 512] and configured["ratios"] == [0.5, 1, 2]
    assert len(suggested["scales"]) * len(suggested["ratios"]) <= 12
    assert suggested["coverage"]["0.7"] >= configured["coverage"]["0.7"] + 0.2
    assert suggested["classes"]["Platelets"]["0.5"] > 0.8 > 0.1 > configured["classes"]["Platelets"]["0.5"]
