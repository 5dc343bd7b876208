"""Measure what slices bring for small objects: recall and average precision with and without them.

    python tests/benchmarks/slices.py --model runs/bccd --data voc:BCCD --split val --grid 4 --slice-size 480

joins the pictures of a split to large ones, --grid by --grid pictures each, so that the objects become small when the
network resizes them.  An object is small if the square root of its area is under 16 pixels after that.  Pictures that
have another size than the first, or do not fill a large one, are left out.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from keras_frcnn.api.detector import load
from keras_frcnn.data.example import Example
from keras_frcnn.data.pictures.files import read_example
from keras_frcnn.data.pictures.images import resized_size
from keras_frcnn.data.sources.loading import load_dataset
from keras_frcnn.data.sources.spec import DataSpec
from keras_frcnn.evaluation.detections.record import ImageDetections
from keras_frcnn.evaluation.matching.overlap import pairwise_iou
from keras_frcnn.evaluation.metrics.voc_ap import evaluate_voc

SMALL = 16.0  # pixels of the resized picture
IOU = 0.5
SCORES = (0.5, 0.05)  # recall by detections from these scores on


def joined(examples, grid):
    """Large pictures: (example, pixels) each."""
    size = examples[0].height, examples[0].width
    same = [example for example in examples if (example.height, example.width) == size]
    for start in range(0, len(same) - grid * grid + 1, grid * grid):
        parts = same[start : start + grid * grid]
        offsets = [np.array([row * size[0], column * size[1]] * 2) for row in range(grid) for column in range(grid)]
        rows = [np.hstack([read_example(one) for one in parts[row * grid : (row + 1) * grid]]) for row in range(grid)]
        fields = {
            "boxes": np.concatenate([one.boxes + offset for one, offset in zip(parts, offsets, strict=True)]),
            "classes": np.concatenate([one.classes for one in parts]),
            "difficult": np.concatenate([one.difficult for one in parts]),
        }
        whole = Example(f"large{start}", "", grid * size[0], grid * size[1], **fields)
        yield whole, np.vstack(rows)


def is_small(example, image):
    """Which objects are small after resizing: (G,) bool."""
    original = example.height, example.width
    scale = int(resized_size(original, image.short_side, image.long_side)[0]) / example.height
    sides = example.boxes[:, 2:] - example.boxes[:, :2]
    return np.sqrt(sides.prod(axis=1)) * scale < SMALL


def found(example, result, score):
    """Which objects a detection of their class overlaps: (G,) bool."""
    shown = result.scores >= score
    overlaps = pairwise_iou(example.boxes, result.boxes[shown])
    overlaps = np.where(example.classes[:, None] == result.class_ids[shown], overlaps, 0.0)
    return overlaps.max(axis=1, initial=0.0) > IOU


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--split", default="val")
    parser.add_argument("--grid", type=int, default=4)
    parser.add_argument("--slice-size", type=int, required=True)
    options = parser.parse_args()
    detector = load(options.model)
    spec = DataSpec(data=options.data, class_names=detector.class_names)
    dataset = load_dataset(spec, options.split, detector.config.image.exif)
    pictures = list(joined(dataset.examples, options.grid))
    examples = [example for example, _ in pictures]
    small = np.concatenate([is_small(example, detector.config.image) for example in examples])
    size = f"{examples[0].width}x{examples[0].height}"
    print(f"{len(pictures)} pictures of {size}, {len(small)} objects, {small.sum()} small")
    for title, side in (("whole picture", None), (f"with slices of {options.slice_size}", options.slice_size)):
        detector.detect(pictures[0][1], score=min(SCORES), slice_size=side)  # TensorFlow builds its graphs
        started = time.perf_counter()
        results = [detector.detect(pixels, score=min(SCORES), slice_size=side) for _, pixels in pictures]
        seconds = (time.perf_counter() - started) / len(pictures)
        records = [
            ImageDetections(example.image_id, result.boxes, result.class_ids, result.scores)
            for example, result in zip(examples, results, strict=True)
        ]
        ap = evaluate_voc(examples, records, detector.class_names)
        print(f"\n{title}: mAP {ap.mean_11point:.3f} (area {ap.mean_area:.3f}), {seconds:.1f} s a picture")
        for score in SCORES:
            hits = np.concatenate(
                [found(example, result, score) for example, result in zip(examples, results, strict=True)]
            )
            parts = {"small": hits[small], "others": hits[~small]}
            shares = [f"{name} {part.mean():.3f} of {len(part)}" for name, part in parts.items() if len(part)]
            print(f"  recall from score {score} on: {', '.join(shares)}")


if __name__ == "__main__":
    main()
