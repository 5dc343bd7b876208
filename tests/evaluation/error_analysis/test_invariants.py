"""What holds for all detections: one label for each error, gains that are never negative, an AP of 1 without errors."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_frcnn.data.example import Example
from keras_frcnn.evaluation.detections.record import ImageDetections
from keras_frcnn.evaluation.error_analysis.analysis import error_analysis
from keras_frcnn.evaluation.error_analysis.labels import CAUSES, FALSE_POSITIVES, KINDS, SIZES
from keras_frcnn.evaluation.metrics.voc_ap import evaluate_voc

NAMES = ("cat", "dog", "hen")
CORNERS = st.integers(0, 6)


@st.composite
def boxes(draw):
    """A box on a small grid, so that many IoUs are equal and many boxes touch; some have no area."""
    y0, y1, x0, x1 = (draw(CORNERS) for _ in range(4))
    return [min(y0, y1), min(x0, x1), max(y0, y1), max(x0, x1)]


CLASSES = st.integers(1, len(NAMES))
OBJECTS = st.lists(st.tuples(boxes(), CLASSES, st.booleans()), max_size=5)
FOUND = st.lists(st.tuples(boxes(), CLASSES, st.integers(1, 4)), max_size=8)
IMAGES = st.lists(st.tuples(OBJECTS, FOUND, st.lists(boxes(), max_size=4)), max_size=3)


def build(images):
    """Examples, records and proposals of the drawn images."""
    examples, records, proposals = [], [], {}
    for number, (objects, found, proposed) in enumerate(images):
        image_id = str(number)
        columns = list(zip(*objects, strict=True)) or [(), (), ()]
        arrays = np.array(columns[0], np.float32).reshape(-1, 4), np.array(columns[1], np.int32)
        examples.append(Example(image_id, "", 9, 9, *arrays, np.array(columns[2], bool)))
        columns = list(zip(*found, strict=True)) or [(), (), ()]
        arrays = np.array(columns[0], np.float32).reshape(-1, 4), np.array(columns[1], np.int32)
        records.append(ImageDetections(image_id, *arrays, np.array(columns[2]) / 4))
        proposals[image_id] = np.array(proposed, np.float32).reshape(-1, 4)
    return examples, records, proposals


def overlap(a, b):
    """IoU of two boxes."""
    height, width = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    inner = max(height, 0) * max(width, 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inner
    return inner / union if union else 0.0


def label_by_hand(images):
    """The label of each detection, one after the other by descending score: "right", "ignored" or the error."""
    taken, labels = set(), []
    rows = [(image, *detection) for image, (_, found, _) in enumerate(images) for detection in found]
    for image, box, class_index, _ in sorted(rows, key=lambda row: -row[3]):
        own, other = (0.0, None), 0.0
        for position, (true_box, true_class, difficult) in enumerate(images[image][0]):
            iou = overlap(box, true_box)
            if true_class != class_index:
                other = max(other, iou)
            elif iou > own[0]:
                own = iou, ((image, position), difficult)
        if own[0] > 0.5 and own[1][1]:
            labels.append("ignored")
        elif own[0] > 0.5 and own[1][0] not in taken:
            taken.add(own[1][0])
            labels.append("right")
        elif 0.1 <= own[0] <= 0.5:
            labels.append("localisation")
        elif other > 0.5:
            labels.append("confusion")
        elif own[0] > 0.5:
            labels.append("duplicate")
        else:
            labels.append("background" if max(own[0], other) < 0.1 else "both")
    return labels


@settings(max_examples=300, deadline=None)
@given(IMAGES)
def test_every_detection_has_the_label_found_by_hand(images):
    examples, records, proposals = build(images)
    labelled = error_analysis(examples, records, NAMES, proposals).errors.false_positives
    labels = np.where(labelled.right, "right", np.where(labelled.kinds == "", "ignored", labelled.kinds))
    assert labels.tolist() == label_by_hand(images)


@settings(max_examples=300, deadline=None)
@given(IMAGES)
def test_the_parts_add_up(images):
    examples, records, proposals = build(images)
    analysis = error_analysis(examples, records, NAMES, proposals)
    voc = evaluate_voc(examples, records, NAMES)
    objects, _, false_positives, misses = analysis.errors

    # Every false positive and every miss of the VOC metric has exactly one label.
    found = sum(entry.recall[-1] * entry.objects for entry in voc.classes if entry.objects and entry.detections)
    easy = int(np.sum(~objects.difficult))
    assert len(misses.objects) == len(set(misses.objects.tolist())) == easy - round(found)
    false_count = sum(label not in ("right", "ignored") for label in label_by_hand(images))
    assert sum(entry.false_positives for entry in analysis.costs) == np.sum(false_positives.kinds != "") == false_count
    assert sum(entry.misses for entry in analysis.costs) == len(misses.objects)
    assert set(false_positives.kinds.tolist()) <= {"", *FALSE_POSITIVES} and set(misses.kinds.tolist()) <= set(KINDS)
    assert set(misses.causes.tolist()) <= set(CAUSES) and set(misses.sizes.tolist()) <= set(SIZES)
    assert set(misses.kinds.tolist()) <= {"localisation", "confusion", "missed"}

    # Fixing all of them gives an AP of 1, and fixing one kind never lowers AP.
    np.testing.assert_allclose(analysis.mean_ap, voc.mean_area, rtol=1e-12)
    np.testing.assert_allclose(analysis.fixed_ap, 1 if easy else np.nan, rtol=1e-12)
    if easy:
        assert all(np.nanmin(entry.class_costs) > -1e-12 for entry in analysis.costs)
        assert all(analysis.mean_ap + entry.cost <= 1 + 1e-12 for entry in analysis.costs)


@settings(max_examples=200, deadline=None)
@given(IMAGES, st.integers(1, 5))
def test_the_confusion_matrix_counts_each_object_and_detection_once(images, level):
    examples, records, proposals = build(images)
    threshold = level / 4
    analysis = error_analysis(examples, records, NAMES, proposals, score_threshold=threshold)
    objects, ranked, false_positives, _ = analysis.errors
    matrix = analysis.confusion
    counts = (ranked.scores >= threshold) & (false_positives.right | (false_positives.kinds != ""))
    for number in range(1, len(NAMES) + 1):
        assert matrix[number].sum() == np.sum(~objects.difficult & (objects.classes == number))
        assert matrix[:, number].sum() == np.sum(counts & (ranked.classes == number))
        assert matrix[number, number] == np.sum(counts & false_positives.right & (ranked.classes == number))
    assert matrix[0, 0] == 0


@settings(max_examples=200, deadline=None)
@given(IMAGES)
def test_no_threshold_has_a_higher_f1(images):
    examples, records, proposals = build(images)
    analysis = error_analysis(examples, records, NAMES, proposals)
    objects, ranked, false_positives, _ = analysis.errors
    for number, entry in enumerate(analysis.best_f1[:-1], start=1):
        total = np.sum(~objects.difficult & (objects.classes == number))
        by_threshold = {}
        for threshold in (0.25, 0.5, 0.75, 1.0):
            kept = (ranked.classes == number) & (ranked.scores >= threshold)
            right, wrong = np.sum(kept & false_positives.right), np.sum(kept & (false_positives.kinds != ""))
            by_threshold[threshold] = 2 * right / (right + wrong + total) if total else np.nan
        best = max(by_threshold.values())
        np.testing.assert_allclose(entry.f1, best)
        if best > 0:
            np.testing.assert_allclose(entry.f1, by_threshold[entry.threshold])
