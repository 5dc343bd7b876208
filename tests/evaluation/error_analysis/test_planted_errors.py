"""Fifty made data sets with planted errors: every label is the planted one.

An image is a grid of cells that lie far apart.  Each cell has one scene: an object of a random class and size, and
detections with planted overlaps.  So the right label of each detection and object follows from how it was made.
"""

from collections import Counter

import numpy as np
import pytest

from keras_frcnn.data.example import Example
from keras_frcnn.evaluation.detections.record import ImageDetections
from keras_frcnn.evaluation.error_analysis.analysis import error_analysis
from keras_frcnn.evaluation.metrics.voc_ap import evaluate_voc

CELL = 400  # pixels
SIDES = {"small": (12, 31), "medium": (33, 95), "large": (97, 150)}
CASES = range(50)


class Planter:
    """Makes one data set and notes the label of everything in it."""

    def __init__(self, seed):
        self.random = np.random.default_rng(seed)
        self.class_count = int(self.random.integers(2, 6))
        self.scores = self.random.permutation(np.arange(1, 1000)) / 1000  # no two are equal
        self.objects, self.found, self.proposals = [], [], []  # of the current image
        self.labels = {}  # score -> label of the detection; "" for a right one, "ignored" on a difficult object
        self.misses = []  # (image, position in the image, kind, cause, size)
        self.confusion = Counter()  # (true class, detected class), see confusion_matrix
        self.images = []
        self.seen = set()

    def score(self, below=1.0):
        """The next score that is below a limit."""
        index = int(np.argmax(self.scores < below))
        score, self.scores = float(self.scores[index]), np.delete(self.scores, index)
        return score

    def other_class(self, class_index):
        return int(self.random.choice([c for c in range(1, self.class_count + 1) if c != class_index]))

    def iou(self, low, high):
        return self.random.uniform(low, high)

    def place(self, cell):
        """A box in the cell, and its size."""
        size = str(self.random.choice(list(SIDES)))
        height, width = self.random.uniform(*SIDES[size], 2)
        y, x = CELL * cell[0] + 100, CELL * cell[1] + 100
        return np.array([y, x, y + height, x + width]), size

    def moved(self, box, iou):
        """The box, moved along x so that it has this IoU with itself."""
        return box + np.array([0, 1, 0, 1]) * (box[3] - box[1]) * (1 - iou) / (1 + iou)

    def add_object(self, box, class_index, difficult=False):
        self.objects.append((box, class_index, difficult))
        if not difficult:
            self.confusion[class_index, 0] += 1  # missed, until a detection of it is added

    def detect(self, box, class_index, label, below=1.0, on=0):
        """A detection; `on` is the class of the object that it counts for in the confusion matrix, 0: none."""
        score = self.score(below)
        self.found.append((box, class_index, score))
        self.labels[score] = label
        if score >= 0.5 and label != "ignored":
            self.confusion[on, class_index] += 1
            if on:
                self.confusion[on, 0] -= 1
        return score

    def miss(self, kind, cause, size):
        self.misses.append((len(self.images), len(self.objects) - 1, kind, cause, size))

    def propose(self, box, hidden=False):
        """A proposal that reaches the object, or one that does not; returns the cause of a miss."""
        reaches = self.random.random() < 0.6
        self.proposals.append(self.moved(box, self.iou(0.55, 0.95) if reaches else self.iou(0.05, 0.45)))
        return ("suppressed" if hidden else "low score") if reaches else "no proposal"

    def plant(self, scene, cell):
        box, size = self.place(cell)
        class_index = int(self.random.integers(1, self.class_count + 1))
        getattr(self, scene)(box, class_index, size)
        self.seen.add(scene)

    # The scenes.

    def right(self, box, class_index, size):
        self.add_object(box, class_index)
        self.detect(self.moved(box, self.iou(0.55, 1)), class_index, "", on=class_index)

    def duplicates(self, box, class_index, size):
        self.add_object(box, class_index)
        score = self.detect(self.moved(box, self.iou(0.55, 1)), class_index, "", on=class_index)
        if score > 0.1:
            self.detect(self.moved(box, self.iou(0.55, 1)), class_index, "duplicate", below=score)

    def displaced(self, box, class_index, size):
        self.add_object(box, class_index)
        iou = self.iou(0.12, 0.48)
        self.detect(self.moved(box, iou), class_index, "localisation")
        self.miss("localisation", self.propose(box, hidden=iou > 0.3), size)

    def displaced_on_found(self, box, class_index, size):
        self.right(box, class_index, size)
        self.detect(self.moved(box, self.iou(0.12, 0.48)), class_index, "localisation")

    def confused(self, box, class_index, size):
        self.add_object(box, class_index)
        other = self.other_class(class_index)
        self.detect(self.moved(box, self.iou(0.55, 1)), other, "confusion", on=class_index)
        self.miss("confusion", self.propose(box, hidden=True), size)

    def confused_and_displaced(self, box, class_index, size):
        """The error with the higher score decides what would find the object."""
        self.add_object(box, class_index)
        other = self.other_class(class_index)
        displaced = self.detect(self.moved(box, self.iou(0.12, 0.48)), class_index, "localisation")
        confused = self.detect(self.moved(box, self.iou(0.55, 1)), other, "confusion", on=class_index)
        kind = "localisation" if displaced > confused else "confusion"
        self.miss(kind, self.propose(box, hidden=True), size)

    def both(self, box, class_index, size):
        self.add_object(box, class_index)
        self.detect(self.moved(box, self.iou(0.12, 0.48)), self.other_class(class_index), "both")
        self.miss("missed", self.propose(box), size)

    def background(self, box, class_index, size):
        self.detect(box, class_index, "background")

    def barely_touching(self, box, class_index, size):
        self.add_object(box, class_index)
        detected = int(self.random.integers(1, self.class_count + 1))
        self.detect(self.moved(box, self.iou(0.01, 0.09)), detected, "background")
        self.miss("missed", self.propose(box), size)

    def undetected(self, box, class_index, size):
        self.add_object(box, class_index)
        self.miss("missed", self.propose(box), size)

    def neighbour_suppresses(self, box, class_index, size):
        """The right detection of one object overlaps its neighbour, so that NMS hides the neighbour."""
        self.add_object(box, class_index)
        self.detect(box, class_index, "", on=class_index)
        self.add_object(self.moved(box, self.iou(0.32, 0.45)), class_index)
        neighbour = self.objects[-1][0]
        self.proposals.append(neighbour)
        self.miss("missed", "suppressed", size)

    def on_difficult(self, box, class_index, size):
        self.add_object(box, class_index, difficult=True)
        self.detect(self.moved(box, self.iou(0.55, 1)), class_index, "ignored")
        self.detect(self.moved(box, self.iou(0.12, 0.48)), class_index, "localisation")
        self.detect(box, self.other_class(class_index), "confusion")

    def end_image(self):
        """Add the image to the data set, its detections and proposals in random order."""
        image_id = f"image {len(self.images)}"
        boxes, classes, difficult = zip(*self.objects, strict=True) if self.objects else ((), (), ())
        boxes = np.array(boxes, np.float32).reshape(-1, 4)
        arrays = boxes, np.array(classes, np.int32), np.array(difficult, bool)
        self.random.shuffle(self.found)
        found_boxes, found_classes, scores = zip(*self.found, strict=True) if self.found else ((), (), ())
        found_boxes = np.array(found_boxes).reshape(-1, 4)
        record = ImageDetections(image_id, found_boxes, np.array(found_classes, int), np.array(scores))
        proposals = self.random.permutation(np.array(self.proposals).reshape(-1, 4))
        self.images.append((Example(image_id, "", 3000, 3000, *arrays), record, proposals))
        self.objects, self.found, self.proposals = [], [], []


SCENES = (
    "right", "duplicates", "displaced", "displaced_on_found", "confused", "confused_and_displaced", "both",
    "background", "barely_touching", "undetected", "neighbour_suppresses", "on_difficult")  # fmt: skip


def planted(seed):
    """A planted data set of some images; the first one is empty."""
    planter = Planter(seed)
    planter.end_image()
    for _ in range(int(planter.random.integers(1, 5))):
        for cell in range(int(planter.random.integers(0, 26))):
            planter.plant(str(planter.random.choice(SCENES)), divmod(cell, 5))
        planter.end_image()
    return planter


def analysed(planter, with_proposals=True):
    """The planted data set, its detections, and their analysis."""
    examples, records, proposals = zip(*planter.images, strict=True)
    names = [f"class {number}" for number in range(1, planter.class_count + 1)]
    by_image = {example.image_id: boxes for example, boxes in zip(examples, proposals, strict=True)}
    analysis = error_analysis(examples, records, names, by_image if with_proposals else None, score_threshold=0.5)
    return analysis, evaluate_voc(examples, records, names)


@pytest.mark.parametrize("seed", CASES)
def test_every_label_is_the_planted_one(seed):
    planter = planted(seed)
    analysis, voc = analysed(planter)
    objects, ranked, false_positives, misses = analysis.errors

    labels = dict(zip(ranked.scores.tolist(), false_positives.kinds.tolist(), strict=True))
    assert labels == {score: label.replace("ignored", "") for score, label in planter.labels.items()}
    right = dict(zip(ranked.scores.tolist(), false_positives.right.tolist(), strict=True))
    assert right == {score: label == "" for score, label in planter.labels.items()}

    starts = np.searchsorted(objects.images, np.arange(len(planter.images)))
    expected = [(starts[image] + position, *labels) for image, position, *labels in planter.misses]
    found = zip(misses.objects, misses.kinds, misses.causes, misses.sizes, strict=True)
    assert sorted(tuple(map(str, row)) for row in found) == sorted(tuple(map(str, row)) for row in expected)

    matrix = {cell: int(count) for cell, count in np.ndenumerate(analysis.confusion) if count}
    assert matrix == {cell: count for cell, count in planter.confusion.items() if count}
    np.testing.assert_allclose(analysis.mean_ap, voc.mean_area, rtol=1e-12)
    np.testing.assert_allclose(analysis.fixed_ap, 1 if any(~objects.difficult) else np.nan, rtol=1e-12)


@pytest.mark.parametrize("seed", CASES[:3])
def test_without_proposals_only_the_causes_change(seed):
    with_them, without = (analysed(planted(seed), given)[0] for given in (True, False))
    assert set(without.errors.misses.causes.tolist()) == {"unknown"}
    for field in ("objects", "kinds", "sizes"):
        np.testing.assert_array_equal(getattr(with_them.errors.misses, field), getattr(without.errors.misses, field))
    assert [entry.cost for entry in with_them.costs] == [entry.cost for entry in without.costs]


def test_the_cases_hold_every_label_often():
    planters = [planted(seed) for seed in CASES]
    assert set.union(*(planter.seen for planter in planters)) == set(SCENES)
    labels = Counter(label for planter in planters for label in planter.labels.values())
    assert set(labels) == {"", "ignored", "localisation", "confusion", "both", "duplicate", "background"}
    kinds, causes, sizes = (
        Counter(miss[field] for planter in planters for miss in planter.misses) for field in (2, 3, 4)
    )
    assert len(kinds) == 3 and len(causes) == 3 and len(sizes) == 3
    assert min(*labels.values(), *kinds.values(), *causes.values(), *sizes.values()) > 50
