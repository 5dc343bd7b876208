"""Read a large JSON file piece by piece, without the whole text in memory."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.files import check_regular

TOP = ""  # the key of a file that is one list

_CHARACTERS = 1 << 22  # read at once
_SPACE = re.compile(r"[ \t\n\r]*")
_BEHIND_VALUES = frozenset(",:]} \t\n\r")


class Entry(NamedTuple):
    """One value of the object in a JSON file, or one element of a list in it."""

    key: str  # in the top-level object; `TOP` if the file is a list
    place: int | None  # in the list, from 0; None: the value is not an element
    value: Any  # an empty list stands for the start of a list: its elements follow


def read_entries(file: Path) -> Iterator[Entry]:
    """Parse a JSON file that holds one object or one list.

    Lists in the top-level object are given element by element, so that the memory does not grow with their length.

    Raises:
      InputError: the file cannot be read, is not JSON, or holds neither an object nor a list.
    """
    try:
        check_regular(file)
        with file.open(encoding="utf-8-sig") as text:
            yield from _entries(_Window(text), file)
    except OSError as error:
        raise InputError(file, f"cannot be read ({error.strerror})", "check the file and its permissions") from None
    except InputError:
        raise
    except (ValueError, RecursionError) as error:  # ValueError: not JSON, not UTF-8, or a number of too many digits
        raise InputError(file, f"is not valid JSON ({error})", "write the file again, or copy it again") from None


class _Window:
    """A part of a text, which moves along while values are parsed."""

    def __init__(self, text: TextIO) -> None:
        self._file = text
        self._text = ""
        self._place = 0
        self._dropped = 0  # characters before `_text`
        self._ended = False
        self._decoder = json.JSONDecoder()

    def next_character(self) -> str:
        """The next character that is not white space; empty at the end of the file."""
        while True:
            self._place = _SPACE.match(self._text, self._place).end()  # type: ignore[union-attr]
            if self._place < len(self._text):
                return self._text[self._place]
            if self._ended:
                return ""
            self._extend()

    def skip(self, character: str) -> None:
        """Go past `character`, which must be next; "" is the end of the file."""
        found = self.next_character()
        if found != character:
            place = f"character {self._dropped + self._place + 1}"
            expected, seen = (repr(one) if one else "the end of the file" for one in (character, found))
            raise ValueError(f"expected {expected} instead of {seen} at {place}")
        self._place += 1

    def value(self) -> Any:
        """Parse the next value."""
        self.next_character()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._place)
                # Before another character, the text may end within a number: 1 of 1.5, or 1.5 of 1.5e3.
                if self._ended or self._text[end : end + 1] in _BEHIND_VALUES:
                    self._place = end
                    return value
            except json.JSONDecodeError as error:
                if self._ended:
                    raise ValueError(f"{error.msg} at character {self._dropped + error.pos + 1}") from None
            self._extend()

    def _extend(self) -> None:
        """Drop what is parsed and read more; each time at least as much as is left, so that a long value is cheap."""
        rest = self._text[self._place :]
        more = self._file.read(max(_CHARACTERS, len(rest)))
        self._dropped += self._place
        self._text, self._place, self._ended = rest + more, 0, not more


def _entries(window: _Window, file: Path) -> Iterator[Entry]:
    first = window.next_character()
    if first == "[":
        yield from _elements(window, TOP)
    elif first == "{":
        yield from _members(window)
    else:
        raise InputError(file, "holds neither a JSON object nor a list", "use a JSON file of annotations")
    window.skip("")


def _members(window: _Window) -> Iterator[Entry]:
    """The entries of the top-level object."""
    window.skip("{")
    if window.next_character() == "}":
        return window.skip("}")
    while True:
        if window.next_character() != '"':
            window.skip('"')
        key = window.value()
        window.skip(":")
        if window.next_character() == "[":
            yield from _elements(window, key)
        else:
            yield Entry(key, None, window.value())
        if window.next_character() == "}":
            return window.skip("}")
        window.skip(",")


def _elements(window: _Window, key: str) -> Iterator[Entry]:
    """The elements of a list."""
    window.skip("[")
    yield Entry(key, None, [])
    if window.next_character() == "]":
        return window.skip("]")
    index = 0
    while True:
        yield Entry(key, index, window.value())
        if window.next_character() == "]":
            return window.skip("]")
        window.skip(",")
        index += 1
