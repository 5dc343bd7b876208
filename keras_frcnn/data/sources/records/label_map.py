"""Label maps of the TF detection tools: `item { id: 1 name: 'cat' }` in a .pbtxt file."""

import re
from collections.abc import Sequence
from pathlib import Path

from keras_frcnn.data.sources.shared.numbers import whole_number
from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.files import read_text

_TOKEN = re.compile(r"""\s*(?:\#[^\n]*|("(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|[\w.+-]+|[{}:,;<>\[\]])|(\S))""")
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|.)", re.DOTALL)


def read_label_map(file: Path) -> dict[int, str]:
    """The class names of a label map by their ids, in the order of the ids.

    Raises:
      InputError: the file cannot be read, is not a label map, or has an item without id or name, or one that repeats.
    """
    names: dict[int, str] = {}
    for number, item in enumerate(_items(file), start=1):
        where = f"{file}, item {number}"
        class_id = whole_number(item.get("id", ""))
        if class_id is None:
            raise InputError(f"{where}, id", f"expected a whole number (got {item.get('id')!r})", "write id: N")
        if not _is_string(item.get("name", "")) or len(item["name"]) < 3:
            raise InputError(f"{where}, name", "missing name", 'write name: "CLASS"')
        try:
            name = _unquoted(item["name"])
        except ValueError:
            raise InputError(f"{where}, name", "not a string in UTF-8", 'write name: "CLASS" in UTF-8') from None
        if class_id in names or name in names.values():
            raise InputError(where, "the id or the name occurs twice", "give each class one id")
        names[class_id] = name
    if not names:
        raise InputError(file, "the label map has no items", 'write item { id: 1 name: "CLASS" } for each class')
    return dict(sorted(names.items()))


def format_label_map(class_names: Sequence[str]) -> str:
    """The text of a label map with the ids 1, 2, ... in the order of the names."""
    return "".join(
        f"item {{\n  id: {number}\n  name: {_quoted(name)}\n}}\n" for number, name in enumerate(class_names, start=1)
    )


def _items(file: Path) -> list[dict[str, str]]:
    """The fields of each item, as written; blocks inside an item are skipped."""
    try:
        text = read_text(file)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(file, f"cannot be read ({error})", "give a label map in UTF-8") from None
    matches = list(_TOKEN.finditer(text))
    tokens = [match[1] for match in matches if match[1] is not None and match[1] not in ",;"]
    depth, field = 0, ""
    items: list[dict[str, str]] = []
    for token, following in zip(tokens, [*tokens[1:], ""], strict=False):
        if token in "{<":
            depth += 1
            if depth == 1:
                items.append({})
        elif token in "}>":
            depth -= 1
        elif following == ":":
            field = token
        elif token != ":" and depth == 1 and following not in ("{", "<"):
            items[-1].setdefault(field, token)
    if depth != 0 or any(match[2] for match in matches):
        raise InputError(file, "not a label map", 'write item { id: 1 name: "CLASS" } for each class')
    return items


def _is_string(token: str) -> bool:
    return token[:1] in ("'", '"')


def _unquoted(token: str) -> str:
    """The text of a string of protocol buffers, whose escapes stand for bytes of UTF-8, or for a character (\\u).

    Raises ValueError for another string.
    """

    def in_bytes(escape: re.Match[str]) -> str:
        number = escape[1] or escape[2]
        return _octal(chr(int(number, 16))) if number else escape[0]

    escaped = _ESCAPE.sub(in_bytes, token[1:-1]).encode("utf-8").decode("latin-1")
    return escaped.encode("latin-1").decode("unicode_escape").encode("latin-1").decode("utf-8")


def _quoted(name: str) -> str:
    """The name as a string of protocol buffers: bytes other than printable ASCII as octal escapes, or raw UTF-8."""
    escapes = {"\\": "\\\\", '"': '\\"'}
    return '"' + "".join(escapes.get(c, c if c.isprintable() else _octal(c)) for c in name) + '"'


def _octal(character: str) -> str:
    return "".join(f"\\{byte:03o}" for byte in character.encode("utf-8"))
