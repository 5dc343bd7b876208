"""LiteRT.js, which runs TFLite files in browsers, from the npm registry.

The archives are fetched with npm once, checked against known hashes, and kept in the cache folder.
"""

import base64
import hashlib
import io
import pathlib
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from typing import NamedTuple

from keras_frcnn.facts.cache import user_cache_dir
from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.files import write_atomically


class Package(NamedTuple):
    """An npm package of one version."""

    name: str
    version: str
    sha512: str  # of its archive, in base64 as npm has it


CORE = Package(
    "@litertjs/core", "2.5.3",
    "PlGmbMOq9WitX7FO0jhbdJw9GthatsyuCQXjTt/wJZo0FLaw48q4tz8IwqgqCIkviYGr9OFDL1kCnN4nzWoyJQ==",
)  # fmt: skip
WASM_UTILS = Package(
    "@litertjs/wasm-utils", "2.5.3",
    "4fJiw6tBQnIs+0jH/OQ16nYOiSl8/+zZnn5h2ul8aTKHi05sVqZW580Tmk78pC2kT39A9OYBVdFawteZ/sI1kQ==",
)  # fmt: skip

# The variants of the WebAssembly, of which a browser loads one: with threads, with its newest instructions, without.
VARIANTS = ("threaded", "", "compat")

_IMPORT = b'from "@litertjs/wasm-utils"'  # a browser cannot find a package by its name
_OWN_IMPORT = b'from "./wasm_utils.js"'
_SOURCE_MAP = b"//# sourceMappingURL="


def write_runtime(folder: pathlib.Path, archives: Mapping[Package, bytes]) -> None:
    """Write the files of LiteRT.js that a page needs.

    Args:
      folder: for index.js, which the page imports, wasm_utils.js, and the folder wasm.
      archives: as `fetch_runtime` gives them.

    Raises:
      InputError: an archive does not hold what is expected.
      OSError: the folder cannot be written.
    """
    core, utils = archives[CORE], archives[WASM_UTILS]
    script = _member(core, CORE, "dist/index.js")
    if script.count(_IMPORT) != 1:
        raise InputError(CORE.name, "does not import its other package as expected", "report this")
    (folder / "wasm").mkdir(parents=True)
    (folder / "index.js").write_bytes(_without_map(script.replace(_IMPORT, _OWN_IMPORT)))
    (folder / "wasm_utils.js").write_bytes(_without_map(_member(utils, WASM_UTILS, "dist/index.js")))
    for variant in VARIANTS:
        for suffix in (".js", ".wasm"):
            name = "_".join(filter(None, ("litert_wasm", variant, "internal"))) + suffix
            (folder / "wasm" / name).write_bytes(_member(core, CORE, f"wasm/{name}"))


def fetch_runtime() -> dict[Package, bytes]:
    """The archives of both packages.  Raises InputError if one cannot be fetched, or is not the expected one."""
    return {package: fetched(package) for package in (CORE, WASM_UTILS)}


def fetched(package: Package) -> bytes:
    """The archive of a package, from the cache folder or with npm.  Raises InputError if it is not the expected one."""
    name = f"{package.name.removeprefix('@').replace('/', '-')}-{package.version}.tgz"
    cache = user_cache_dir() / name
    if cache.is_file() and _is_expected(content := cache.read_bytes(), package):
        return content
    content = _packed(package)
    if not _is_expected(content, package):
        raise InputError(package.name, "the archive is not the expected one", "check the registry of npm")
    try:
        write_atomically(cache, lambda temporary: temporary.write_bytes(content))
    except OSError:
        pass  # it only costs another download next time
    return content


def _packed(package: Package) -> bytes:
    """Fetch the archive with npm, which runs no script of it."""
    where, fix = f"{package.name}@{package.version}", "check npm's registry and the network connection"
    npm = shutil.which("npm")
    if npm is None:
        raise InputError("npm", "is not installed; it fetches LiteRT.js for the page", "install Node.js, which has it")
    with tempfile.TemporaryDirectory() as folder:
        command = [npm, "pack", where, "--silent", "--ignore-scripts", "--pack-destination", folder]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", cwd=folder)
        archives = list(pathlib.Path(folder).glob("*.tgz"))
        if done.returncode != 0 or len(archives) != 1:
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            raise InputError(where, f"npm could not fetch it ({(lines or ['no message'])[-1].strip()})", fix)
        return archives[0].read_bytes()


def _is_expected(archive: bytes, package: Package) -> bool:
    return base64.b64encode(hashlib.sha512(archive).digest()).decode() == package.sha512


def _member(archive: bytes, package: Package, name: str) -> bytes:
    """A file of an archive.  Raises InputError if it lacks the file."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        try:
            member = files.extractfile(f"package/{name}")
        except KeyError:
            member = None
        if member is None:
            raise InputError(package.name, f"has no file {name}", "report this")
        return member.read()


def _without_map(script: bytes) -> bytes:
    """A script without the address of its source map, which is not part of the page."""
    return b"".join(line for line in script.splitlines(keepends=True) if not line.startswith(_SOURCE_MAP))
