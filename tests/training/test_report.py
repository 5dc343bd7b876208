"""The report of a run: what it counts and ranks, what it reads of TensorBoard, and that it needs no network."""

import base64
import itertools
import re
import shutil
import xml.etree.ElementTree as ET

import cv2
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.util.tensor_util import make_tensor_proto

from keras_frcnn.data.example import Dataset, Example
from keras_frcnn.evaluation.detections_record import ImageDetections
from keras_frcnn.evaluation.recall import proposal_recall
from keras_frcnn.evaluation.tables import ap_to_json, recall_to_json
from keras_frcnn.evaluation.voc_ap import evaluate_voc
from keras_frcnn.facts.files import write_json
from training.reporting.curves import read_curves
from training.reporting.judged_pictures import PictureJudgement, choose_pictures, draw_picture, judge_picture
from training.reporting.plots import CURVE_POINTS
from training.reporting.report import (
    write_report,
)

CAT, DOG, HEN = 1, 2, 3
CLASS_NAMES = ('<b>&"cat"', "dog", "hen's")
GREY = 90
LEFT, RIGHT = (10, 10, 40, 40), (10, 50, 40, 70)  # two places of objects


def make_example(image_id, objects=(), folder="", size=(60, 80)):
    """A grey picture with objects (box, class, difficult), written where there is a folder for it."""
    boxes, classes, difficult = zip(*objects, strict=True) if objects else ((), (), ())
    path = f"{folder}/{image_id.replace('/', '_')}.png"
    if folder:
        assert cv2.imwrite(path, np.full((*size, 3), GREY, np.uint8))
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    return Example(image_id, path, *size, boxes, np.array(classes, np.int32), np.array(difficult, bool))


def make_record(image_id, found=()):
    """Detections (box, class, score)."""
    boxes, classes, scores = zip(*found, strict=True) if found else ((), (), ())
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    return ImageDetections(image_id, boxes, np.array(classes, np.int32), np.array(scores, np.float32))


def four_pictures(folder):
    """A data set and its detections, such that pictures a, b and c are worth 1, 2/3 and 0, and d nothing."""
    examples = (
        make_example("c", [(LEFT, CAT, True), (RIGHT, DOG, False)], folder),
        make_example("2007/<a>", [(LEFT, CAT, False), (RIGHT, DOG, False)], folder),
        make_example("d", [], folder),
        make_example("b", [(LEFT, CAT, False)], folder),
    )
    detections = [
        make_record("c", [(LEFT, CAT, 0.9)]),  # on a difficult object
        make_record("2007/<a>", [(LEFT, CAT, 0.9), (RIGHT, DOG, 0.8)]),
        make_record("d"),
        make_record("b", [(LEFT, CAT, 0.9), (LEFT, CAT, 0.8), (RIGHT, DOG, 0.4)]),
    ]
    return Dataset("pictures & co, val", CLASS_NAMES, examples, {}), detections


def write_events(path, records):
    """A TensorBoard file of (seconds since 1970, step, {tag: value})."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for seconds, step, values in records:
            summary = Summary()
            for tag, value in values.items():
                summary.value.add(tag=tag).tensor.CopyFrom(make_tensor_proto(np.float32(value)))
            writer.write(Event(wall_time=seconds, step=step, summary=summary).SerializeToString())


def make_run(folder, dataset, detections):
    """A run folder without logs, and what `write_report` takes with it."""
    options = {"data": "voc:<pictures>", "train": "train", "val": "val", "steps": [3, 3], "weights": None}
    write_json(folder / "config.json", {"options": options, "detector": {"anchors": {"scales": [32.0]}}})
    ap = evaluate_voc(dataset.examples, detections, dataset.class_names)
    found = {e.image_id: narrowed(e.boxes, 0.52) for e in dataset.examples}
    recall = proposal_recall(dataset.examples, found, dataset.class_names)
    training = {"iterations": 30, "images": 60, "minutes": 1.25}
    results = [
        {"name": "step1", "title": "step 1 RPN", "training": training, "recall": recall_to_json(recall), "table": ""},
        {"name": "step2", "title": "step 2 <detector>", "training": training, "ap": ap_to_json(ap), "table": ""},
    ]
    return folder, results, dataset, detections, ap


def narrowed(boxes, share):
    """The boxes' left parts, whose IoU with the boxes is `share`."""
    boxes = boxes.copy()
    boxes[:, 3] = boxes[:, 1] + share * (boxes[:, 3] - boxes[:, 1])
    return boxes


def parse(path):
    """The page's elements; raises ParseError where it is not well-formed."""
    return ET.fromstring(path.read_text(encoding="utf-8"))


def text_of(element):
    return " ".join("".join(element.itertext()).split())


def table_of(page, title, place=0):
    """The texts of the first table after a heading, or of a later one, row by row."""
    headings = (element for element in page.iter() if element.tag in ("h1", "h2", "h3"))
    assert title in map(text_of, headings)
    following = itertools.dropwhile(lambda element: text_of(element) != title, page.iter())
    table = [element for element in following if element.tag == "table"][place]
    return [[text_of(cell) for cell in row] for row in table.iter("tr")]


def pictures_of(page, kind):
    """(bytes, alternative text) of each image of that kind."""
    prefix = f"data:image/{kind};base64,"
    sources = [(image.get("src"), image.get("alt")) for image in page.iter("img")]
    return [(base64.b64decode(source[len(prefix) :]), alt) for source, alt in sources if source.startswith(prefix)]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The path of a whole report, its curves written by tf.summary, as orbit does."""
    folder = tmp_path_factory.mktemp("run & co")
    pictures = tmp_path_factory.mktemp("pictures")
    with tf.summary.create_file_writer(str(folder / "logs" / "step1")).as_default():
        for step in (10, 20, 30):
            tags = ("losses/rpn_class", "losses/loss", "learning_rate", "images_per_second", "gradient_norm")
            for tag in (*tags, "data_wait_share", "steps_per_second"):
                tf.summary.scalar(tag, 1.0 / step, step=step)
    path = write_report(*make_run(folder, *four_pictures(pictures)))
    assert path == folder / "report.html"
    assert sorted(entry.name for entry in folder.iterdir()) == ["config.json", "logs", "report.html"]
    return path


@pytest.fixture(scope="module")
def page(report):
    return parse(report)


def test_counts_of_each_picture():
    dataset, detections = four_pictures("")
    pairs = zip(dataset.examples, detections, strict=True)
    judgements = [judge_picture(i, example, record, 0.5) for i, (example, record) in enumerate(pairs)]
    assert judgements == [
        PictureJudgement(0, (), (DOG,), ()),
        PictureJudgement(1, (CAT, DOG), (), ()),
        PictureJudgement(2, (), (), ()),
        PictureJudgement(3, (CAT,), (), (CAT,)),
    ]
    assert [judgement.f1 for judgement in judgements] == pytest.approx([0, 1, np.nan, 2 / 3], nan_ok=True)
    assert PictureJudgement(0, (CAT,), (CAT,), (DOG, DOG)).f1 == pytest.approx(2 / 5)
    best, worst = choose_pictures(judgements)
    assert [judgement.position for judgement in best] == [1, 3]
    assert [judgement.position for judgement in worst] == [0]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([((0, 0, 10, 5), CAT, 0.9)], ((), (CAT,), (CAT,))),  # IoU 0.5 is not above 0.5
        ([((0, 0, 10, 5.1), CAT, 0.9)], ((CAT,), (), ())),
        ([((0, 0, 10, 10), CAT, 0.5)], ((CAT,), (), ())),  # the least score that counts
        ([((0, 0, 10, 10), CAT, 0.49)], ((), (CAT,), ())),
        ([((0, 0, 10, 10), DOG, 0.9)], ((), (CAT,), (DOG,))),
        # The second best object is free, but the best is taken by a better detection, which comes later.
        ([((0, 0, 10, 10), CAT, 0.6), ((0, 0, 10, 9), CAT, 0.7)], ((CAT,), (), (CAT,))),
    ],
)
def test_one_detection(found, expected):
    example = make_example("x", [((0, 0, 10, 10), CAT, False)])
    assert judge_picture(7, example, make_record("x", found), 0.5) == (7, *expected)


def test_counts_agree_with_the_evaluation():
    rng = np.random.default_rng(0)
    examples, records, judgements = [], [], []
    for position in range(40):
        boxes, classes = random_boxes(rng, 6), rng.integers(1, 4, 6)
        near = boxes[rng.integers(0, 6, 12)] + rng.integers(-2, 3, (12, 4))
        objects = zip(boxes.tolist(), classes.tolist(), (rng.random(6) < 0.3).tolist(), strict=True)
        found = zip(near.tolist(), rng.integers(1, 4, 12).tolist(), rng.uniform(0.5, 1, 12).tolist(), strict=True)
        examples.append(make_example(str(position), list(objects)))
        records.append(make_record(str(position), list(found)))
        judgements.append(judge_picture(position, examples[-1], records[-1], 0.5))
    for class_index, entry in enumerate(evaluate_voc(examples, records, CLASS_NAMES).classes, 1):
        found, missed, wrong = (
            sum(getattr(judgement, field).count(class_index) for judgement in judgements)
            for field in ("found", "missed", "wrong")
        )
        assert found + missed == entry.objects
        assert found / entry.objects == pytest.approx(entry.recall[-1])
        assert found / (found + wrong) == pytest.approx(entry.precision[-1])
        assert min(found, missed, wrong) > 3  # else this says little


def random_boxes(rng, count):
    top_left = rng.integers(0, 20, (count, 2))
    return np.concatenate([top_left, top_left + rng.integers(6, 14, (count, 2))], axis=1)


def test_best_and_worst_pictures_are_six_each_and_equal_ones_in_order():
    worth = [1, 0, 2, 2, 2, 2, 1, 0, 2, 2, 2, 1, 0, 2]  # of 2 objects, how many are found
    judgements = [PictureJudgement(i, (CAT,) * n, (CAT,) * (2 - n), ()) for i, n in enumerate(worth)]
    best, worst = choose_pictures(judgements)
    assert [judgement.position for judgement in best] == [2, 3, 4, 5, 8, 9]
    assert [judgement.position for judgement in worst] == [1, 7, 12, 0, 6, 11]


def test_no_picture_is_among_the_best_and_the_worst():
    best, worst = choose_pictures(PictureJudgement(i, (CAT,), (), ()) for i in range(9))
    assert [judgement.position for judgement in best] == [0, 1, 2, 3, 4]
    assert [judgement.position for judgement in worst] == [5, 6, 7, 8]
    assert choose_pictures([PictureJudgement(0, (), (), ())]) == ([], [])


def test_the_newest_value_of_a_step_counts(tmp_path):
    # By name the file of the later start comes first.
    old = [(10, 10, {"losses/a": 1}), (11, 30, {"losses/a": 3}), (12, 20, {"losses/a": 2})]
    new = [(20, 20, {"losses/a": 5, "losses/b": 7, "detections/picture": 0}), (21, 40, {"losses/a": 6})]
    write_events(tmp_path / "events.out.tfevents.2.old", old)
    write_events(tmp_path / "events.out.tfevents.1.new", new)
    curves = read_curves(tmp_path)
    assert sorted(curves) == ["losses/a", "losses/b"]
    np.testing.assert_array_equal(curves["losses/a"].steps, [10, 20, 30, 40])
    np.testing.assert_array_equal(curves["losses/a"].values, [1, 5, 3, 6])
    np.testing.assert_array_equal(curves["losses/a"].times, [10, 20, 11, 21])
    np.testing.assert_array_equal(curves["losses/b"].values, [7])


def test_all_records_of_a_long_training_are_read(tmp_path):
    write_events(tmp_path / "events.out.tfevents.1", [(step, step, {"losses/a": step}) for step in range(2000)])
    np.testing.assert_array_equal(read_curves(tmp_path)["losses/a"].values, np.arange(2000))


def test_a_file_that_ends_in_a_half_record_is_read_until_there(tmp_path):
    path = tmp_path / "events.out.tfevents.1"
    write_events(path, [(1, 10, {"losses/a": 1}), (2, 20, {"losses/a": 2})])
    path.write_bytes(path.read_bytes()[:-5])
    write_events(tmp_path / "events.out.tfevents.2", [(3, 30, {"losses/a": 3})])
    np.testing.assert_array_equal(read_curves(tmp_path)["losses/a"].steps, [10, 30])


def test_no_curves_where_there_is_no_folder_or_nothing_in_it(tmp_path):
    (tmp_path / "empty").mkdir()
    assert read_curves(tmp_path / "missing") == read_curves(tmp_path / "empty") == {}


def test_head_of_the_page(page):
    assert page.get("lang") == "en"
    assert page.findtext("head/title") == "voc:<pictures>: training report"
    assert page.find("head/meta[@charset]").get("charset") == "utf-8"
    assert text_of(page.find("body/header/h1")) == "Faster R-CNN on voc:<pictures>"
    head = text_of(page.find("body/header"))
    # cat: all found first; dog: half of them, 6 of the 11 recalls.
    assert "0.773 mAP 11-point" in head and "0.750 mAP area" in head
    assert "Trained on train, measured on pictures & co, val: 4 pictures, 4 objects, 3 classes." in head


def test_date_is_that_of_the_last_record(tmp_path):
    write_events(tmp_path / "logs" / "step1" / "events.out.tfevents.1", [(1.7e9, 1, {"losses/loss": 1})])
    write_events(tmp_path / "logs" / "step2" / "events.out.tfevents.1", [(1.7e9 + 3600, 1, {"losses/loss": 1})])
    dataset = Dataset("none", CLASS_NAMES, (), {})
    head = parse(write_report(*make_run(tmp_path, dataset, []))).find("body/header")
    assert "Training ended 2023-11-14 23:13 UTC." in text_of(head)
    assert head.find(".//time").get("datetime") == "2023-11-14T23:13Z"


def test_table_of_the_trainings(page):
    assert table_of(page, "Training") == [
        ["training", "steps", "images", "minutes", "recall@300", "mAP 11-point", "mAP area"],
        ["step 1 RPN", "30", "60", "1.2", "1.000", "–", "–"],
        ["step 2 <detector>", "30", "60", "1.2", "–", "0.773", "0.750"],
    ]


def test_table_of_the_proposals(page):
    header, *rows = table_of(page, "Recall of proposals")
    assert header == ["proposals", "per image", "IoU 0.50", "IoU 0.70", "IoU 0.50:0.95"]
    assert rows == [[count, "1.2", "1.000", "0.000", "0.100"] for count in ("50", "100", "300", "1000", "2000")]
    assert "4 objects in 4 pictures" in text_of(page)


def test_table_of_the_proposals_for_each_class(page):
    header, *rows = table_of(page, "Recall of proposals", place=1)
    assert header == ["class, IoU 0.50", "objects", *(f"by {count}" for count in (50, 100, 300, 1000, 2000))]
    assert rows == [['<b>&"cat"', "2", *["1.000"] * 5], ["dog", "2", *["1.000"] * 5], ["hen's", "0", *["–"] * 5]]


def test_every_class_is_in_the_table_and_those_without_objects_have_dashes(page):
    assert table_of(page, "Average precision of each class") == [
        ["class", "AP 11-point", "AP area", "objects", "detections"],
        ['<b>&"cat"', "1.000", "1.000", "2", "4"],
        ["dog", "0.545", "0.500", "2", "2"],
        ["hen's", "–", "–", "0", "0"],
        ["mean", "0.773", "0.750", "4", "6"],
    ]
    assert "Without objects, left out of the mean: hen's." in text_of(page)


def test_every_table_names_its_columns_and_rows(page):
    tables = list(page.iter("table"))
    assert len(tables) == 6
    for table in tables:
        assert {cell.get("scope") for cell in table.findall("thead/tr/th")} == {"col"}
        for row in [*table.findall("tbody/tr"), *table.findall("tfoot/tr")]:
            assert [cell.tag for cell in row] == ["th"] + ["td"] * (len(row) - 1)
            assert row[0].get("scope") == "row"


def test_plots(page):
    plots = dict(reversed(plot) for plot in pictures_of(page, "svg+xml"))
    assert list(plots) == [
        "Recall against the number of proposals, step 1 RPN",
        'Precision against recall, <b>&"cat"',
        "Precision against recall, dog",
        "losses over steps, step 1 RPN",
        "learning rate over steps, step 1 RPN",
        "gradient norm over steps, step 1 RPN",
        "images a second over steps, step 1 RPN",
    ]
    shown = {title: text_of(ET.fromstring(svg)) for title, svg in plots.items()}
    assert "IoU 0.50 IoU 0.70 IoU 0.50:0.95" in shown["Recall against the number of proposals, step 1 RPN"]
    assert "rpn_class loss" in shown["losses over steps, step 1 RPN"]
    captions = [text_of(caption) for caption in page.iter("figcaption")]
    assert captions[:3] == ['<b>&"cat" 1.000', "dog 0.545", "hen's –"]
    assert "no objects" in text_of(page)
    assert text_of(page).count("No curves recorded.") == 1  # of step 2


def test_a_long_curve_is_drawn_from_means(tmp_path):
    count = 4 * CURVE_POINTS
    records = [(step, step, {"learning_rate": step % 2}) for step in range(count)]
    write_events(tmp_path / "logs" / "step1" / "events.out.tfevents.1", records)
    page = parse(write_report(*make_run(tmp_path, Dataset("none", CLASS_NAMES, (), {}), [])))
    (svg,) = (svg for svg, alt in pictures_of(page, "svg+xml") if alt.startswith("learning rate"))
    lines = [path.get("d") for path in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}path") if path.get("d")]
    drawn = [line for line in lines if len(re.findall("[ML]", line)) > 5]
    assert not drawn  # as 0, 1, 0, 1 has a mean of 0.5 everywhere, a straight line


def test_pictures_and_their_captions(page):
    captions = [text_of(caption) for caption in page.iter("figcaption")]
    assert captions[-3:] == [
        "2007/<a> F1 1.00found 2, missed 0, wrong 0",
        'b F1 0.67found 1, missed 0, wrong 1 (<b>&"cat")',
        "c F1 0.00found 0, missed 1 (dog), wrong 0",
    ]
    titles = [text_of(title) for title in page.iter("h3")]
    assert [title for title in titles if "pictures" in title] == ["Best pictures", "Worst pictures"]
    pictures = pictures_of(page, "jpeg")
    assert [alt for _, alt in pictures] == [
        "Picture 2007/<a> with its detections: found 2, missed 0, wrong 0",
        'Picture b with its detections: found 1, missed 0, wrong 1 (<b>&"cat")',
        "Picture c with its detections: found 0, missed 1 (dog), wrong 0",
    ]
    images = [cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR).astype(int) for encoded, _ in pictures]
    assert [image.shape for image in images] == [(360, 480, 3)] * 3
    blue, _, red = np.moveaxis(images[1], -1, 0)  # cats alone, which are red
    assert np.max(red - blue) > 100 and np.max(blue - red) < 60


@pytest.mark.parametrize(
    ("size", "expected"), [((60, 80), (360, 480)), ((1200, 1600), (360, 480)), ((640, 16), (480, 12))]
)
def test_pictures_come_in_one_size(tmp_path, size, expected):
    example = make_example("x", [(LEFT, CAT, False)], tmp_path, size)
    assert draw_picture(example, make_record("x"), CLASS_NAMES).shape == (*expected, 3)


@pytest.mark.parametrize(("difficult", "brightest"), [(False, 255), (True, 150)])
def test_true_boxes_are_dashed_around_the_object(tmp_path, difficult, brightest):
    example = make_example("x", [((240, 320, 720, 960), CAT, difficult)], tmp_path, (960, 1280))
    low = make_record("x", [((0, 0, 100, 100), CAT, 0.49)])  # not shown
    drawn = draw_picture(example, low, CLASS_NAMES).astype(int)
    frame = np.zeros((360, 480), bool)
    frame[87:273, 117:363] = True  # three eighths of the box, and up to 3 pixels around it
    frame[91:269, 121:359] = False
    np.testing.assert_array_equal(drawn[~frame], GREY)
    assert drawn.min() == 0 and drawn.max() == brightest
    for side in (drawn[89, 120:360], drawn[270, 120:360], drawn[90:270, 119], drawn[90:270, 360]):
        dark, bright = (side[:, 0] < 40).mean(), (side[:, 0] > 110).mean()
        assert 0.25 < dark < 0.6 and 0.25 < bright < 0.6


def test_shown_detections_are_drawn_over_the_true_boxes(tmp_path):
    example = make_example("x", [((240, 320, 720, 960), CAT, False)], tmp_path, (960, 1280))
    alone = draw_picture(example, make_record("x"), CLASS_NAMES).astype(int)
    box = (236, 316, 724, 964)  # where the dashes are
    drawn = draw_picture(example, make_record("x", [(box, CAT, 0.5)]), CLASS_NAMES).astype(int)
    red = (drawn[..., 0] - drawn[..., 1] > 100) & (drawn[..., 0] > 180)
    assert red[100:260, 119:121].any(axis=1).all()
    assert not (alone[..., 0] - alone[..., 1] > 100).any()


def test_the_page_asks_nothing_of_the_network(report, page):
    assert "://" not in report.read_text(encoding="utf-8")
    attributes = {name for element in page.iter() for name in element.attrib}
    assert attributes == {"alt", "charset", "class", "content", "datetime", "lang", "name", "scope", "src"}
    assert not {element.tag for element in page.iter()} & {"script", "link", "base", "iframe", "object", "embed", "svg"}
    assert all(image.get("src").startswith("data:image/") for image in page.iter("img"))
    assert not re.search(r"url\(|@import", page.findtext("head/style"))

    for svg, _ in pictures_of(page, "svg+xml"):
        assert svg.startswith(b"<svg")
        assert set(re.findall(rb"[\w:]+=\"[^\"]*://[^\"]*\"", svg)) <= {
            b'xmlns:xlink="http://www.w3.org/1999/xlink"', b'xmlns="http://www.w3.org/2000/svg"'
        }  # fmt: skip
        assert b"://" not in re.sub(rb"xmlns(:xlink)?=\"[^\"]*\"", b"", svg)
        for element in ET.fromstring(svg).iter():
            assert element.get("{http://www.w3.org/1999/xlink}href", "#").startswith("#")
            assert "@import" not in (element.text or "")


def test_names_are_escaped(report):
    text = report.read_text(encoding="utf-8")
    assert "<b>&" not in text and "<pictures>" not in text and "<detector>" not in text and "<a>" not in text
    assert "&lt;b&gt;&amp;&quot;cat&quot;" in text and "2007/&lt;a&gt;" in text


def test_options_are_folded_at_the_end(page):
    details = page.find("body")[-1]
    assert details.tag == "details" and "open" not in details.attrib
    assert text_of(details.find("summary")) == "Options of the run"
    assert table_of(page, "Option")[1:] == [
        ["data", "voc:<pictures>"], ["train", "train"], ["val", "val"], ["steps", "[3, 3]"], ["weights", "null"]
    ]  # fmt: skip
    assert table_of(page, "Detector")[1:] == [["anchors.scales", "[32.0]"]]


def test_a_run_without_logs_objects_and_detections(tmp_path):
    examples = tuple(make_example(name, [], tmp_path) for name in "ab")
    dataset = Dataset("empty", CLASS_NAMES, examples, {})
    page = parse(write_report(*make_run(tmp_path / "run", dataset, [make_record(name) for name in "ab"])))
    text = text_of(page)
    assert "– mAP 11-point" in text and "No time of training recorded; report written 20" in text
    assert text.count("No curves recorded.") == 2 and text.count("No pictures to show.") == 2
    assert text.count("no objects") == 3
    assert table_of(page, "Average precision of each class")[-1] == ["mean", "–", "–", "0", "0"]
    assert table_of(page, "Recall of proposals")[-1] == ["2000", "0.0", "–", "–", "–"]


def test_no_detections_at_all(tmp_path):
    dataset, _ = four_pictures(tmp_path)
    page = parse(write_report(*make_run(tmp_path / "run", dataset, [])))
    assert "0.000 mAP 11-point" in text_of(page)
    assert text_of(page).count("no detections") == 2  # of the classes that have objects
    assert [alt for _, alt in pictures_of(page, "jpeg")] == [  # all are worth 0
        "Picture c with its detections: found 0, missed 1 (dog), wrong 0",
        'Picture 2007/<a> with its detections: found 0, missed 2 (<b>&"cat", dog), wrong 0',
        'Picture b with its detections: found 0, missed 1 (<b>&"cat"), wrong 0',
    ]


def test_only_detections_and_a_class_counted_twice(tmp_path):
    dataset = Dataset("no objects", CLASS_NAMES, (make_example("x", [], tmp_path),), {})
    detections = [make_record("x", [(LEFT, DOG, 0.9), (RIGHT, DOG, 0.8), (LEFT, CAT, 0.7)])]
    page = parse(write_report(*make_run(tmp_path / "run", dataset, detections)))
    (alternative,) = (alt for _, alt in pictures_of(page, "jpeg"))
    assert alternative.endswith('found 0, missed 0, wrong 3 (<b>&"cat", 2 dog)')


def test_twenty_classes(tmp_path):
    names = tuple(f"class {number}" for number in range(1, 21))
    objects = [((0, 2 * i, 50, 2 * i + 2), i, False) for i in range(1, 21)]
    dataset = Dataset("many", names, (make_example("x", objects, tmp_path),), {})
    detections = [make_record("x", [(box, i, 0.9) for box, i, _ in objects])]
    page = parse(write_report(*make_run(tmp_path / "run", dataset, detections)))
    rows = table_of(page, "Average precision of each class")
    assert [row[0] for row in rows[1:]] == [*names, "mean"]
    assert sum("Precision against recall" in alt for _, alt in pictures_of(page, "svg+xml")) == 20


def test_a_joint_training_is_one_row(tmp_path):
    dataset, detections = four_pictures(tmp_path)
    folder, (first, second), *rest = make_run(tmp_path / "run", dataset, detections)
    joint = second | {"recall": first["recall"], "name": "joint", "title": "joint training"}
    page = parse(write_report(folder, [joint], *rest))
    assert table_of(page, "Training")[1:] == [["joint training", "30", "60", "1.2", "1.000", "0.773", "0.750"]]


def test_a_path_that_is_no_utf8_can_be_written(tmp_path):
    run = make_run(tmp_path, Dataset("none", CLASS_NAMES, (), {}), [])
    write_json(tmp_path / "config.json", {"options": {"data": "voc:caf\udce9", "train": "t"}, "detector": {}})
    assert parse(write_report(*run)).findtext("head/title") == "voc:caf?: training report"


def test_a_report_is_replaced_not_written_over(tmp_path):
    run = make_run(tmp_path, Dataset("none", CLASS_NAMES, (), {}), [])
    (tmp_path / "report.html").write_text("old")
    (tmp_path / "opened.html").hardlink_to(tmp_path / "report.html")
    write_report(*run)
    assert (tmp_path / "opened.html").read_text() == "old" != (tmp_path / "report.html").read_text()


def test_a_report_that_fails_leaves_the_old_one(tmp_path):
    dataset, detections = four_pictures(tmp_path)
    run = make_run(tmp_path / "run", dataset, detections)
    (tmp_path / "run" / "report.html").write_text("old")
    (tmp_path / "b.png").write_bytes(b"no picture")
    with pytest.raises(tf.errors.InvalidArgumentError):
        write_report(*run)
    assert (tmp_path / "run" / "report.html").read_text() == "old"
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["config.json", "report.html"]


@pytest.mark.slow
def test_a_browser_shows_it_without_the_network(report):
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("no chromium, chromium-browser or google-chrome is installed")
    from playwright.sync_api import sync_playwright

    arguments = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    arguments += ["--disable-component-update", "--disable-sync", "--no-first-run"]
    messages, requests = [], []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        window = browser.new_page(viewport={"width": 1100, "height": 800})
        window.on("console", lambda message: messages.append((message.type, message.text)))
        window.on("pageerror", lambda error: messages.append(("error", str(error))))
        window.on("request", lambda request: requests.append(request.url))
        window.goto(report.as_uri())
        window.wait_for_load_state("networkidle")
        images = window.eval_on_selector_all(
            "img", "all => all.map(i => [i.alt, i.naturalWidth, i.getBoundingClientRect().width, i.height])"
        )
        plots = window.locator("img[src^='data:image/svg+xml']").count()
        headline = window.locator("header").inner_text()
        options_shown = [window.locator("details table").first.is_visible()]
        window.locator("summary").click()
        options_shown.append(window.locator("details table").first.is_visible())
        overflow = {}
        for width in (320, 1100):
            window.set_viewport_size({"width": width, "height": 800})
            overflow[width] = window.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        browser.close()

    assert not [message for message in messages if message[0] in ("warning", "error")]
    assert requests == [report.as_uri()]
    assert plots == 7 and len(images) == 10
    assert all(natural > 0 and width > 50 and height > 50 for _, natural, width, height in images), images
    assert "0.773\nmAP 11-point" in headline
    assert options_shown == [False, True]
    assert max(overflow.values()) <= 0, overflow
