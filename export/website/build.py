"""From a detector to the folder of a static web page that runs it in the browser."""

import argparse
import hashlib
import logging
import pathlib
import shutil
import tempfile
from collections.abc import Mapping
from typing import Any

from export.litemodel import export as litemodel
from export.litemodel.metadata import CONFIG, LABELS
from export.shared.destination import check_free, check_own
from export.shared.options import WEB_QUANTIZATION
from export.shared.running import run_export
from export.website.runtime import CORE, Package, fetch_runtime, write_runtime
from keras_frcnn.api.model_file import load_model
from keras_frcnn.data.pictures.images import resized_size
from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.files import parse_json, write_atomically, write_json
from keras_frcnn.network.weights.readers import open_archive

MODEL, SETTINGS, SERVICE_WORKER = "model.tflite", "model.json", "service_worker.js"

_PAGE = pathlib.Path(__file__).parent / "page"
_SHAPE = (3000, 4000)  # height and width of the picture for which the size is chosen if none is given
_OF_A_TRAINED_MODEL = (
    "size", "quantize", "svd", "calibrate", "images", "data", "split", "score_threshold", "nms_iou", "max_detections"
)  # fmt: skip
_LOG = logging.getLogger(__name__)


def run(options: argparse.Namespace) -> None:
    """Make the folder as the options of `python -m export.web` say.  See `run_export` for what it raises."""
    run_export(options, export)


def export(options: argparse.Namespace) -> None:
    """Write the page and its files, as the options say; log the progress.

    Raises:
      InputError: an option, the model or a picture is wrong, or LiteRT.js cannot be fetched.
      ParityError: the model differs too much from the Keras model.  Nothing is written then.
    """
    out = pathlib.Path(options.out)
    if out.is_file():
        raise InputError(out, "is a file", "give the name of a folder with --out")
    if options.force and out.is_dir() and any(out.iterdir()):
        check_own(out, SETTINGS, "a page of export.web")
    check_free(out, options.force)
    options = argparse.Namespace(**vars(options))
    if _is_tflite(options):
        _check_tflite(options)
    else:
        options.quantize = options.quantize or WEB_QUANTIZATION
        litemodel.check_pictures(options)
        options.size = options.size or _size_in_training(options.model)
        litemodel.parse_size(options.size)
    archives = fetch_runtime()  # before the model is made, which takes minutes
    with tempfile.TemporaryDirectory() as folder:
        model = _model(options, pathlib.Path(folder))
        settings = read_settings(model)
        write_atomically(out, lambda temporary: _write(temporary, model, archives, settings, options.title))
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    _LOG.info("written to %s: %.1f MB, of which a browser loads %.1f", out, size / 1e6, _loaded(out) / 1e6)


def _check_tflite(options: argparse.Namespace) -> None:
    """Raise InputError if it is not a TFLite file of this project, or if an option has no effect on it."""
    if not pathlib.Path(options.model).is_file():
        raise InputError(options.model, "no such file", "give a TFLite file, a run folder or a .keras file")
    for name in _OF_A_TRAINED_MODEL:
        if getattr(options, name) is not None:
            fix = "remove it, or give the trained model"
            raise InputError(f"--{name.replace('_', '-')}", "has no effect on a TFLite file", fix)
    read_settings(pathlib.Path(options.model))


def _size_in_training(model: str) -> str:
    """The size of a picture of 4:3 in the training of a Keras model, as `--size` has it."""
    image = load_model(model).config.image
    size = "x".join(map(str, resized_size(_SHAPE, image.short_side, image.long_side).numpy()))
    _LOG.info("size: %s, that of a picture of 4:3 in training (--size changes it)", size)
    return size


def _model(options: argparse.Namespace, folder: pathlib.Path) -> pathlib.Path:
    """The TFLite file of the page: the one that was given, or a new one of a Keras model."""
    if _is_tflite(options):
        return pathlib.Path(options.model)
    return litemodel.write_file(argparse.Namespace(**{**vars(options), "out": str(folder / MODEL)}))


def _is_tflite(options: argparse.Namespace) -> bool:
    return pathlib.Path(options.model).suffix == ".tflite"


def read_settings(model: pathlib.Path) -> dict[str, Any]:
    """What the page must know of a TFLite file of this project.  Raises InputError for another file."""
    try:
        with open_archive(model) as files:
            labels = files.read(LABELS).decode().splitlines()[1:]  # line 0 is the background
            facts = parse_json(files.read(CONFIG))
        return {
            "labels": labels,
            "size": [facts["input"]["height"], facts["input"]["width"]],
            "turned": facts["detector"]["image"].get("exif") == "apply",
            "leastScore": facts["detector"]["test"]["score_threshold"],
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        problem = f"is not a TFLite file of this project ({error})"[:300]
        raise InputError(model, problem, "give a file that export.tflite wrote") from error


def _write(
    folder: pathlib.Path,
    model: pathlib.Path,
    archives: Mapping[Package, bytes],
    settings: dict[str, Any],
    title: str,
) -> None:
    """Write all files of the page."""
    shutil.copytree(_PAGE, folder)
    write_runtime(folder / "litert", archives)
    shutil.copyfile(model, folder / MODEL)
    runtime = max((folder / "litert" / "wasm").glob("*.wasm"), key=lambda path: path.stat().st_size)
    sizes = {"modelBytes": model.stat().st_size, "runtimeBytes": runtime.stat().st_size}
    about = {"title": title, "runtime": f"{CORE.name} {CORE.version}"} | settings | sizes
    write_json(folder / SETTINGS, about)
    version = _version(folder)
    write_json(folder / SETTINGS, about | {"version": version})
    worker = (folder / SERVICE_WORKER).read_text(encoding="utf-8").replace("{version}", version)
    (folder / SERVICE_WORKER).write_text(worker, encoding="utf-8")


def _version(folder: pathlib.Path) -> str:
    """A name for the content of all files."""
    whole = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        whole.update(path.relative_to(folder).as_posix().encode())
        with open(path, "rb") as content:
            whole.update(hashlib.file_digest(content, "sha256").digest())
    return whole.hexdigest()[:16]


def _loaded(folder: pathlib.Path) -> int:
    """The bytes that a browser loads: all files, but only one variant of the runtime."""
    sizes = {path: path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    variants = [size for path, size in sizes.items() if path.suffix == ".wasm"]
    return sum(sizes.values()) - sum(variants) + max(variants)
