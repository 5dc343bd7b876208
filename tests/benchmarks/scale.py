"""How long a training with many pictures takes to its first batch, and how much memory; beside pycocotools.

    python tests/benchmarks/scale.py [--pictures 100000] [--annotations 7] [--folder FOLDER]

Makes a data set like COCO whose pictures share a few small files, then measures, each in a process of its own:

- `pycocotools.coco.COCO(...)` of the training set;
- the start of a training: load both sets, take their fingerprint and write it, make the batches, get the first.

Prints the seconds of each part and the peak of the memory after it.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

SIZES = ((48, 64), (64, 48), (56, 56), (40, 80), (64, 64))  # height, width of the shared files
CLASSES = 80


def make_set(folder: Path, pictures: dict[str, int], annotations: int) -> None:
    """Write `annotations/instances_SPLIT.json` and the pictures of each split; a picture has 0 to 2 x `annotations`."""
    from PIL import Image

    shared = folder / "shared"
    shared.mkdir(parents=True)
    (folder / "annotations").mkdir()
    rng = np.random.default_rng(0)
    for number, (height, width) in enumerate(SIZES):
        noise = rng.integers(0, 255, (height, width, 3), dtype=np.uint8)
        Image.fromarray(noise).save(shared / f"{number}.jpg", quality=30)
    for split, count in pictures.items():
        (folder / split).mkdir()
        images, objects = [], []
        for number in range(count):
            kind = number % len(SIZES)
            # A file system allows 65,000 links to a file.
            source = shared / f"{kind}.jpg"
            if number // len(SIZES) % 10_000 == 0:
                source.write_bytes(source.read_bytes())
                copy = shared / f"{kind}.{split}.{number}.jpg"
                copy.write_bytes(source.read_bytes())
                source.unlink()
                os.link(copy, source)
            name = f"{number:012d}.jpg"
            os.link(source, folder / split / name)
            height, width = SIZES[kind]
            images.append({"id": number, "file_name": name, "height": height, "width": width})
            for _ in range(int(rng.integers(0, 2 * annotations + 1))):
                objects.append(_annotation(rng, len(objects), number, height, width))
        categories = [{"id": number, "name": f"class {number}"} for number in range(1, CLASSES + 1)]
        content = {"images": images, "annotations": objects, "categories": categories}
        (folder / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))


def _annotation(rng: np.random.Generator, number: int, image: int, height: int, width: int) -> dict:
    """A random box with a polygon of 16 points, as long as those of COCO."""
    x, y = rng.uniform(0, width - 8), rng.uniform(0, height - 8)
    w, h = rng.uniform(2, width - x), rng.uniform(2, height - y)
    angles = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    polygon = np.stack([x + w / 2 * (1 + np.cos(angles)), y + h / 2 * (1 + np.sin(angles))], axis=-1)
    return {
        "id": number,
        "image_id": image,
        "category_id": int(rng.integers(1, CLASSES + 1)),
        "bbox": [round(float(value), 2) for value in (x, y, w, h)],
        "area": round(float(w * h * 0.78), 3),
        "iscrowd": 0,
        "segmentation": [[round(float(value), 2) for value in polygon.ravel()]],
    }


class Clock:
    """Measures the seconds of each part, and the peak of the process's memory after it."""

    def __init__(self) -> None:
        self.parts: dict[str, dict[str, float]] = {}
        self._last, self._last_cpu = time.perf_counter(), 0.0

    def lap(self, part: str) -> None:
        now, cpu = time.perf_counter(), time.process_time()
        # getrusage would count the process that started this one, too.
        status = Path("/proc/self/status").read_text()
        peak = int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 2**20
        self.parts[part] = {"seconds": now - self._last, "cpu": cpu - self._last_cpu, "gib": peak}
        self._last, self._last_cpu = now, cpu


def measure_pycocotools(folder: Path, clock: Clock) -> None:
    from pycocotools.coco import COCO

    clock.lap("imports")
    COCO(str(folder / "annotations" / "instances_train.json"))
    clock.lap("COCO(...)")


def measure_start(folder: Path, clock: Clock) -> None:
    """What `training.run` does from its start to the first batch, without the model."""
    from keras_frcnn.data.sources.loading import load_dataset
    from keras_frcnn.data.sources.spec import DataSpec
    from keras_frcnn.data.stream.order import training_items
    from keras_frcnn.data.stream.pipeline import training_batches
    from keras_frcnn.facts.config import ImageConfig
    from training.run.data.fingerprint import fingerprint
    from training.run.folder import open_folder

    clock.lap("imports")
    spec = DataSpec(data=f"coco:{folder}")
    train = load_dataset(spec, "train")
    clock.lap("load train")
    val = load_dataset(spec, "val")
    clock.lap("load val")
    data = fingerprint(train, val)
    clock.lap("fingerprint")
    with tempfile.TemporaryDirectory() as run:
        open_folder(run, {}, data)
        clock.lap("write data.json")
        open_folder(run, {}, data)
        clock.lap("compare data.json")
    training_items(train, 0, 2, 1000)
    clock.lap("list items")
    batches = training_batches(train, ImageConfig(short_side=64, long_side=128), 2, 0)
    clock.lap("make batches")
    next(iter(batches))
    clock.lap("first batch")
    print(f"{len(train.examples)} pictures, {sum(len(one.boxes) for one in train.examples)} objects", file=sys.stderr)


PARTS: dict[str, Callable[[Path, Clock], None]] = {"pycocotools": measure_pycocotools, "start": measure_start}


def measured(part: str, folder: Path) -> dict[str, dict[str, float]]:
    """{lap: {"seconds", "cpu", "gib"}} of a part, measured in a process of its own."""
    root = Path(__file__).resolve().parents[2]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONPATH": str(root)}
    command = [sys.executable, __file__, "--part", part, "--folder", str(folder)]
    done = subprocess.run(command, cwd=root, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def line(part: str, lap: str, values: dict[str, float]) -> str:
    seconds, cpu, gib = (values[name] for name in ("seconds", "cpu", "gib"))
    return f"{part:12} {lap:18} {seconds:8.2f} s {cpu:8.2f} s of processors  peak {gib:.2f} GiB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=100_000)
    parser.add_argument("--annotations", type=int, default=7, help="of a picture, on average")
    parser.add_argument("--folder", type=Path, help="where to keep the set; an existing one is used again")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        clock = Clock()
        PARTS[options.part](options.folder, clock)
        print(json.dumps(clock.parts))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch) / "set"
        if not folder.exists():
            make_set(folder, {"train": options.pictures, "val": options.pictures // 20}, options.annotations)
        for part in PARTS:
            laps = measured(part, folder)
            for lap, values in laps.items():
                print(line(part, lap, values))
            total = {name: sum(values[name] for values in laps.values()) for name in ("seconds", "cpu")}
            print(line(part, "all", total | {"gib": max(values["gib"] for values in laps.values())}))


if __name__ == "__main__":
    main()
