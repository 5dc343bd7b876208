"""Sphinx configuration.  `make docs` builds the pages; no page and no build step uses the network.

Three groups of pages are generated into docs/reference/ at each build:

    options.md     from the declarations of the training options, and from the --help of each command
    api.md         from what `keras_frcnn` exports
    internals/     one page a folder of code, from the docstrings
"""

import ast
import contextlib
import dataclasses
import importlib
import inspect
import io
import os
import re
import shutil
import sys
import textwrap
from pathlib import Path

from docutils.nodes import Element, NodeVisitor, SkipNode, Text
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
REFERENCE = DOCS / "reference"
sys.path.insert(0, str(ROOT))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import keras_frcnn  # noqa: E402  (after the path and the environment are set)

project = "Keras Faster R-CNN"
author = "The Keras Faster R-CNN authors"
copyright = author
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = []
html_theme = "furo"
html_title = project.replace("-", "\N{NON-BREAKING HYPHEN}")
html_static_path = ["static"]
html_css_files = ["pages.css"]
html_show_sphinx = False
html_show_sourcelink = False
html_copy_source = False
smartquotes = False  # two hyphens are an option here, not a dash
html_math_renderer = "mathml"
highlight_language = "text"  # of blocks that name no language
pygments_style = "friendly"

myst_enable_extensions = ["deflist", "dollarmath"]
myst_heading_anchors = 3
autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_inherit_docstrings = False
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autodoc_mock_imports = ["apache_beam"]  # the extra [beam] needs an environment of its own
python_use_unqualified_type_names = True

PACKAGES = ("keras_frcnn", "training", "export")
NO_IMPORT = {"export.tflite_sample"}  # a script that runs when it is imported


# Generated pages.


def write_reference() -> None:
    """Write the pages of docs/reference/."""
    shutil.rmtree(REFERENCE, ignore_errors=True)
    (REFERENCE / "internals").mkdir(parents=True)
    (REFERENCE / "options.md").write_text(options_page(), encoding="utf-8")
    (REFERENCE / "api.md").write_text(api_page(), encoding="utf-8")
    rooms = {room: names for room, names in rooms_with_modules().items() if names}
    for room, names in rooms.items():
        (REFERENCE / "internals" / f"{room}.md").write_text(room_page(room, names), encoding="utf-8")
    (REFERENCE / "internals.md").write_text(internals_page(rooms), encoding="utf-8")


def options_page() -> str:
    """The tables of all declared settings, then the help text of each command."""
    parts = [
        "# Options",
        "This page is generated from the code. It lists the options of training with their defaults, ranges and "
        "sources. Below them is the help text of each command. *Field* is the name of an option in `config.json`.",
    ]
    declared = importlib.import_module("training.run.options.declared")
    if hasattr(declared, "reference"):
        parts.append(tables_to_definitions(declared.reference()))
    parts.append("## Commands")
    for command in commands():
        parts.append(f"### python -m {command}\n\n```text\n{help_text(command)}```")
    return "\n\n".join(parts) + "\n"


def tables_to_definitions(markdown: str) -> str:
    """Each row of a table as an entry of a definition list: seven columns fit neither a page nor a phone."""
    lines, header = [], None
    for line in markdown.splitlines():
        if not line.startswith("|"):
            lines, header = [*lines, line], None
            continue
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if header is None:
            header = cells
        elif not set(line) <= set("|-"):
            row = {name: cell for name, cell in zip(header, cells, strict=True) if cell}
            option, meaning = row.pop("Option"), row.pop("Meaning", "")
            facts = ". ".join(f"{name}: {cell}" for name, cell in row.items())
            lines += [option, f": {meaning}.\n  \\\n  {facts}.", ""]
    return "\n".join(lines)


def commands() -> list[str]:
    """The modules that `python -m` runs."""
    modules = [name for names in rooms_with_modules().values() for name in names]
    return [name for name in modules if '__name__ == "__main__"' in module_path(name).read_text(encoding="utf-8")]


def module_path(name: str) -> Path:
    return ROOT.joinpath(*name.split(".")).with_suffix(".py")


def help_text(command: str) -> str:
    """What `python -m command --help` prints."""
    os.environ["COLUMNS"] = "86"  # argparse wraps to it; as wide as a page
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        importlib.import_module(command).main(["--help"])
    return printed.getvalue()


def api_page() -> str:
    """Every name that `keras_frcnn` exports."""
    exported = getattr(keras_frcnn, "__all__", ("FasterRCNN", "load_model"))
    names = [name for name in exported if not name.startswith("__")]
    parts = ["# Python API", "These names are public. Import them from `keras_frcnn`."]
    for name in names:
        kind = "class" if inspect.isclass(getattr(keras_frcnn, name)) else "function"
        parts.append(f"## {name}\n\n```{{eval-rst}}\n.. auto{kind}:: keras_frcnn.{name}\n```")
    return "\n\n".join(parts) + "\n"


def rooms_with_modules() -> dict[str, list[str]]:
    """The modules of each folder of code, by the folder's dotted name."""
    rooms = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            *folders, name = path.relative_to(ROOT).with_suffix("").parts
            module = ".".join((*folders, name))
            if name != "__init__" and module not in NO_IMPORT:
                rooms.setdefault(".".join(folders), []).append(module)
    return rooms


def room_page(room: str, names: list[str]) -> str:
    parts = [f"# {room}"]
    for name in names:
        parts.append(f"## {name}\n\n```{{eval-rst}}\n.. automodule:: {name}\n   :no-index:\n```")
    return "\n\n".join(parts) + "\n"


def internals_page(rooms: dict[str, list[str]]) -> str:
    entries = "\n".join(f"internals/{room}" for room in rooms)
    return (
        "# Internals\n\nThe modules of each folder, for people who change the code. Nothing on these pages is public: "
        f"it may change without notice.\n\n```{{toctree}}\n:maxdepth: 1\n\n{entries}\n```\n"
    )


# Docstrings.  They are plain text: what looks like markup outside of backticks is none.


def plain_to_rst(app: Sphinx, what: str, name: str, target: object, options: object, lines: list[str]) -> None:
    """Turn a plain-text docstring into reStructuredText; for a tuple or dataclass, show its fields from the source."""
    blocks = (whole_docstring(target) or "\n".join(lines)).split("\n\n")
    before = ["", *blocks]
    lines[:] = [*"\n\n".join(map(block_to_rst, blocks, before)).split("\n"), ""]
    if has_fields(target):
        lines += ["", ".. code-block:: python", "", *(f"    {line}" for line in field_lines(target)), ""]


def whole_docstring(target: object) -> str:
    """A docstring without the indentation of its closing quotes; empty if those stand behind text.

    Sphinx removes the common indentation of all lines but the first, and with it that of an example.
    """
    first, *others = (getattr(target, "__doc__", None) or "").split("\n")
    if not others or others[-1].strip():
        return ""
    return "\n".join([first, *(line.removeprefix(others[-1]) for line in others[:-1])])


def block_to_rst(block: str, before: str) -> str:
    """A block between blank lines; an indented one is code, unless it continues a section such as Args."""
    if block.startswith("    ") and not re.search(r"^(Args|Returns|Raises|Yields):", before, re.MULTILINE):
        return f"::\n\n{block}"
    return "\n".join(map(escape, block.split("\n")))


def escape(line: str) -> str:
    """Backticks become literals; outside of them, characters of markup are escaped."""
    parts = re.split(r"`([^`]*)`", line)
    plain = [re.sub(r"([*|\\])", r"\\\1", part) for part in parts[0::2]]
    plain = [re.sub(r"(?<=\w)_(?=\W|$)", r"\\_", part) for part in plain]
    code = [f"``{part}``" for part in parts[1::2]]
    return "".join(part for pair in zip(plain, [*code, ""], strict=True) for part in pair)


def field_lines(target: type) -> list[str]:
    """The lines of the fields of a class, comments included."""
    lines = textwrap.dedent(inspect.getsource(target)).splitlines()
    body = ast.parse("\n".join(lines)).body[0].body
    fields = [node for node in body if isinstance(node, ast.AnnAssign) and not node.target.id.startswith("_")]
    shown = [line for field in fields for line in lines[field.lineno - 1 : field.end_lineno]]
    return textwrap.dedent("\n".join(shown)).splitlines()


def has_fields(target: object) -> bool:
    return inspect.isclass(target) and (hasattr(target, "_fields") or dataclasses.is_dataclass(target))


def skip_signature_of_fields(app: Sphinx, what: str, name: str, target: object, *_: object) -> tuple[str, None] | None:
    """Leave out the signature of tuples and dataclasses: their fields are shown."""
    return ("", None) if has_fields(target) else None


def skip_tuple_fields(app: Sphinx, what: str, name: str, target: object, skip: bool, options: object) -> bool | None:
    """Leave out the fields of named tuples, which `plain_to_rst` shows."""
    return True if type(target).__name__ == "_tuplegetter" else None


def dash_after_names(app: Sphinx, doctree: Element, name: str) -> None:
    """Sphinx writes two hyphens between a parameter and its description."""
    for node in list(doctree.findall(Text)):
        if node == " -- ":
            node.parent.replace(node, Text(" \N{EN DASH} "))


# Mathematics as MathML, which browsers show without a script.


def inline_math(translator: NodeVisitor, node: Element) -> None:
    translator.body.append(tex2mathml(node.astext()))
    raise SkipNode


def block_math(translator: NodeVisitor, node: Element) -> None:
    translator.body.append(f'<div class="math">{tex2mathml(node.astext(), as_block=True)}</div>')
    raise SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    write_reference()
    app.add_html_math_renderer("mathml", (inline_math, None), (block_math, None))
    app.connect("autodoc-process-docstring", plain_to_rst, priority=400)  # before napoleon, which is at 500
    app.connect("autodoc-process-signature", skip_signature_of_fields)
    app.connect("autodoc-skip-member", skip_tuple_fields)
    app.connect("doctree-resolved", dash_after_names)
    return {"parallel_read_safe": True}
