"""Convert a SavedModel of this project to ONNX; `runtimes.py` starts it in the environment of tf2onnx.

python to_onnx.py SAVED_MODEL FILE.onnx
"""

import os
import subprocess
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import onnx


def main() -> None:
    saved_model, path = sys.argv[1:]
    command = [sys.executable, "-m", "tf2onnx.convert", "--saved-model", saved_model, "--output", path, "--opset", "18"]
    command += ["--signature_def", "serving_default", "--tag", "serve"]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    model = onnx.load(path)
    resize_in_float(model.graph)
    onnx.save(model, path)


def resize_in_float(graph: onnx.GraphProto) -> None:
    """Make pixels float32 before anything computes with them.

    TensorFlow's resizing takes uint8 and gives float32.  That of ONNX gives what it takes.
    """
    pixels = [value.name for value in graph.input if value.type.tensor_type.elem_type == onnx.TensorProto.UINT8]
    for name in pixels:
        cast = onnx.helper.make_node("Cast", [name], [f"{name} as float32"], to=onnx.TensorProto.FLOAT)
        for node in graph.node:
            if node.op_type != "Shape":
                node.input[:] = [cast.output[0] if other == name else other for other in node.input]
        graph.node.insert(0, cast)


if __name__ == "__main__":
    main()
