"""Pages: the shell, the parts that pages share, and escaping."""

import xml.etree.ElementTree as ET

import jinja2
import pytest

from keras_frcnn.facts.pages.rendering import render_page, write_page
from keras_frcnn.facts.pages.tables import Table

CHILD = """{% extends "base.html.j2" %}
{% from "macros.html.j2" import plot, table %}
{% block title %}{{ name }}{% endblock %}
{% block body %}
<h1>{{ name }}</h1>
{{ table(rows) }}
{{ plot(svg, name) }}
<p>{{ value | number }}</p>
{% endblock %}
"""
VALUES = {"name": "<b>&", "rows": Table(("a",), (("<x>",),)), "svg": b"<svg/>", "value": float("nan")}


@pytest.fixture
def template(tmp_path):
    path = tmp_path / "child.html.j2"
    path.write_text(CHILD)
    return path


def test_a_page_is_xml_with_its_values_escaped(template):
    page = ET.fromstring(render_page(template, VALUES))
    assert page.findtext("head/title") == page.findtext("body/h1") == "<b>&"
    assert [cell.text for cell in page.iter("th")] == ["a", "<x>"]
    assert page.find("body/img").attrib == {"alt": "<b>&", "src": "data:image/svg+xml;base64,PHN2Zy8+"}
    assert page.findtext("body/p") == "–"
    assert "font:" in page.findtext("head/style")


def test_a_missing_value_is_an_error(template):
    with pytest.raises(jinja2.UndefinedError, match="value"):
        render_page(template, {name: value for name, value in VALUES.items() if name != "value"})


def test_a_name_that_is_not_utf8_is_written_with_a_question_mark(template, tmp_path):
    write_page(tmp_path / "page.html", template, VALUES | {"name": "caf\udce9"})
    assert ET.parse(tmp_path / "page.html").findtext("head/title") == "caf?"
