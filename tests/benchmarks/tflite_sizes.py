"""Measure the size and the time for one picture of a detector's four TFLite files, as ratios to float32.

    python tests/benchmarks/tflite_sizes.py --model runs/synthetic --size 240x320 --picture photo.jpg --calibrate *.jpg

converts the detector once, quantises the file in three ways and prints a table.  Each file is measured in a process of
its own.  The four files take turns, so that other load on the machine slows all of them alike.  This takes some
minutes, mostly for the calibration.  The detections are not compared: `python -m export.tflite` does that.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from figures import peak_memory

ROUNDS = 5


def measure(path: str, picture: str) -> dict[str, float]:
    """Run a TFLite file on a picture and return the seconds, the peak memory in MiB and the number of detections.

    The second run is measured, because the first one also packs the weights.
    """
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter
    from PIL import Image

    runner = Interpreter(path, num_threads=os.cpu_count()).get_signature_runner()
    _, height, width, _ = runner.get_input_details()["images"]["shape"]
    pixels = np.asarray(Image.open(picture).convert("RGB").resize((width, height)))[None]
    runner(images=pixels)
    started = time.perf_counter()
    found = int(runner(images=pixels)["num_detections"][0])
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "memory": peak_memory(), "detections": found}


def export_all(options: argparse.Namespace, folder: str) -> dict[str, Path]:
    """Write the four files into `folder` and return their paths by quantisation."""
    from export.litemodel.export import parse_size
    from export.litemodel.graph import convert
    from export.litemodel.quantisation import quantize
    from export.shared.loading import load_for_export
    from export.shared.options import QUANTIZATIONS
    from export.shared.pictures import given_images
    from keras_frcnn.data.pictures.images import resize_picture

    size = parse_size(options.size)
    model = load_for_export(options)
    calibration = [resize_picture(image, size).numpy() for image in given_images(options.calibrate, model.config.image)]
    content = convert(model, size)
    paths = {name: Path(folder) / f"{name}.tflite" for name in QUANTIZATIONS}
    for name, path in paths.items():
        path.write_bytes(content if name == "none" else quantize(content, name, calibration))
    return paths


def main() -> None:
    from export.shared.options import add_model_options

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_model_options(parser)
    parser.add_argument("--size", required=True, metavar="HxW", help="height and width of the input in pixels")
    parser.add_argument("--picture", required=True, help="the picture to measure on")
    parser.add_argument("--calibrate", nargs="+", required=True, metavar="PICTURE", help="pictures for int8")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths = export_all(options, folder)
        sizes = {name: path.stat().st_size / 2**20 for name, path in paths.items()}
        rounds = []
        for _ in range(ROUNDS):
            results = {}
            for name, path in paths.items():
                command = [sys.executable, __file__, "--measure", str(path), options.picture]
                results[name] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
            rounds.append(results)
    print(f"{'':>8} {'MiB':>7} {'ratio':>6} {'seconds':>8} {'ratio':>6} {'memory MiB':>11} {'detections':>11}")
    for name in paths:
        seconds = statistics.median(results[name]["seconds"] for results in rounds)
        ratio = statistics.median(results[name]["seconds"] / results["none"]["seconds"] for results in rounds)
        last = rounds[-1][name]
        print(
            f"{name:>8} {sizes[name]:7.1f} {sizes[name] / sizes['none']:6.2f} {seconds:8.2f} {ratio:6.2f} "
            f"{last['memory']:11} {last['detections']:11}"
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure(*sys.argv[2:])))
    else:
        main()
