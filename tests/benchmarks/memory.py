"""The peak memory of detection over many requests of changing size, and of training.

    python tests/benchmarks/memory.py [--requests 500] [--iterations 20] [--out FILE.json]

Detection is the SavedModel's `serving_default` at the paper's sizes, 600x1000, with fc6 and fc7 of 4096 units, in a
process of its own; its memory is read after a tenth, after a half and after all of the requests.  Training is joint
training, with one random picture of 600x1000 pixels in a mini-batch, and step 2, with two, as the default options have.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import figures
import numpy as np

SIZE, FC_UNITS, CLASSES = (600, 1000), 4096, 20
# What is trained, and the pictures of a mini-batch.
TRAINED = {"joint training": (("backbone", "rpn", "head"), 1), "step 2": (("backbone", "head"), 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--iterations", type=int, default=20)
    figures.add_out(parser)
    options = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory() as folder:
        in_own_process("save_detector", folder)
        for name, mebibytes in in_own_process("detect", folder, options.requests).items():
            found.append(figures.Memory(f"detection, {name} requests", mebibytes))
            print(found[-1], flush=True)
    for name in TRAINED:
        found.append(figures.Memory(name, in_own_process("train", name, options.iterations)["peak"]))
        print(found[-1], flush=True)
    figures.write(options.out, found)


def in_own_process(task: str, *arguments: object) -> dict[str, int]:
    """Call a function of this file in a new process, and return what it returns."""
    command = [sys.executable, __file__, "--task", json.dumps([task, *arguments])]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def save_detector(folder: str) -> dict[str, int]:
    """Write a SavedModel with random weights."""
    from inference import spread_detector

    from export.savedmodel.signatures import save

    model = spread_detector(*SIZE, FC_UNITS, CLASSES)
    save(model, model.head, {}, folder)
    return {}


def detect(folder: str, requests: int) -> dict[str, int]:
    """The peak memory after parts of the requests."""
    import tensorflow as tf

    signature = tf.saved_model.load(folder).signatures["serving_default"]
    rng, read_at, peaks = np.random.default_rng(0), {requests // 10, requests // 2, requests}, {}
    for number in range(1, requests + 1):
        height, width = rng.integers(200, 1200, 2)
        pixels = tf.constant(rng.integers(0, 256, (1, height, width, 3), dtype=np.uint8))
        signature(images=pixels)["num_detections"].numpy()
        if number in read_at:
            peaks[str(number)] = figures.peak_memory()
    return peaks


def train(name: str, iterations: int) -> dict[str, int]:
    """The peak memory of a training with the default options."""
    import tensorflow as tf
    from random_training import random_batch, random_model, random_trainer

    parts, images = TRAINED[name]
    batch = tf.nest.map_structure(lambda value: tf.repeat(value, images, axis=0), random_batch(*SIZE))
    trainer = random_trainer(random_model(SIZE), parts, batch)
    trainer.train(iterations)
    return {"peak": figures.peak_memory()}


if __name__ == "__main__":
    if sys.argv[1:2] == ["--task"]:
        task, *arguments = json.loads(sys.argv[2])
        print(json.dumps({"save_detector": save_detector, "detect": detect, "train": train}[task](*arguments)))
    else:
        main()
