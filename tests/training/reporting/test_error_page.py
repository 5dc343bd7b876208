"""The page errors.html: its tables, pictures and words, read as XML, and opened in a browser."""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from keras_frcnn.data.example import Dataset
from keras_frcnn.evaluation.error_analysis.analysis import error_analysis
from training.reporting.error_page import write_error_page

CAT, DOG, HEN = 1, 2, 3
LEFT, RIGHT = (10, 10, 40, 40), (10, 50, 40, 70)
VOC_NAMES = tuple(f"a class {number}" for number in range(20))


@pytest.fixture(scope="module")
def written(four_pictures, tmp_path_factory):
    """The path of the page of four pictures, with proposals."""
    dataset, detections = four_pictures(tmp_path_factory.mktemp("pictures"))
    proposals = {example.image_id: example.boxes for example in dataset.examples}
    analysis = error_analysis(dataset.examples, detections, dataset.class_names, proposals)
    return write_error_page(tmp_path_factory.mktemp("out"), dataset, analysis)


@pytest.fixture(scope="module")
def page(written):
    return read(written)


def read(path):
    """The page as XML."""
    return ET.fromstring(re.sub(r"<!DOCTYPE html>", "", path.read_text(encoding="utf-8")).strip())


def text_of(element):
    return " ".join("".join(element.itertext()).split())


def tables(page):
    """The rows of each table, header first."""
    return [[[text_of(cell) for cell in row] for row in table.iter("tr")] for table in page.iter("table")]


def test_the_tables(page):
    costs, classes, misses, confusion, best = tables(page)
    assert costs[0] == ["error", "false positives", "misses", "mAP if fixed", "gain"]
    assert [row[:3] for row in costs[1:]] == [
        ["localisation", "0", "0"],
        ["confusion", "0", "0"],
        ["both", "0", "0"],
        ["duplicate", "1", "0"],
        ["background", "1", "0"],
        ["missed", "0", "1"],
        ["all errors", "2", "1"],
    ]
    assert costs[-1][3] == "1.000"
    assert classes[0][1:] == ["localisation", "confusion", "both", "duplicate", "background", "missed"]
    assert classes[3] == ["hen's", *["–"] * 6]
    assert misses == [
        ["cause of misses", "small", "medium", "large", "all"],
        ["low score", "1", "0", "0", "1"],
        ["all misses", "1", "0", "0", "1"],
        ["objects", "4", "0", "0", "4"],
    ]
    # At score 0.8: two cats and one dog are found, one dog is missed, and one cat is a duplicate.
    assert confusion == [
        ["true class", '<b>&"cat"', "dog", "hen's", "missed"],
        ['<b>&"cat"', "2", "0", "0", "0"],
        ["dog", "0", "1", "0", "1"],
        ["hen's", "0", "0", "0", "0"],
        ["background", "1", "0", "0", ""],
    ]
    assert best[-1] == ["all classes", "0.800", "0.750", "0.750", "0.750"]


def test_cells_of_the_matrix_are_shaded_by_their_share_of_the_row(page):
    (matrix,) = (table for table in page.iter("table") if table.get("class") == "matrix")
    shades = [[cell.get("style") for cell in row.iter("td")] for row in matrix.iter("tr")]
    assert shades[2] == [None, "--share: 0.5", None, "--share: 0.5"]


def test_the_pictures_and_their_captions(page):
    # A line break stands between F1 and counts.
    captions = [text_of(caption) for caption in page.iter("figcaption")]
    assert captions == ["c F1 0.00found 0, missed 1", "b F1 0.67found 1, missed 0; 1 duplicate"]
    sources = [image.get("src") for image in page.iter("img")]
    assert sources[0].startswith("data:image/svg+xml;base64,")
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources[1:]) and len(sources) == 3


def test_the_words_fit_the_analysis(page, four_pictures, tmp_path):
    text = text_of(page)
    assert "IoU > 0.5, 4 images" in text and "with IoU > 0.3, so that non-maximum suppression" in text
    assert "with a score of at least 0.8 and IoU > 0.5. At this score, all classes together have their best F1." in text
    dataset, detections = four_pictures(tmp_path)
    analysis = error_analysis(dataset.examples, detections, dataset.class_names, score_threshold=0.3)
    other = text_of(read(write_error_page(tmp_path, dataset, analysis)))
    assert "The causes are unknown" in other and "No proposal:" not in other
    assert "at least 0.3 and" in other and "At this score" not in other


def test_names_are_escaped_and_nothing_is_loaded(written):
    source = written.read_text(encoding="utf-8")
    assert "<b>&" not in source and "&lt;b&gt;&amp;" in source
    assert not re.findall(r"https?://(?!www\.w3\.org)", source) and "<script" not in source


def test_the_page_has_the_same_bytes_each_time(four_pictures, tmp_path):
    dataset, detections = four_pictures(tmp_path)
    analysis = error_analysis(dataset.examples, detections, dataset.class_names)
    assert write_error_page(tmp_path, dataset, analysis).read_bytes() == write_error_page(
        tmp_path / "other", dataset, analysis).read_bytes()  # fmt: skip


@pytest.mark.parametrize("images", [0, 1])
def test_without_anything(make_example, tmp_path, images):
    examples = tuple(make_example(str(number), [], tmp_path) for number in range(images))
    analysis = error_analysis(examples, [], ("cat",), {example.image_id: np.zeros((0, 4)) for example in examples})
    page = read(write_error_page(tmp_path, Dataset("nothing", ("cat",), examples, {}), analysis))
    assert "No images with errors." in text_of(page)
    assert tables(page)[0][-1] == ["all errors", "0", "0", "–", "–"]


@pytest.mark.slow
def test_a_browser_shows_it_wide_and_narrow(browse, make_example, make_record, tmp_path):
    """Twenty classes and a picture of each shape, wide and narrow: nothing overflows, nothing is loaded."""
    objects = [(LEFT, CAT, False), (RIGHT, DOG, False)]
    sizes = ((60, 80), (300, 80), (60, 400))
    examples = tuple(
        make_example(f"a/long/folder/without/any/blank/in/its/name/{number}", objects, tmp_path, size)
        for number, size in enumerate(sizes)
    )
    records = [make_record(example.image_id, [(LEFT, CAT, 0.9), (RIGHT, HEN, 0.8)]) for example in examples]
    analysis = error_analysis(examples, records, VOC_NAMES)
    path = write_error_page(tmp_path, Dataset("pictures", VOC_NAMES, examples, {}), analysis)

    with browse(path) as window:
        assert window.locator("img").count() == 4
        content, shown = window.evaluate(
            "(t => [t.scrollWidth, t.clientWidth])(document.querySelector('.matrix').parentElement)"
        )
        assert content <= shown, "the matrix of twenty classes is wider than a wide page"
        shade = window.evaluate("getComputedStyle(document.querySelector('.matrix td[style]')).backgroundColor")
    red, _, blue = map(float, re.findall(r"[\d.]+", shade)[:3])
    assert blue > red + 0.2, shade  # a blue cell
