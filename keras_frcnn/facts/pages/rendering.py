"""Pages from jinja2 templates.

A page is one HTML file that opens offline: its style and all images are inside.  It is well-formed XML as well, so that
tests can read it.  A template extends `base.html.j2` and takes its parts from `macros.html.j2`, which lie beside this
module.
"""

import base64
import pathlib
from collections.abc import Mapping
from typing import Any

import jinja2

from keras_frcnn.facts.files import write_atomically
from keras_frcnn.facts.pages.tables import number

MISSING = "–"  # in place of a number that was not measured or is NaN


def render_page(template: pathlib.Path, values: Mapping[str, Any]) -> str:
    """The page of the file `template`, filled with `values`.  All values are escaped.

    Raises `jinja2.UndefinedError` if the template names a value that `values` lacks.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([template.parent, pathlib.Path(__file__).parent]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["number"] = lambda value: number(value, missing=MISSING)
    environment.filters["base64"] = lambda encoded: base64.b64encode(encoded).decode("ascii")
    return environment.get_template(template.name).render(values)


def write_page(path: pathlib.Path, template: pathlib.Path, values: Mapping[str, Any]) -> None:
    """Render a page and write it to `path`; the parameters are those of `render_page`."""
    # A path that is not UTF-8 contains lone surrogates, which cannot be encoded.
    encoded = render_page(template, values).encode("utf-8", errors="replace")
    write_atomically(path, lambda temporary: temporary.write_bytes(encoded))
