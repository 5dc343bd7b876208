"""Readers of weight files.  Each returns the arrays `<layer>/kernel` and `<layer>/bias`, unchecked.

Every file is read as data.  No reader runs code from a file: none unpickles objects or builds a model.
"""

import contextlib
import io
import lzma
import zipfile
import zlib
from collections.abc import Iterator, Set
from pathlib import Path

import h5py
import numpy as np

_MOST_GROWTH = 100  # times its size in an archive that a member may have
_SMALL = 2**16  # bytes; members below may grow more
# What zipfile raises for a damaged archive.  RuntimeError: a member is encrypted, or compressed in an unknown way.
_DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError)


def read_arrays(path: Path, names: Set[str] | None = None) -> dict[str, np.ndarray]:
    """Read the layers `names` of a file, or all of its layers if `names` is None.

    The suffix of `path` must be one of `READERS`.  Layers of `names` that the file lacks are left out.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is damaged, or is not of the type that its suffix says.
    """
    try:
        return READERS[path.suffix.lower()](path, names)
    except (OSError, ValueError):
        raise
    except Exception as error:  # the error depends on the library that finds the damage
        raise ValueError(f"{type(error).__name__}: {error}") from error


@contextlib.contextmanager
def open_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a ZIP archive whose members can be read without surprises.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is damaged, also if the damage shows only while a member is read, or a member unpacks to far
            more than its size in the file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(archive)
            yield archive
    except _DAMAGED as error:
        raise ValueError(f"damaged archive: {error}") from error


def _check_members(archive: zipfile.ZipFile) -> None:
    """Raise ValueError if a member unpacks to far more than its size in the file.  Weights hardly compress."""
    for member in archive.infolist():
        if member.file_size > _MOST_GROWTH * max(member.compress_size, _SMALL):
            raise ValueError(f"{member.filename} unpacks to {member.file_size} bytes")


def _read_npz(path: Path, names: Set[str] | None) -> dict[str, np.ndarray]:
    if not zipfile.is_zipfile(path):  # np.load would try a bare array or a pickle next
        raise ValueError("not a zip archive")
    with open_archive(path), np.load(path, allow_pickle=False) as archive:
        return {key: archive[key] for key in archive.files if names is None or key.split("/")[0] in names}


def _read_keras(path: Path, names: Set[str] | None) -> dict[str, np.ndarray]:
    """Read only the weights of a .keras archive.

    Loading the model instead would run the code that its configuration names, and would need every custom layer to be
    registered first.
    """
    with open_archive(path) as archive:
        return _read_hdf5(io.BytesIO(archive.read("model.weights.h5")), names)


def _read_hdf5(file: Path | io.BytesIO, names: Set[str] | None) -> dict[str, np.ndarray]:
    """Read the legacy layout (keras.applications) or the Keras 3 layout (.keras, .weights.h5)."""
    with h5py.File(file, "r") as opened:
        # A whole legacy model keeps its weights in a group of their own.
        root = opened["model_weights"] if "model_weights" in opened else opened
        size = len(file.getbuffer()) if isinstance(file, io.BytesIO) else file.stat().st_size
        if "layer_names" in root.attrs:
            return _read_legacy_layout(root, names, size)
        return _read_keras3_layout(root, names, size)


def _values(dataset: h5py.Dataset, size: int) -> np.ndarray:
    """The numbers of a data set.  Raises ValueError if they need far more than `size`, that of the file in bytes."""
    if dataset.nbytes > _MOST_GROWTH * max(size, _SMALL):
        raise ValueError(f"{dataset.name} states {dataset.nbytes} bytes")
    return dataset[()]


def _read_legacy_layout(root: h5py.Group, names: Set[str] | None, size: int) -> dict[str, np.ndarray]:
    """Read one group a layer.  Its attribute `weight_names` lists kernel and bias in this order.

    The weight names themselves differ between versions of Keras, so the order is what identifies them.
    """
    arrays = {}
    for name in set(root) if names is None else names & set(root):
        for part, weight_name in zip(("kernel", "bias"), root[name].attrs["weight_names"], strict=False):
            arrays[f"{name}/{part}"] = _values(root[name][weight_name], size)
    return arrays


def _read_keras3_layout(root: h5py.Group, names: Set[str] | None, size: int) -> dict[str, np.ndarray]:
    """Read groups at any depth whose attribute `name` is a layer's name.  Their variables 0 and 1 are kernel and bias.

    Raises:
        ValueError: Two layers have the same name.
    """
    arrays = {}

    def visit(_: str, group: h5py.Group | h5py.Dataset) -> None:
        name = str(group.attrs.get("name", ""))
        if not name or (names is not None and name not in names):
            return
        for part, key in (("kernel", "0"), ("bias", "1")):
            if f"{name}/{part}" in arrays:
                raise ValueError(f"more than one layer is named {name}")
            if key in group:
                arrays[f"{name}/{part}"] = _values(group[key], size)

    root.visititems(visit)
    return arrays


READERS = {".h5": _read_hdf5, ".npz": _read_npz, ".keras": _read_keras}
