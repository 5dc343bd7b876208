"""VOC's and COCO's figures of 200 random detection sets, by a second implementation in plain NumPy and float64.

This file shares no code with the package: it follows the definitions, one detection after the other.
"""

import math

import numpy as np
import pytest

from keras_frcnn.data.example import Example
from keras_frcnn.evaluation.detections.record import ImageDetections
from keras_frcnn.evaluation.metrics.coco_ap import evaluate_coco
from keras_frcnn.evaluation.metrics.voc_ap import evaluate_voc

NAMES = ("cat", "dog", "hen")
SIDES = (8, 20, 32, 50, 96, 120)  # areas of 32 x 32 and 96 x 96 are the limits of COCO's sizes


def random_split(seed):
    """One to six images: some are empty, objects are crowded, difficult or crowds, and many scores are equal."""
    rng = np.random.default_rng(seed)
    count = rng.integers(1, 7)
    ids = rng.permutation(20)[:count] if seed % 2 else [f"picture {number}" for number in range(count)]
    examples, records = [], []
    for image_id in map(str, ids):
        objects = rng.integers(0, 6)
        corners = rng.integers(0, 150, (objects, 2))
        sides = rng.choice(SIDES, (objects, 2))
        boxes = np.concatenate([corners, corners + sides], axis=1)
        classes = rng.integers(1, 3 + (seed % 5 == 0), objects)
        crowd = rng.random(objects) < 0.15
        areas = np.prod(sides, axis=1) * rng.choice([1.0, 0.6], objects) if rng.random() < 0.5 else None
        examples.append(
            Example(
                image_id, "", 300, 300, boxes.astype(np.float32), classes.astype(np.int32),
                difficult=crowd | (rng.random(objects) < 0.2), crowd=crowd if rng.random() < 0.9 else None, areas=areas,
            )
        )  # fmt: skip
        if rng.random() < 0.85:
            records.append(random_record(rng, image_id, boxes, classes, 130 if seed % 40 == 0 else 6))
    return examples, [records[place] for place in rng.permutation(len(records))]


def random_record(rng, image_id, boxes, classes, strays):
    """Objects found up to three times, shifted by whole pixels; boxes elsewhere; one of no area."""
    places = rng.integers(0, max(len(boxes), 1), rng.integers(0, 3 * len(boxes) + 1))
    shifted = boxes[places] + rng.integers(-6, 7, (len(places), 4)) * (rng.random((len(places), 1)) < 0.7)
    corners = rng.integers(0, 200, (rng.integers(0, strays), 2))
    elsewhere = np.concatenate([corners, corners + rng.choice(SIDES, (len(corners), 2))], axis=1)
    flat = np.array([[30, 30, 30, 60]])
    found = np.concatenate([shifted, elsewhere, flat])
    numbers = np.concatenate([classes[places], rng.integers(1, 4, len(corners) + 1)])
    order = rng.permutation(len(found))
    return ImageDetections(
        image_id, found[order].astype(np.float64), numbers[order], rng.integers(0, 8, len(found)) / 8
    )


def area(box):
    return (box[2] - box[0]) * (box[3] - box[1])


def overlap(detection, truth, crowd=False):
    height = min(detection[2], truth[2]) - max(detection[0], truth[0])
    width = min(detection[3], truth[3]) - max(detection[1], truth[1])
    if height <= 0 or width <= 0:
        return 0.0
    shared = height * width
    return shared / (area(detection) if crowd else area(detection) + area(truth) - shared)


def curve(judged, total):
    """(recall, precision) after each counted detection; `judged` has True, False, or None for one that is ignored."""
    recall, precision, right, wrong = [], [], 0, 0
    for verdict in judged:
        right += verdict is True
        wrong += verdict is False
        recall.append(right / total)
        precision.append(right / (right + wrong) if right + wrong else 0.0)
    return recall, precision


def precision_at(recall, precision, threshold):
    """The highest precision where the recall is at least the threshold."""
    return max((p for r, p in zip(recall, precision, strict=True) if r >= threshold), default=0.0)


def mean(values):
    counted = [value for value in values if not math.isnan(value)]
    return sum(counted) / len(counted) if counted else math.nan


# VOC.


def voc_class(examples, records, number):
    """(11-point AP, area AP) of one class."""
    truths = {
        entry.image_id: [
            (box.tolist(), bool(difficult))
            for box, kind, difficult in zip(entry.boxes, entry.classes, entry.difficult, strict=True)
            if kind == number
        ]
        for entry in examples
    }
    total = sum(not difficult for rows in truths.values() for _, difficult in rows)
    if not total:
        return math.nan, math.nan
    rows = [
        (float(score), record.image_id, box.tolist())
        for record in records
        for box, kind, score in zip(record.boxes, record.classes, record.scores, strict=True)
        if kind == number
    ]
    taken, judged = set(), []
    for _, image_id, box in sorted(rows, key=lambda row: -row[0]):
        overlaps = [overlap(box, truth) for truth, _ in truths[image_id]]
        best = overlaps.index(max(overlaps)) if overlaps else None
        if best is None or overlaps[best] <= 0.5:
            judged.append(False)
        elif truths[image_id][best][1]:
            judged.append(None)
        else:
            judged.append((image_id, best) not in taken)
            taken.add((image_id, best))
    recall, precision = curve(judged, total)
    eleven = [precision_at(recall, precision, threshold) for threshold in np.arange(0.0, 1.1, 0.1)]
    steps = sorted(set(recall) - {0.0})
    below = [0.0, *steps][:-1]
    exact = sum((step - last) * precision_at(recall, precision, step) for step, last in zip(steps, below, strict=True))
    return sum(eleven) / 11, exact


# COCO.


def coco_image(entry, record, number, limits, threshold, most):
    """The detections of one class and image as [(score, verdict)], best first, and the number of counted objects."""
    truths = []
    for place, (box, kind) in enumerate(zip(entry.boxes.astype(np.float64).tolist(), entry.classes, strict=True)):
        if kind != number:
            continue
        crowd = entry.crowd is not None and bool(entry.crowd[place])
        size = area(box) if entry.areas is None else float(entry.areas[place])
        ignored = crowd or bool(entry.difficult[place]) or not limits[0] <= size <= limits[1]
        truths.append((box, crowd, ignored))
    rows = [] if record is None else zip(record.boxes.tolist(), record.classes, record.scores, strict=True)
    detections = sorted(((float(s), box) for box, kind, s in rows if kind == number), key=lambda row: -row[0])[:most]

    taken, judged = set(), []
    for score, box in detections:
        verdict = False if limits[0] <= area(box) <= limits[1] else None
        for wanted in (False, True):  # objects that count, then ignored ones
            best, chosen = threshold, None
            for place, (truth, crowd, ignored) in enumerate(truths):
                free = crowd or place not in taken
                if ignored == wanted and free and overlap(box, truth, crowd) >= best:
                    best, chosen = overlap(box, truth, crowd), place
            if chosen is not None:
                taken.add(chosen)
                verdict = None if wanted else True
                break
        judged.append((score, verdict))
    return judged, sum(not ignored for _, _, ignored in truths)


def coco_class(examples, records, number, limits, threshold, most):
    """(AP, recall) of one class at one IoU threshold."""
    by_id = {record.image_id: record for record in records}
    if all(entry.image_id.isdigit() for entry in examples):
        examples = sorted(examples, key=lambda entry: int(entry.image_id))
    judged, total = [], 0
    for entry in examples:
        rows, objects = coco_image(entry, by_id.get(entry.image_id), number, limits, threshold, most)
        judged += rows
        total += objects
    if not total:
        return math.nan, math.nan
    verdicts = [verdict for _, verdict in sorted(judged, key=lambda row: -row[0])]
    recall, precision = curve(verdicts, total)
    found = sum(verdict is True for verdict in verdicts) / total
    return mean([precision_at(recall, precision, one) for one in np.linspace(0, 1, 101)]), found


def coco_twelve(examples, records, number):
    """The twelve figures of one class."""
    everything, small, medium, large = (0, 1e10), (0, 32**2), (32**2, 96**2), (96**2, 1e10)
    thresholds = np.linspace(0.5, 0.95, 10)

    def both(limits, most, chosen=thresholds):
        rows = [coco_class(examples, records, number, limits, threshold, most) for threshold in chosen]
        return mean([precision for precision, _ in rows]), mean([recall for _, recall in rows])

    by_size = [both(limits, 100) for limits in (small, medium, large)]
    ap, ar = both(everything, 100)
    return [
        ap, both(everything, 100, thresholds[:1])[0], both(everything, 100, thresholds[5:6])[0],
        *(precision for precision, _ in by_size),
        both(everything, 1)[1], both(everything, 10)[1], ar,
        *(recall for _, recall in by_size),
    ]  # fmt: skip


@pytest.mark.parametrize("seed", range(200))
def test_a_second_implementation_gives_the_same_figures(seed):
    examples, records = random_split(seed)
    voc, coco = evaluate_voc(examples, records, NAMES), evaluate_coco(examples, records, NAMES)
    expected = [voc_class(examples, records, number) for number in (1, 2, 3)]
    for entry, values in zip(voc.classes, expected, strict=True):
        np.testing.assert_allclose((entry.ap_11point, entry.ap_area), values, rtol=0, atol=1e-12)
    means = [mean(column) for column in zip(*expected, strict=True)]
    np.testing.assert_allclose((voc.mean_11point, voc.mean_area), means, rtol=0, atol=1e-12)

    expected = [coco_twelve(examples, records, number) for number in (1, 2, 3)]
    for entry, values in zip(coco.classes, expected, strict=True):
        np.testing.assert_allclose(entry.figures, values, rtol=0, atol=1e-12)
    means = [mean(column) for column in zip(*expected, strict=True)]
    np.testing.assert_allclose(coco.figures, means, rtol=0, atol=1e-12)


def test_the_random_splits_hold_every_hard_case():
    splits = [random_split(seed) for seed in range(200)]
    entries = [entry for examples, _ in splits for entry in examples]
    records = [record for _, rows in splits for record in rows]
    assert any(not len(entry.boxes) for entry in entries) and any(len(e) > len(r) for e, r in splits)
    assert sum(entry.crowd is not None and entry.crowd.any() for entry in entries) > 50
    assert sum((entry.difficult & ~(entry.crowd if entry.crowd is not None else False)).any() for entry in entries) > 50
    assert sum(entry.areas is not None for entry in entries) > 50
    assert sum(len(set(record.scores)) < len(record.scores) for record in records) > 100  # equal scores
    assert any((np.bincount(record.classes) > 10).any() and len(record.classes) > 100 for record in records)
    assert any(evaluate_voc(*split, NAMES).classes_without_objects for split in splits)
    figures = np.array([evaluate_coco(*split, NAMES).figures for split in splits])
    assert (np.count_nonzero((figures > 0) & (figures < 1), axis=0) > 20).all()
