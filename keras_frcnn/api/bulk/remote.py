"""Pictures that are not files: those on the network, and the one on standard input."""

import sys
import urllib.error
import urllib.request
from http.client import HTTPException
from typing import IO
from urllib.parse import unquote, urlsplit

from keras_frcnn.api.finding.streaming import Later
from keras_frcnn.facts.errors import InputError

STANDARD_INPUT = "-"
MOST_MIB = 256  # of one picture

_SCHEMES = ("http://", "https://")
_NO_NAMES = ("", ".", "..")
_SECONDS = 30  # to wait for an answer, and for each part of it


def is_url(name: str) -> bool:
    """Whether a picture's name is an address on the network."""
    return name.lower().startswith(_SCHEMES)


def name_in(url: str) -> str:
    """The name of the file that a URL stands for.  Raises InputError if it is malformed."""
    try:
        parts = urlsplit(url)
        name = unquote(parts.path).strip("/").rpartition("/")[2]
        name = parts.netloc if name in _NO_NAMES else name
    except ValueError as error:
        raise InputError(url, f"is not an address ({error})", "correct it") from error
    if name in _NO_NAMES:
        raise InputError(url, "is not an address", "correct it")
    return "".join(character if character.isprintable() else "_" for character in name)


def later(name: str) -> Later | None:
    """How a picture that is not a file is fetched; None for a file."""
    if is_url(name):
        return Later(name, lambda: fetch(name))
    if name == STANDARD_INPUT:
        return Later(name, lambda: _limited(sys.stdin.buffer, "standard input"))
    return None


def fetch(url: str) -> bytes:
    """The content of a picture on the network.  Raises InputError if it cannot be fetched or is too large."""
    try:
        # Only http and https come here, and urllib refuses to be redirected to files.
        with urllib.request.urlopen(url, timeout=_SECONDS) as answer:  # noqa: S310
            return _limited(answer, url)
    except InputError:
        raise
    except (OSError, HTTPException, ValueError) as error:
        reason = error.reason if type(error) is urllib.error.URLError else error
        raise InputError(url, f"cannot be fetched ({reason})", "check the address and the network") from error


def _limited(source: IO[bytes], name: str) -> bytes:
    """All that a source holds.  Raises InputError if it is too large."""
    content = source.read(MOST_MIB * 2**20 + 1)
    if len(content) > MOST_MIB * 2**20:
        raise InputError(name, f"is larger than {MOST_MIB} MiB", "give a smaller picture")
    return content
