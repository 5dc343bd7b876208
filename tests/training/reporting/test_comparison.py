"""The comparison of runs: figures, differences and curves of each, and what makes them hard to compare."""

import base64
import functools
import json
import re
import xml.etree.ElementTree as ET

import pytest

from keras_frcnn.evaluation.metrics.recall import proposal_recall
from keras_frcnn.evaluation.metrics.voc_ap import evaluate_voc
from keras_frcnn.evaluation.results.tables import ap_to_json, recall_to_json
from keras_frcnn.facts.files import write_json
from training.report import main


@pytest.fixture
def make_run(four_pictures, make_record, write_events, tmp_path):
    """Build a run folder with the results of the four pictures; `found` leaves out detections of the others."""
    dataset, detections = four_pictures()

    def make(name, found=("c", "2007/<a>", "d", "b"), val="1", measured=True, **options):
        folder = tmp_path / name
        configuration = {"options": {"data": "voc:<x>", "seed": 0, **options}, "detector": {"rpn": {"min_size": 16}}}
        write_json(folder / "config.json", configuration)
        write_json(folder / "data.json", {"class_names": list(dataset.class_names), "train": {}, "val": {"a": val}})
        if not measured:
            return folder
        training = {"iterations": 20, "images": 40, "minutes": 1.5}
        shown = [one if one.image_id in found else make_record(one.image_id) for one in detections]
        boxes = {one.image_id: one.boxes for one in shown}
        recall = proposal_recall(dataset.examples, boxes, dataset.class_names)
        ap = evaluate_voc(dataset.examples, shown, dataset.class_names)
        common = {"training": training, "table": ""}
        step1, step2 = (
            {**common, "name": f"step{n}", "title": title} for n, title in ((1, "step 1 RPN"), (2, "step 2"))
        )
        write_json(folder / "evaluation" / "step1.rpn.json", {**step1, "recall": recall_to_json(recall)})
        write_json(folder / "evaluation" / "step2.detector.json", {**step2, "metric": "voc07", "ap": ap_to_json(ap)})
        records = [(1000.0 + i, i, {"losses/loss": 1.0 / i, "losses/rpn_box": 0.1}) for i in (1, 2, 3)]
        write_events(folder / "logs" / "step1" / "events.out.tfevents.1", records)
        return folder

    return make


@pytest.fixture
def compare(run_here):
    return functools.partial(run_here, main)


def text_of(element):
    return " ".join("".join(element.itertext()).split())


def tables(page):
    return [[[text_of(cell) for cell in row] for row in table.iter("tr")] for table in page.iter("table")]


def test_two_runs_side_by_side(compare, make_run, tmp_path, capsys):
    first, second = make_run("a & b"), make_run("second", found=("c", "b"), seed=1, warmup=5)
    out = tmp_path / "new" / "page.html"
    assert compare("--compare", first, second, "--out", out) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"A: {first}\nB: {second}\n\nrun") and printed.endswith(f"\nPage: {out}\n")
    assert "note:" not in printed

    page = ET.fromstring(out.read_text(encoding="utf-8"))
    results, classes, options = tables(page)
    assert results[0] == [
        "run", "training", "iterations", "images", "minutes", "recall@300", "mAP 11-point", "mAP area"
    ]  # fmt: skip
    assert [row[:5] for row in results[1:]] == [
        [letter, title, "20", "40", "1.5"] for letter in "AB" for title in ("step 1 RPN", "step 2")
    ]
    # All objects are found in A, and in B the one of picture b of two cats, and no dog.
    assert results[2][6:] == ["0.773", "0.750"] and results[2][6:] in [row[6:] for row in results]
    assert classes[0] == ["class, AP area", "A", "B"]
    assert [row[1:] for row in classes[1:]] == [["1.000", "0.500"], ["0.500", "0.000"], ["–", "–"], ["0.750", "0.250"]]
    assert options == [
        ["field", "A", "B"], ["options.seed", "0", "1"], ["options.warmup", "–", "5"],
    ]  # fmt: skip
    plots = [image.get("src").partition(",")[2] for image in page.iter("img")]
    texts = [text_of(ET.fromstring(base64.b64decode(plot))) for plot in plots]
    assert len(texts) == 2 and all(re.search(r"\bA B\b|\bA\b.*\bB\b", text) for text in texts)


def test_joint_training_has_one_row(compare, make_run, tmp_path, capsys):
    folders = [make_run("a"), make_run("joint")]
    for kind in ("step1.rpn", "step2.detector"):
        path = folders[1] / "evaluation" / f"{kind}.json"
        values = json.loads(path.read_text()) | {"name": "joint", "title": "joint training"}
        write_json(path.with_name(f"joint.{kind.partition('.')[2]}.json"), values)
        path.unlink()
    assert compare("--compare", *folders, "--out", tmp_path / "page.html") == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("B ")]
    assert len(rows) == 1 and rows[0][:3] == ["B", "joint", "training"] and rows[0][-2:] == ["0.773", "0.750"]
    assert len(rows[0]) == 9  # with the recall


def test_runs_that_are_hard_to_compare_have_notes(compare, make_run, tmp_path, capsys):
    folders = [make_run("a"), make_run("b", val="2"), make_run("c", measured=False)]
    out = tmp_path / "page.html"
    assert compare("--compare", *folders, "--out", out) == 0
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note: ")]
    assert notes == [
        "note: B was measured on other pictures or other annotations than A",
        "note: C has no measured detector yet",
    ]
    text = text_of(ET.fromstring(out.read_text(encoding="utf-8")))
    assert all(f"N{note[1:]}." in text for note in notes)


def test_runs_without_any_result(compare, make_run, tmp_path):
    folders = [make_run(name, measured=False) for name in "ab"]
    out = tmp_path / "page.html"
    assert compare("--compare", *folders, "--out", out) == 0
    text = text_of(ET.fromstring(out.read_text(encoding="utf-8")))
    for expected in ("No detector was measured.", "No curves recorded.", "All options are the same."):
        assert expected in text


@pytest.mark.parametrize(
    ("damage", "beginning"),
    [
        (lambda folder: (folder / "config.json").unlink(), "{folder}: is not a run folder"),
        (lambda folder: (folder / "data.json").write_text("{"), "{folder}/data.json: cannot be read (JSONDecodeError"),
        (
            lambda folder: (folder / "evaluation" / "step1.rpn.json").write_text(json.dumps({"name": 1})),
            "{folder}/evaluation/step1.rpn.json: cannot be read (KeyError",
        ),
    ],
)
def test_a_damaged_run_is_one_line(compare, make_run, tmp_path, capsys, damage, beginning):
    good, bad = make_run("good"), make_run("bad")
    damage(bad)
    assert compare("--compare", good, bad, "--out", tmp_path / "page.html") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {beginning.format(folder=bad)}"), line
    assert not (tmp_path / "page.html").exists()


def test_what_cannot_be_compared_or_written(compare, make_run, tmp_path, capsys):
    folder = make_run("a")
    assert compare("--compare", folder) == 2
    assert "--compare: there is only one run" in capsys.readouterr().err
    assert compare("--compare", *[folder] * 27) == 2
    assert "27 runs are too many" in capsys.readouterr().err
    assert compare("--compare", folder, folder, "--out", folder / "config.json" / "page.html") == 2
    assert "config.json/page.html: cannot be written" in capsys.readouterr().err


@pytest.mark.slow
def test_a_browser_shows_it(browse, compare, make_run, tmp_path):
    folders = [make_run(f"a-long-name-of-a-run-{number}" * 3, seed=number) for number in range(6)]
    assert compare("--compare", *folders, "--out", tmp_path / "page.html") == 0
    with browse(tmp_path / "page.html") as window:
        assert window.locator("img").count() == 2
