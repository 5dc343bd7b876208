"""The report of a run: what the page shows, and that it needs no network."""

import base64
import itertools
import re
import xml.etree.ElementTree as ET

import cv2
import numpy as np
import pytest

from keras_frcnn.data.example import Dataset
from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.files import write_json
from training.reporting.report import write_report

CAT, DOG = 1, 2
CLASS_NAMES = ('<b>&"cat"', "dog", "hen's")
LEFT, RIGHT = (10, 10, 40, 40), (10, 50, 40, 70)  # two places of objects


def parse(path):
    """The page's elements; raises ParseError if it is not well-formed."""
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
    """(bytes, alternative text) of each embedded image of that kind."""
    prefix = f"data:image/{kind};base64,"
    sources = [(image.get("src"), image.get("alt")) for image in page.iter("img")]
    return [(base64.b64decode(source[len(prefix) :]), alt) for source, alt in sources if source.startswith(prefix)]


@pytest.fixture(scope="module")
def page(report):
    return parse(report)


def test_head_of_the_page(page):
    assert page.get("lang") == "en"
    assert page.findtext("head/title") == "voc:<pictures>: training report"
    assert page.find("head/meta[@charset]").get("charset") == "utf-8"
    assert text_of(page.find("body/header/h1")) == "Faster R-CNN on voc:<pictures>"
    head = text_of(page.find("body/header"))
    # cat: all found first; dog: half of them, 6 of the 11 recalls.
    assert "0.773 mAP 11-point" in head and "0.750 mAP area" in head
    assert "Trained on train, measured on pictures & co, val: 4 images, 4 objects, 3 classes." in head


def test_date_is_that_of_the_last_record(tmp_path, write_events, make_run):
    write_events(tmp_path / "logs" / "step1" / "events.out.tfevents.1", [(1.7e9, 1, {"losses/loss": 1})])
    write_events(tmp_path / "logs" / "step2" / "events.out.tfevents.1", [(1.7e9 + 3600, 1, {"losses/loss": 1})])
    dataset = Dataset("none", CLASS_NAMES, (), {})
    head = parse(write_report(*make_run(tmp_path, dataset, []))).find("body/header")
    assert "Training ended 2023-11-14 23:13 UTC." in text_of(head)
    assert head.find(".//time").get("datetime") == "2023-11-14T23:13Z"


def test_table_of_the_trainings(page):
    assert table_of(page, "Training") == [
        ["training", "iterations", "images", "minutes", "recall@300", "mAP 11-point", "mAP area"],
        ["step 1 RPN", "30", "60", "1.2", "1.000", "–", "–"],
        ["step 2 <detector>", "30", "60", "1.2", "–", "0.773", "0.750"],
    ]


def validated(*values, keep):
    scores = [{"iteration": 10 * place, "value": value} for place, value in enumerate(values, start=1)]
    return {"measure": "mAP <x>", "scores": scores, "keep": keep}


@pytest.mark.parametrize(
    ("values", "keep", "cells", "is_worse"),
    [
        ((0.25, None, 0.5, 0.125), "last", ["0.500", "30", "0.125", "40", "the last"], True),
        ((0.25, None, 0.5, 0.125), "best", ["0.500", "30", "0.125", "40", "the best"], False),
        ((0.25, 0.5), "last", ["0.500", "20", "0.500", "20", "the last, which are the best"], False),
        ((0.5, 0.25, 0.5), "last", ["0.500", "10", "0.500", "30", "the last"], False),
        ((None, 0.5, 0.5, None), "last", ["0.500", "20", "–", "40", "the last"], True),
    ],
)
def test_a_training_that_got_worse_shows_it(tmp_path, make_run, values, keep, cells, is_worse):
    dataset = Dataset("none", CLASS_NAMES, (), {})
    page = parse(write_report(*make_run(tmp_path, dataset, [], validated(*values, keep=keep))))
    header, *rows = table_of(page, "Measured while training")
    assert header == ["training", "measure", "best", "after iteration", "last", "after iteration", "weights kept"]
    assert rows == [[title, "mAP <x>", *cells] for title in ("step 1 RPN", "step 2 <detector>")]
    warning = "step 1 RPN ended with weights that were measured worse than earlier ones. The option --keep best takes"
    assert (warning in text_of(page)) == is_worse


def test_without_validations_there_is_no_table_of_them(page):
    assert "Measured while training" not in text_of(page)


def test_table_of_the_proposals(page):
    header, *rows = table_of(page, "Recall of proposals")
    assert header == ["proposals", "per image", "IoU 0.50", "IoU 0.70", "IoU 0.50:0.95"]
    assert rows == [[count, "1.2", "1.000", "0.000", "0.100"] for count in ("50", "100", "300", "1000", "2000")]
    assert "4 objects in 4 images. IoU 0.50:0.95 is the mean" in text_of(page)


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
        "losses over iterations, step 1 RPN",
        "learning rate over iterations, step 1 RPN",
        "gradient norm over iterations, step 1 RPN",
        "images per second over iterations, step 1 RPN",
    ]
    shown = {title: text_of(ET.fromstring(svg)) for title, svg in plots.items()}
    assert "IoU 0.50 IoU 0.70 IoU 0.50:0.95" in shown["Recall against the number of proposals, step 1 RPN"]
    assert "rpn_class loss" in shown["losses over iterations, step 1 RPN"]
    captions = [text_of(caption) for caption in page.iter("figcaption")]
    assert captions[:3] == ['<b>&"cat" 1.000', "dog 0.545", "hen's –"]
    assert "no objects" in text_of(page)
    assert text_of(page).count("No curves recorded.") == 1  # of step 2


def test_pictures_and_their_captions(page):
    captions = [text_of(caption) for caption in page.iter("figcaption")]
    assert captions[-3:] == [
        "2007/<a> F1 1.00found 2, missed 0, wrong 0",
        'b F1 0.67found 1, missed 0, wrong 1 (<b>&"cat")',
        "c F1 0.00found 0, missed 1 (dog), wrong 0",
    ]
    titles = [text_of(title) for title in page.iter("h3")]
    assert [title for title in titles if "images" in title] == ["Best images", "Worst images"]
    pictures = pictures_of(page, "jpeg")
    assert [alt for _, alt in pictures] == [
        "Image 2007/<a> with its detections: found 2, missed 0, wrong 0",
        'Image b with its detections: found 1, missed 0, wrong 1 (<b>&"cat")',
        "Image c with its detections: found 0, missed 1 (dog), wrong 0",
    ]
    images = [cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR).astype(int) for encoded, _ in pictures]
    assert [image.shape for image in images] == [(360, 480, 3)] * 3
    blue, _, red = np.moveaxis(images[1], -1, 0)  # cats alone, which are red
    assert np.max(red - blue) > 100 and np.max(blue - red) < 60


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


def test_the_page_has_the_same_bytes_each_time(tmp_path, four_pictures, write_events, make_run):
    run = make_run(tmp_path / "run", *four_pictures(tmp_path))
    write_events(tmp_path / "run" / "logs" / "step1" / "events.out.tfevents.1", [(1.7e9, 1, {"losses/loss": 1})])
    first = write_report(*run).read_bytes()
    assert len(first) > 20000 and write_report(*run).read_bytes() == first


def test_names_are_escaped(report):
    text = report.read_text(encoding="utf-8")
    assert "<b>&" not in text and "<pictures>" not in text and "<detector>" not in text and "<a>" not in text
    assert "&lt;b&gt;&amp;&#34;cat&#34;" in text and "2007/&lt;a&gt;" in text


def test_options_are_folded_at_the_end(page):
    details = page.find("body")[-1]
    assert details.tag == "details" and "open" not in details.attrib
    assert text_of(details.find("summary")) == "Options of the run"
    assert table_of(page, "Command line")[1:] == [
        ["data", "voc:<pictures>"], ["train", "train"], ["val", "val"], ["iterations", "[3, 3]"], ["weights", "null"]
    ]  # fmt: skip
    assert table_of(page, "Detector")[1:] == [["anchors.scales", "[32.0]"]]


def test_a_run_without_logs_objects_and_detections(tmp_path, make_example, make_record, make_run):
    examples = tuple(make_example(name, [], tmp_path) for name in "ab")
    dataset = Dataset("empty", CLASS_NAMES, examples, {})
    page = parse(write_report(*make_run(tmp_path / "run", dataset, [make_record(name) for name in "ab"])))
    text = text_of(page)
    assert "– mAP 11-point" in text and "Report written 20" in text
    assert "the end of the training was not recorded" in text
    assert text.count("No curves recorded.") == 2 and text.count("No images to show.") == 2
    assert text.count("no objects") == 3
    assert table_of(page, "Average precision of each class")[-1] == ["mean", "–", "–", "0", "0"]
    assert table_of(page, "Recall of proposals")[-1] == ["2000", "0.0", "–", "–", "–"]


def test_no_detections_at_all(tmp_path, four_pictures, make_run):
    dataset, _ = four_pictures(tmp_path)
    page = parse(write_report(*make_run(tmp_path / "run", dataset, [])))
    assert "0.000 mAP 11-point" in text_of(page)
    assert text_of(page).count("no detections") == 2  # of the classes that have objects
    assert [alt for _, alt in pictures_of(page, "jpeg")] == [  # all are worth 0
        "Image c with its detections: found 0, missed 1 (dog), wrong 0",
        'Image 2007/<a> with its detections: found 0, missed 2 (<b>&"cat", dog), wrong 0',
        'Image b with its detections: found 0, missed 1 (<b>&"cat"), wrong 0',
    ]


def test_only_detections_and_a_class_counted_twice(tmp_path, make_example, make_record, make_run):
    dataset = Dataset("no objects", CLASS_NAMES, (make_example("x", [], tmp_path),), {})
    detections = [make_record("x", [(LEFT, DOG, 0.9), (RIGHT, DOG, 0.8), (LEFT, CAT, 0.7)])]
    page = parse(write_report(*make_run(tmp_path / "run", dataset, detections)))
    (alternative,) = (alt for _, alt in pictures_of(page, "jpeg"))
    assert alternative.endswith('found 0, missed 0, wrong 3 (<b>&"cat", 2 dog)')


def test_twenty_classes(tmp_path, make_example, make_record, make_run):
    names = tuple(f"class {number}" for number in range(1, 21))
    objects = [((0, 2 * i, 50, 2 * i + 2), i, False) for i in range(1, 21)]
    dataset = Dataset("many", names, (make_example("x", objects, tmp_path),), {})
    detections = [make_record("x", [(box, i, 0.9) for box, i, _ in objects])]
    page = parse(write_report(*make_run(tmp_path / "run", dataset, detections)))
    rows = table_of(page, "Average precision of each class")
    assert [row[0] for row in rows[1:]] == [*names, "mean"]
    assert sum("Precision against recall" in alt for _, alt in pictures_of(page, "svg+xml")) == 20


def test_a_joint_training_is_one_row(tmp_path, four_pictures, make_run):
    dataset, detections = four_pictures(tmp_path)
    folder, (first, second), *rest = make_run(tmp_path / "run", dataset, detections)
    headlines = first.headlines | second.headlines
    joint = second._replace(recall=first.recall, headlines=headlines, name="joint", title="joint training")
    page = parse(write_report(folder, [joint], *rest))
    assert table_of(page, "Training")[1:] == [["joint training", "30", "60", "1.2", "1.000", "0.773", "0.750"]]


def test_a_path_that_is_no_utf8_can_be_written(tmp_path, make_run):
    run = make_run(tmp_path, Dataset("none", CLASS_NAMES, (), {}), [])
    write_json(tmp_path / "config.json", {"options": {"data": "voc:caf\udce9", "train": "t"}, "detector": {}})
    assert parse(write_report(*run)).findtext("head/title") == "voc:caf?: training report"


def test_a_report_is_replaced_not_written_over(tmp_path, make_run):
    run = make_run(tmp_path, Dataset("none", CLASS_NAMES, (), {}), [])
    (tmp_path / "report.html").write_text("old")
    (tmp_path / "opened.html").hardlink_to(tmp_path / "report.html")
    write_report(*run)
    assert (tmp_path / "opened.html").read_text() == "old" != (tmp_path / "report.html").read_text()


def test_a_report_that_fails_leaves_the_old_one(tmp_path, four_pictures, make_run):
    dataset, detections = four_pictures(tmp_path)
    run = make_run(tmp_path / "run", dataset, detections)
    (tmp_path / "run" / "report.html").write_text("old")
    (tmp_path / "b.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"b\.png: not a readable picture \(.*\); replace or remove it$"):
        write_report(*run)
    assert (tmp_path / "run" / "report.html").read_text() == "old"
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["config.json", "report.html"]
