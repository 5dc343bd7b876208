"""The doctor's page: what it shows, that it is well-formed, and that a browser shows it without the network."""

import base64
import re
import shutil
import xml.etree.ElementTree as ET

import cv2
import numpy as np
import pytest

from keras_frcnn.data.validate import main

NAME = "<b>&$x_1$"  # of a class: needs escaping, and would be a formula in a plot


@pytest.fixture(scope="module")
def page_path(clean_tree, tmp_path_factory):
    """The page of a set with a class of a difficult name, a duplicate box and a truncated picture."""
    folder = tmp_path_factory.mktemp("page & co")
    root = folder / "tree"
    shutil.copytree(clean_tree, root)
    for split in ("train", "val"):
        annotation = root / "Annotations" / f"{split}_000001.xml"
        tree = ET.fromstring(annotation.read_bytes())
        for _ in range(2):
            element = ET.SubElement(tree, "object")
            ET.SubElement(element, "name").text = NAME
            corners = ET.SubElement(element, "bndbox")
            for side, value in (("xmin", 21), ("ymin", 21), ("xmax", 80), ("ymax", 60)):
                ET.SubElement(corners, side).text = str(value)
        annotation.write_bytes(ET.tostring(tree))
    clipped = root / "Annotations" / "train_000005.xml"
    tree = ET.fromstring(clipped.read_bytes())
    tree.find("object/bndbox/xmax").text = "500"
    clipped.write_bytes(ET.tostring(tree))
    cut = root / "JPEGImages" / "train_000003.jpg"
    cut.write_bytes(cut.read_bytes()[:1000])
    with pytest.raises(SystemExit) as ended:
        main([f"voc:{root}", "--out", str(folder / "out"), "--quiet"])
    assert ended.value.code == 1
    return folder / "out" / "data-doctor.html"


@pytest.fixture(scope="module")
def page(page_path):
    return ET.fromstring(page_path.read_text(encoding="utf-8"))


def text_of(element):
    return " ".join("".join(element.itertext()).split())


def test_findings_come_with_their_fix(page):
    items = [(item.get("class"), text_of(item)) for item in page.iter("li") if item.get("class")]
    error, *rest = items
    assert error[0] == "error" and error[1].startswith(
        "error: truncated picture, 1 train_000003.jpg Fix: copy the file"
    )
    assert (
        "warning",
        "warning: duplicate box, 2 train_000001.jpg, val_000001.jpg Fix: remove one of the two objects.",
    ) in rest
    assert text_of(page.find("body/header/p")).startswith("1 error, 2 warnings, ")


def test_tables_and_plots(page):
    counts, coverage = ([[text_of(cell) for cell in row] for row in table.iter("tr")] for table in page.iter("table"))
    assert counts[0] == ["class", "train", "val"] and [NAME, "2", "2"] in counts
    assert ["pictures", "30", "14"] in counts
    assert coverage[0][:2] == ["class, train", "objects"] and coverage[-1][0] == "all"
    prefix = "data:image/svg+xml;base64,"
    plots = [image.get("src") for image in page.iter("img") if image.get("src").startswith(prefix)]
    texts = [text_of(ET.fromstring(base64.b64decode(plot[len(prefix) :]))) for plot in plots]
    assert len(texts) == 3 and NAME in texts[0] and "train val" in texts[0]
    assert "configured scales" in texts[1] and "share of the objects" in texts[2]


def test_pictures_with_findings_come_first_and_damaged_ones_are_left_out(page):
    figures = list(page.iter("figure"))
    captions = [text_of(figure) for figure in figures]
    assert captions[0].startswith("train_000005.jpg: box beyond the edge")  # its finding names the annotation
    assert captions[1].startswith("train_000001.jpg: duplicate box") and NAME in captions[1]
    assert captions[2].startswith("val_000001.jpg: duplicate box")
    assert not any("train_000003" in caption for caption in captions) and 4 <= len(figures) <= 7
    encoded = base64.b64decode(figures[0].find("img").get("src").partition(",")[2])
    image = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)
    assert image.shape == (96, 128, 3)


def test_the_page_asks_nothing_of_the_network(page_path, page):
    text = page_path.read_text(encoding="utf-8")
    assert "://" not in text and NAME not in text
    assert not re.search(r"url\(|@import", page.findtext("head/style"))


@pytest.mark.slow
def test_a_browser_shows_it(browse, page_path):
    with browse(page_path) as window:
        assert window.locator("img").count() >= 7
