"""The tutorial of docs/your-data.md as a script: from pictures in the YOLO format to a measured detector.

    python docs/tutorial.py FOLDER

works in the new folder FOLDER and prints each command before it runs it.  The pictures are drawn scenes, so that the
script needs no data; put your own data in their place.  With the default schedule it takes about 15 minutes on 2 CPU
cores.  The tests run the same script with a much shorter schedule.
"""

import argparse
import shlex
import subprocess
import sys
from pathlib import Path

# Small pictures and new, small layers: with a short schedule, this takes minutes on 2 CPU cores.
SMALL = (
    "--short-side 240 --anchor-scales 32 45 64 90 128 --min-size 8 --fc-units 1024 --rois 128 --dropout 0 "
    "--head-images 1 --learning-rate 0.002 0.002 0.002 0.002"
)


def tutorial(pictures: int, iterations: str, weights: str) -> tuple[str, ...]:
    """The commands, in order; each runs in the folder of the tutorial."""
    split = "--split-by 0.7/0.15/0.15"
    return (
        # Stand-in for your data: pictures and labels in two folders, with data.yaml, and no splits.
        f"python -m keras_frcnn.data.synthetic --out drawn --train {pictures} --val 0 --test 0",
        "python -m keras_frcnn.data.convert voc:drawn shapes --to yolo",
        # 1. Look at the data before you train on them.
        "python -m keras_frcnn.data.validate yolo:shapes --out check",
        # 2. Train.  The pictures have no validation set, so the run makes one and writes it down.
        f"python -m training.alternate --data yolo:shapes {split} --weights {weights} --run run --augment light "
        f"--iterations {iterations} {SMALL}",
        # 3. Measure on pictures that training did not use, and see what is wrong with the rest.
        "python -m training.evaluate --model run --data yolo:shapes --split-by run/splits.json --split test "
        "--metric coco --out results",
        # 4. Use it.
        "python -m keras_frcnn.detect --model run --out found drawn/JPEGImages/train_000000.jpg",
    )


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="a new folder for everything that is written")
    parser.add_argument("--pictures", type=int, default=300, help="pictures to draw (default: 300)")
    parser.add_argument("--iterations", default="130 320 250 400", help="mini-batches of the four steps")
    parser.add_argument("--weights", default="torchvision", help="starting weights (default: torchvision)")
    return parser.parse_args()


def main() -> None:
    options = parse_arguments()
    options.folder.mkdir(parents=True)
    for command in tutorial(options.pictures, options.iterations, options.weights):
        print(f"\n$ {command}", flush=True)
        words = shlex.split(command)
        subprocess.run([sys.executable, *words[1:]], cwd=options.folder, check=True)


if __name__ == "__main__":
    main()
