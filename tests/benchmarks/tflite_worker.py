"""A TFLite file as a process that runs when it is told to; `tflite.py` starts it."""

import json
import os
import sys
from importlib import metadata

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from workers import serve


def main() -> None:
    settings = json.loads(sys.argv[1])
    runner = Interpreter(settings["path"], num_threads=len(os.sched_getaffinity(0))).get_signature_runner()
    inputs = dict(np.load(settings["inputs"]))
    serve({"ai-edge-litert": metadata.version("ai-edge-litert")}, lambda _: runner(**inputs))


if __name__ == "__main__":
    main()
