"""Measure how often 95 % bootstrap intervals of average precision contain its true value.

    python tests/benchmarks/interval_coverage.py

prints, for test sets of several sizes, the share of basic and of percentile intervals that contain it.  Detections are
made, not detected: an object is found with a probability of 0.8, there is one stray detection of each class in an image
on average, and the scores of right detections are higher by one standard deviation.  The true value is that of 20,000
images, from which the test sets are drawn with replacement.  Takes about 5 minutes.
"""

import argparse

import numpy as np

from keras_frcnn.evaluation.intervals.bootstrap import draw_samples
from keras_frcnn.evaluation.intervals.weighted_ap import COCO_THRESHOLDS, area_ap, interpolated_ap, weighted_curves
from keras_frcnn.evaluation.matching.matches import ClassMatches

POOL = 20_000
DESIGNS = ((87, 1.0, 3), (300, 1.0, 3), (300, 0.1, 10), (1000, 1.0, 3))  # images, objects of a class in one, classes
RESAMPLES = 600


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=400)
    repetitions = parser.parse_args().repetitions
    print("metric  images  objects  classes  basic  percentile")
    for name in ("area", "coco"):
        for images, objects, classes in DESIGNS:
            basic, percentile = coverage(name, images, objects, classes, repetitions)
            print(f"{name:6}  {images:6}  {objects:7}  {classes:7}  {basic:5.1%}  {percentile:10.1%}", flush=True)


def coverage(name: str, images: int, objects: float, classes: int, repetitions: int) -> tuple[float, float]:
    """The shares of basic and of percentile intervals that contain the true value."""
    rng = np.random.default_rng(0)
    pools = [made_class(rng, objects) for _ in range(classes)]
    truth = mean_ap(name, pools, np.ones((1, POOL), np.int32))[0]
    basic, percentile = 0, 0
    for seed in range(repetitions):
        places = rng.integers(0, POOL, images)
        value, *samples = mean_ap(name, [drawn(pool, places) for pool in pools], draw_samples(images, RESAMPLES, seed))
        low, high = np.percentile(samples, [2.5, 97.5])
        percentile += low <= truth <= high
        basic += 2 * value - high <= truth <= 2 * value - low
    return basic / repetitions, percentile / repetitions


def made_class(rng: np.random.Generator, objects: float) -> ClassMatches:
    """The matches of one class in the whole pool; `objects` is the mean number of its objects in an image."""
    counts = rng.poisson(objects, POOL)
    owners = np.repeat(np.arange(POOL), counts)
    right = owners[rng.random(len(owners)) < 0.8]
    wrong = np.repeat(np.arange(POOL), rng.poisson(1.0, POOL))
    scores = np.concatenate([rng.normal(1, 1, len(right)), rng.normal(0, 1, len(wrong))])
    order = np.argsort(-scores, kind="stable")
    hits = np.arange(len(scores)) < len(right)
    return ClassMatches(
        np.concatenate([right, wrong])[order], hits[None, order], np.zeros((1, len(order)), bool), counts
    )


def drawn(pool: ClassMatches, places: np.ndarray) -> ClassMatches:
    """The matches of a test set that holds the images at `places`."""
    by_image = np.argsort(pool.images, kind="stable")
    ends = np.cumsum(np.bincount(pool.images, minlength=POOL))
    rows = [by_image[ends[place - 1] if place else 0 : ends[place]] for place in places]
    owners = np.repeat(np.arange(len(places)), [len(row) for row in rows])
    joined = np.concatenate(rows)  # places in the ranking of the pool
    order = np.argsort(joined, kind="stable")
    chosen = joined[order]
    return ClassMatches(owners[order], pool.right[:, chosen], pool.ignored[:, chosen], pool.objects[places])


def mean_ap(name: str, classes: list[ClassMatches], weights: np.ndarray) -> np.ndarray:
    """The mean AP with each set of weights."""
    values = []
    for matches in classes:
        (curve,) = weighted_curves(matches, weights)
        values.append(area_ap(*curve) if name == "area" else interpolated_ap(*curve, COCO_THRESHOLDS))
    return np.nanmean(values, axis=0)


if __name__ == "__main__":
    main()
