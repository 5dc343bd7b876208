"""The detector in ONNX Runtime and in OpenVINO beside TensorFlow, in turn, in one run; and the convolutions alone.

    python tests/benchmarks/runtimes.py [--size 600 800] [--fc-units 4096] [--classes 20] [--out FILE.json]

tf2onnx converts the SavedModel of `export.saved_model`, and the function that `export.tflite` converts, which takes one
picture of one size.  OpenVINO 2026.4 reads only the second.  All compute in float32.  Detections are compared with
TensorFlow's.  The first run makes an environment in build/runtimes.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import figures
import numpy as np
from inference import add_options, random_picture, spread_detector
from rounds import interleaved_seconds
from tflite import save_function
from workers import Worker, make_environment

from export.litemodel.graph import save_detection_function
from export.savedmodel.signatures import save
from export.shared.parity import PictureDetections, Tolerance, compare
from keras_frcnn.data.pictures.images import prepare
from keras_frcnn.network.model import FasterRCNN

PACKAGES = ("tensorflow==2.20.0", "tf2onnx==1.17.0", "onnxruntime==1.32.0", "openvino==2026.4.1")
FUNCTIONS = {  # what is computed -> the programs that can
    "detector": ("TensorFlow", "ONNX Runtime"),
    "detector of one size": ("TensorFlow", "ONNX Runtime", "OpenVINO"),
    "convolutions": ("TensorFlow", "ONNX Runtime", "OpenVINO"),
}
PARTNERS = Tolerance(box=1e-3, score=1e-3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, rounds=9)
    options = parser.parse_args()

    python = make_environment("runtimes", PACKAGES)
    size = tuple(options.size)
    model = spread_detector(*size, options.fc_units, options.classes)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        write_functions(model, size, folder)
        for function in FUNCTIONS:
            convert(python, folder / function)
        workers = {}
        for function, programs in FUNCTIONS.items():
            for program in programs:
                settings = {"program": program, "folder": str(folder / function)}
                own = sys.executable if program == "TensorFlow" else python
                workers[f"{function}, {program}"] = Worker(own, "runtime_worker.py", settings)
        calls: list[Callable[[], object]] = [lambda worker=worker: worker.run("run") for worker in workers.values()]
        times = dict(zip(workers, interleaved_seconds(calls, options.rounds), strict=True))
        for worker in workers.values():
            worker.stop()
        found: list[figures.Ratio | figures.Agreement | figures.Memory] = []
        for function, (first, *others) in FUNCTIONS.items():
            beside = f"{function}, {first}"
            for program in others:
                one = f"{function}, {program}"
                found.append(figures.ratio(one, times[one], beside, times[beside]))
                if function != "convolutions":
                    found.append(agreement(one, beside, folder / function, model))
    whole, one_size = "detector, TensorFlow", "detector of one size, OpenVINO"
    found.append(figures.ratio(one_size, times[one_size], whole, times[whole]))
    found += [figures.Memory(name, worker.memory) for name, worker in workers.items()]
    print(*found, sep="\n")
    versions = {package: version for worker in workers.values() for package, version in worker.versions.items()}
    figures.write(options.out, found, versions)


def write_functions(model: FasterRCNN, size: tuple[int, int], folder: pathlib.Path) -> None:
    """Write each of FUNCTIONS as a SavedModel, with its input beside it."""
    pixels = random_picture(*size)
    images = prepare(pixels, min(size), max(size))
    save(model, model.head, {}, folder / "detector")
    save_detection_function(model, size, model.head, folder / "detector of one size")
    save_function(model.backbone, {"images": images}, model.backbone.variables, folder / "convolutions")
    for function in FUNCTIONS:
        value = images if function == "convolutions" else pixels
        np.save(folder / function / "input.npy", value.numpy())


def convert(python: str, folder: pathlib.Path) -> None:
    """Write the SavedModel in `folder` as model.onnx into it, too."""
    script = pathlib.Path(__file__).parent / "to_onnx.py"
    subprocess.run([python, str(script), str(folder), str(folder / "model.onnx")], check=True)


def agreement(name: str, beside: str, folder: pathlib.Path, model: FasterRCNN) -> figures.Agreement:
    """How the outputs of two programs in a folder agree."""
    theirs, ours = (read_detections(folder / f"{one.split(', ')[1]}.npz") for one in (name, beside))
    parity = compare([ours], [theirs], PARTNERS, model.config.test)
    return figures.Agreement(
        name, beside, parity.detections, parity.matched, parity.box_difference, parity.score_difference
    )


def read_detections(path: pathlib.Path) -> PictureDetections:
    """The detections in the one picture that a worker saw, without padding."""
    outputs: Mapping[str, np.ndarray] = np.load(path)
    count = int(outputs["num_detections"].reshape(-1)[0])
    fields = ("detection_boxes", "detection_classes", "detection_scores")
    return PictureDetections(*(outputs[field][0, :count] for field in fields))


if __name__ == "__main__":
    main()
