"""What `keras_frcnn.inspect` shows is what the detector does, and what training would do with the objects."""

import base64
import dataclasses
import functools
import shutil
import xml.etree.ElementTree as ET

import cv2
import numpy as np
import pytest
from PIL import Image

from keras_frcnn.api.inspection.stages import Annotated, run_stages
from keras_frcnn.api.pictures import detect_pixels
from keras_frcnn.data.sources.loading import load_dataset
from keras_frcnn.data.sources.spec import DataSpec
from keras_frcnn.inspect import main


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(3).integers(0, 256, (80, 110, 3), np.uint8)


@pytest.fixture(scope="module")
def scenes(model, voc_tree):
    """The small detector's configuration with random weights for the classes of the drawn scenes, as a file."""
    from keras_frcnn.network.model import FasterRCNN

    names = load_dataset(DataSpec(data=f"voc:{voc_tree}"), "val").class_names
    path = voc_tree.parent / "scenes.keras"
    FasterRCNN(model.config, names, seed=1).save(path)
    return path


def ious(boxes, others):
    """(N, 4), (M, 4) -> (N, M), in float64."""
    boxes, others = np.float64(boxes)[:, None], np.float64(others)[None]
    sides = np.minimum(boxes[..., 2:], others[..., 2:]) - np.maximum(boxes[..., :2], others[..., :2])
    common = np.maximum(sides, 0).prod(axis=-1)
    areas = [(one[..., 2:] - one[..., :2]).prod(axis=-1) for one in (boxes, others)]
    return common / (areas[0] + areas[1] - common)


def test_kept_detections_are_those_of_the_detector(model, pixels):
    stages = run_stages(model, pixels, None)
    before, kept = stages.detections
    expected = detect_pixels(model, pixels)
    assert len(expected.scores) and kept.sum() == len(expected.scores) < len(kept)
    scale = np.array(stages.size * 2) / np.array(pixels.shape[:2] * 2)
    np.testing.assert_allclose(before.boxes[kept], expected.boxes * scale, atol=1e-3)
    np.testing.assert_allclose(before.scores[kept], expected.scores, atol=1e-6)
    np.testing.assert_array_equal(before.classes[kept], expected.class_ids)


@pytest.mark.parametrize("stage", ["proposals", "detections"])
def test_what_is_removed_overlaps_with_a_better_box_that_is_kept(make_model, small_config, pixels, stage):
    section, threshold = "rpn" if stage == "proposals" else "test", 0.2  # few boxes of random weights overlap much
    changed = {section: dataclasses.replace(getattr(small_config, section), nms_iou=threshold)}
    model = make_model(config=dataclasses.replace(small_config, **changed))
    before, kept = getattr(run_stages(model, pixels, None), stage)
    last = np.flatnonzero(kept)[-1]  # after it, boxes may be removed because enough were kept
    overlaps = ious(before.boxes, before.boxes) * (before.classes[:, None] == before.classes)
    for row in range(last + 1):
        over = (overlaps[row, :row][kept[:row]] > threshold).any()
        assert over != kept[row]
    assert not kept[: last + 1].all() and (np.diff(before.scores) <= 0).all()


def test_counts_of_the_stages(model, pixels):
    stages = run_stages(model, pixels, None)
    assert stages.size == (64, 88) and stages.cells == (4, 5)
    assert stages.anchors == 4 * 5 * 6 and len(stages.shapes) == 6
    assert len(stages.proposals.kept) == min(stages.large, model.config.test.pre_nms_topk)
    assert 0 < stages.large <= stages.anchors
    np.testing.assert_allclose(stages.shapes.mean(axis=0).reshape(2, 2).mean(axis=0), [2.5 * 16, 2.5 * 16])
    assert stages.objectness.shape == (4, 5) and stages.objectness.max() == pytest.approx(
        stages.proposals.before.scores[0]
    )


def test_objects_are_compared_with_each_stage(model, pixels):
    plain = run_stages(model, pixels, None)
    kept = plain.detections.kept
    found = [field[kept][0] for field in plain.detections.before]
    scale = np.array(pixels.shape[:2] * 2) / np.array(plain.size * 2)
    # The first is one of the anchors, the second is where a detection is, the third the same of another class.
    boxes = np.stack([plain.shapes[0], found[0], found[0]]) * scale
    classes = np.array([1, found[2], found[2] % 3 + 1], np.int32)
    objects = run_stages(model, pixels, Annotated(boxes, classes, np.zeros(3, bool))).objects
    np.testing.assert_allclose(objects.boxes, boxes / scale, atol=1e-3)
    assert objects.anchor_iou[0] == pytest.approx(1, abs=1e-3) and objects.positives[0] >= 1
    assert objects.detection_iou[1] == pytest.approx(1, abs=1e-3)
    assert objects.detection_score[1] == pytest.approx(found[1])
    assert objects.detection_iou[2] < 1 and objects.proposal_iou[1] == objects.proposal_iou[2]
    assert len(objects.positive_anchors) == objects.positives.sum()
    assert len(objects.positive_anchors) + objects.negative + objects.ignored == plain.anchors
    # A positive anchor overlaps an object by the threshold, or is the best anchor of one.
    overlaps = ious(objects.positive_anchors, objects.boxes)
    is_best = np.isclose(overlaps, objects.anchor_iou[None], atol=1e-4) & (overlaps > 0)
    assert ((overlaps >= model.config.rpn.positive_iou) | is_best).any(axis=1).all()


def test_difficult_objects_get_no_positive_anchors(model, pixels):
    plain = run_stages(model, pixels, None)
    scale = np.array(pixels.shape[:2] * 2) / np.array(plain.size * 2)
    boxes, classes = (plain.shapes[[0, 1]] * scale).astype(np.float32), np.array([1, 2], np.int32)
    alone = run_stages(model, pixels, Annotated(boxes[1:], classes[1:], np.array([False]))).objects
    objects = run_stages(model, pixels, Annotated(boxes, classes, np.array([True, False]))).objects
    # Training removes the difficult object, so the anchors are labelled as if only the other one were there.
    assert objects.positives.tolist() == [0, *alone.positives]
    np.testing.assert_array_equal(objects.positive_anchors, alone.positive_anchors)
    assert (objects.negative, objects.ignored) == (alone.negative, alone.ignored)
    assert objects.anchor_iou[0] == pytest.approx(1, abs=1e-3) and objects.difficult.tolist() == [True, False]


def test_a_picture_without_objects(model, pixels):
    nothing = Annotated(np.zeros((0, 4), np.float32), np.zeros(0, np.int32), np.zeros(0, bool))
    objects = run_stages(model, pixels, nothing).objects
    assert objects.positives.shape == (0,) and objects.positive_anchors.shape == (0, 4) and objects.negative > 0


@pytest.fixture
def inspect(run_here):
    return functools.partial(run_here, main)


def text_of(element):
    return " ".join("".join(element.itertext()).split())


def read(path):
    page = ET.fromstring(path.read_text(encoding="utf-8"))
    titles = [text_of(heading) for heading in page.iter("h2")]
    pictures = [
        cv2.imdecode(np.frombuffer(base64.b64decode(image.get("src").partition(",")[2]), np.uint8), cv2.IMREAD_COLOR)
        for image in page.iter("img")
    ]
    tables = [[[text_of(cell) for cell in row] for row in table.iter("tr")] for table in page.iter("table")]
    return titles, pictures, tables


def test_the_page_of_a_picture(inspect, saved, pixels, tmp_path, capsys):
    picture = tmp_path / "<a & b>.png"
    Image.fromarray(pixels).save(picture)
    assert inspect(picture, "--model", saved, "--out", tmp_path / "new" / "page.html") == 0
    assert capsys.readouterr().out == f"Page: {tmp_path / 'new' / 'page.html'}\n"
    titles, pictures, tables = read(tmp_path / "new" / "page.html")
    assert [title.partition(". ")[2] for title in titles] == [
        "What the network sees", "Anchors", "Scores of the region proposal network", "Proposals", "Detections",
    ]  # fmt: skip
    assert len(pictures) == 7 and all(one.size for one in pictures)
    assert tables[0][1] == ["anchors", "120"] and tables[1][0] == ["class", "before suppression", "after"]


def test_the_page_of_a_picture_of_a_data_set(inspect, scenes, voc_tree, tmp_path):
    example = load_dataset(DataSpec(data=f"voc:{voc_tree}"), "val").examples[0]
    options = ("--model", scenes, "--data", f"voc:{voc_tree}", "--split", "val", "--out")
    assert inspect(example.image_id, *options, tmp_path / "by_id.html") == 0
    assert inspect(example.image_path, *options, tmp_path / "by_path.html") == 0
    titles, pictures, tables = read(tmp_path / "by_id.html")
    assert titles[-1] == "6. Objects: where each one is found or lost" and len(pictures) == 9
    assert tables[-1][0][0] == "object" and len(tables[-1]) == 1 + len(example.boxes)
    assert read(tmp_path / "by_path.html")[2] == tables


def test_the_page_marks_difficult_objects(inspect, scenes, voc_tree, tmp_path):
    tree = shutil.copytree(voc_tree, tmp_path / "tree")
    example = load_dataset(DataSpec(data=f"voc:{tree}"), "val").examples[0]
    (annotation,) = tree.rglob(f"{example.image_id}.xml")
    text = annotation.read_text(encoding="utf-8")
    annotation.write_text(text.replace("<difficult>0<", "<difficult>1<", 1), encoding="utf-8")
    page = tmp_path / "page.html"
    options = ("--data", f"voc:{tree}", "--split", "val", "--out", page)
    assert inspect(example.image_id, "--model", scenes, *options) == 0
    marked = [row[0].endswith(" (difficult)") for row in read(page)[2][-1][1:]]
    assert marked == [True] + [False] * (len(example.boxes) - 1)
    assert "Training leaves out 1 of them" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "beginning"),
    [
        (["gone.png", "--model", "{saved}", "--out", "p.html"], "gone.png: no such file"),
        (["x", "--model", "gone", "--out", "p.html"], "gone: no such model file"),
        (
            ["x", "--model", "{scenes}", "--out", "p.html", "--strict"],
            "--strict: has no effect without --data; leave it",
        ),
        (
            ["x", "--model", "{scenes}", "--out", "{folder}"],
            "{folder}: is a folder; give the name of a file with --out",
        ),
        (
            [
                "x",
                "--model",
                "{scenes}",
                "--data",
                "voc:{tree}",
                "--split",
                "val",
                "--out",
                "p.html",
                "--class-names",
                "cat",
            ],
            "--class-names: has no effect: the classes are those of the model; leave it out",
        ),
        (["x", "--model", "{saved}", "--out", "p.html", "--split", "val"], "--data and --split: only one of them"),
        (
            ["x", "--model", "{scenes}", "--data", "voc:{tree}", "--split", "val", "--out", "p.html"],
            "x: is not a picture of voc:{tree} val; give the id or file",
        ),
        (["{picture}", "--model", "{saved}", "--out", "{picture}/p.html"], "{picture}/p.html: cannot be written"),
    ],
)
def test_bad_input_is_one_line(inspect, saved, scenes, voc_tree, tmp_path, capsys, arguments, beginning):
    Image.new("RGB", (90, 70)).save(tmp_path / "a.png")
    names = {"saved": saved, "scenes": scenes, "tree": voc_tree, "picture": tmp_path / "a.png", "folder": tmp_path}
    assert inspect(*(argument.format(**names) for argument in arguments)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {beginning.format(**names)}"), line


@pytest.mark.slow
def test_a_browser_shows_it(browse, inspect, scenes, voc_tree, tmp_path):
    example = load_dataset(DataSpec(data=f"voc:{voc_tree}"), "val").examples[0]
    options = ("--data", f"voc:{voc_tree}", "--split", "val", "--out", tmp_path / "page.html")
    assert inspect(example.image_id, "--model", scenes, *options) == 0
    with browse(tmp_path / "page.html") as window:
        assert window.locator("img").count() == 9
