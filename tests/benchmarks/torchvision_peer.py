"""This project's detector beside torchvision's, in turn, in one run: seconds and peak memory.

    python tests/benchmarks/torchvision_peer.py --what infer [--precision bfloat16] [--out FILE.json]
    python tests/benchmarks/torchvision_peer.py --what train

Both have VGG16 with one feature map, the paper's anchors, 300 proposals and fc6 and fc7 of 4096 units, on one picture
of 600x800 pixels; training samples 256 anchors and 128 regions, and the first two blocks are fixed.  torchvision runs
in both memory layouts, and the faster one counts.  The first run makes an environment with PyTorch in
build/torchvision, which takes some minutes and some GB of disk.

Each side is a process of its own, so that its peak memory can be told.
"""

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import figures
from inference import add_options, spread_detector
from random_training import random_batch
from rounds import interleaved_seconds
from workers import Worker, make_environment

from export.savedmodel.signatures import save
from export.shared.loading import in_precision

ENVIRONMENT = "torchvision"
PACKAGES = ("torch==2.14.1", "torchvision==0.29.1")
LAYOUTS = {"torchvision": False, "torchvision, channels last": True}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--what", choices=("infer", "train"), required=True)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    add_options(parser, rounds=9)
    options = parser.parse_args()

    python = make_environment(ENVIRONMENT, PACKAGES)
    boxes = random_batch(*options.size).ground_truth.boxes[0].numpy()[:, [1, 0, 3, 2]].tolist()  # x before y
    settings = {name: value for name, value in vars(options).items() if name != "out"} | {"boxes": boxes}
    with tempfile.TemporaryDirectory() as folder:
        if options.what == "infer":
            model = spread_detector(*options.size, options.fc_units, options.classes)
            model = in_precision(model, options.precision)
            save(model, model.head, {}, folder)
        workers = {"this project": Worker(sys.executable, "our_worker.py", settings | {"saved_model": folder})}
        for name, channels_last in LAYOUTS.items():
            workers[name] = Worker(python, "torchvision_worker.py", settings | {"channels_last": channels_last})
        calls: list[Callable[[], object]] = [
            lambda worker=worker: worker.run(options.what) for worker in workers.values()
        ]
        times = dict(zip(workers, interleaved_seconds(calls, options.rounds), strict=True))
        for worker in workers.values():
            worker.stop()

    best = min(LAYOUTS, key=lambda name: statistics.median(times[name]))
    ours = figures.ratio("this project", times["this project"], best, times[best])
    both = figures.ratio("torchvision", times["torchvision"], "torchvision, channels last", times[[*LAYOUTS][1]])
    memory = [figures.Memory(name, worker.memory) for name, worker in workers.items()]
    print(ours, both, *memory, sep="\n")
    figures.write(options.out, [ours, both, *memory], workers["torchvision"].versions)


if __name__ == "__main__":
    main()
