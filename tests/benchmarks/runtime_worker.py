"""TensorFlow, ONNX Runtime or OpenVINO as a process that runs one function; `runtimes.py` starts it.

It imports nothing of the packages of this project.  The first outputs are written to a file.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
from workers import serve

Outputs = Mapping[str, np.ndarray]


def tensorflow(folder: Path, value: np.ndarray) -> tuple[Callable[[], Outputs], str]:
    import tensorflow as tf

    signature = tf.saved_model.load(str(folder)).signatures["serving_default"]
    images = tf.constant(value)
    return lambda: {name: output.numpy() for name, output in signature(images=images).items()}, tf.__version__


def onnx_runtime(folder: Path, value: np.ndarray) -> tuple[Callable[[], Outputs], str]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = len(os.sched_getaffinity(0))
    session = onnxruntime.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])
    (images,) = session.get_inputs()
    names = [output.name for output in session.get_outputs()]
    return lambda: dict(zip(names, session.run(names, {images.name: value}), strict=True)), onnxruntime.__version__


def openvino(folder: Path, value: np.ndarray) -> tuple[Callable[[], Outputs], str]:
    import openvino

    # Without this, OpenVINO computes in bfloat16 where the processor can.
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": len(os.sched_getaffinity(0))}
    model = openvino.Core().compile_model(folder / "model.onnx", "CPU", settings)

    def run() -> Outputs:  # an output may have several names
        return {name: array for output, array in model(value).items() for name in output.names}

    return run, openvino.__version__


PROGRAMS = {"TensorFlow": tensorflow, "ONNX Runtime": onnx_runtime, "OpenVINO": openvino}


def main() -> None:
    settings = json.loads(sys.argv[1])
    name, folder = settings["program"], Path(settings["folder"])
    run, version = PROGRAMS[name](folder, np.load(folder / "input.npy"))
    np.savez(folder / f"{name}.npz", **run())
    serve({name: version}, lambda _: run())


if __name__ == "__main__":
    main()
