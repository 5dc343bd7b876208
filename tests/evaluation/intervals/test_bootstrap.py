"""Confidence intervals: samples against images that are really repeated, limits, and coverage of known values."""

import math

import numpy as np
import pytest

from keras_frcnn.data.example import Example
from keras_frcnn.evaluation.detections.record import ImageDetections
from keras_frcnn.evaluation.intervals import bootstrap as intervals
from keras_frcnn.evaluation.intervals.bootstrap import coco_intervals, draw_samples, recall_intervals, voc_intervals
from keras_frcnn.evaluation.intervals.weighted_ap import VOC_THRESHOLDS, area_ap, interpolated_ap, weighted_curves
from keras_frcnn.evaluation.metrics.coco_ap import Figures, evaluate_coco
from keras_frcnn.evaluation.metrics.recall import proposal_recall
from keras_frcnn.evaluation.metrics.voc_ap import average_precision_11point, average_precision_area, evaluate_voc

NAMES = ("cat", "dog")
PLACES = np.array([(y, x) for y in range(0, 500, 110) for x in range(0, 500, 110)], np.float64)


def random_picture(rng, image_id):
    """A picture of up to five objects of two classes, and detections that are shifted, missing or stray."""
    count = rng.integers(1, 6)
    corners = rng.permutation(PLACES)[:count]
    sides = rng.uniform(15, 105, (count, 1))
    boxes = np.concatenate([corners, corners + sides], axis=1)
    classes = rng.integers(1, 3, count)
    seen = rng.random(count) < 0.85
    found = boxes[seen] + sides[seen] * rng.normal(0, 0.07, (seen.sum(), 4))
    strays = rng.poisson(1.0)
    corners = rng.uniform(0, 400, (strays, 2))
    stray_boxes = np.concatenate([corners, corners + 60], axis=1)
    example = Example(
        image_id, "", 560, 560, boxes.astype(np.float32), classes.astype(np.int32), rng.random(count) < 0.05
    )
    record = ImageDetections(
        image_id,
        np.concatenate([found, stray_boxes]),
        np.concatenate([classes[seen], rng.integers(1, 3, strays)]),
        np.concatenate([rng.normal(1.2, 1, seen.sum()), rng.normal(0, 1, strays)]),
    )
    return example, record


def pictures(seed, count):
    rng = np.random.default_rng(seed)
    examples, records = zip(*[random_picture(rng, str(place)) for place in range(count)], strict=True)
    return examples, records


def drawn(examples, records, places):
    """The pictures at `places`, each time as a picture of its own."""
    named = [(str(number), place) for number, place in enumerate(places)]
    return (
        [examples[place]._replace(image_id=name) for name, place in named],
        [records[place]._replace(image_id=name) for name, place in named],
    )


def one_sample(places, count):
    return np.stack([np.ones(count, np.int32), np.bincount(places, minlength=count).astype(np.int32)])


@pytest.fixture(scope="module")
def split():
    """30 pictures; in some, twelve stray detections rank above all others, so that limits of 1 and 10 count."""
    examples, records = pictures(3, 30)
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 400, (30, 12, 2))
    strays = np.concatenate([corners, corners + 60], axis=2)
    crowded = [
        ImageDetections(
            image_id=record.image_id,
            boxes=np.concatenate([record.boxes, boxes]),
            classes=np.concatenate([record.classes, rng.integers(1, 3) * np.ones(12, int)]),
            scores=np.concatenate([record.scores, rng.uniform(5, 6, 12)]),
        )
        for record, boxes in zip(records, strays, strict=True)
    ]
    return examples, [*crowded[:8], *records[8:]]


@pytest.mark.parametrize("seed", range(5))
def test_a_sample_has_the_figures_of_really_repeated_pictures(split, seed):
    places = np.sort(np.random.default_rng(seed).integers(0, 30, 30))
    weights = one_sample(places, 30)
    repeated = drawn(*split, places)

    voc, expected = evaluate_voc(*split, NAMES), evaluate_voc(*repeated, NAMES)
    for entry, truth in zip(voc.classes, expected.classes, strict=True):
        ((found, envelope, total),) = weighted_curves(entry.matches, weights)
        assert area_ap(found, envelope, total) == pytest.approx([entry.ap_area, truth.ap_area], abs=1e-12)
        eleven = interpolated_ap(found, envelope, total, VOC_THRESHOLDS)
        assert eleven == pytest.approx([entry.ap_11point, truth.ap_11point], abs=1e-12)

    coco, expected = evaluate_coco(*split, NAMES), evaluate_coco(*repeated, NAMES)
    for entry, truth in zip(coco.classes, expected.classes, strict=True):
        values = intervals._coco_values(entry, weights)
        np.testing.assert_allclose(values, [entry.figures, truth.figures], rtol=0, atol=1e-12)
        assert not np.isnan(values).any() and entry.figures.ar1 < entry.figures.ar10 < entry.figures.ar100


def test_a_sample_has_the_recall_of_really_repeated_pictures(split):
    places = np.sort(np.random.default_rng(0).integers(0, 30, 30))
    examples, records = split
    boxes = {record.image_id: record.boxes for record in records}
    result = proposal_recall(examples, boxes, NAMES, counts=(1, 3))
    repeated, again = drawn(examples, records, places)
    expected = proposal_recall(repeated, {record.image_id: record.boxes for record in again}, NAMES, counts=(1, 3))
    weights = one_sample(places, 30)
    ends = recall_intervals(result, weights)  # of one sample: both ends are twice the split's recall minus the sample's
    np.testing.assert_allclose(ends[..., 0], np.clip(2 * result.recalls - expected.recalls, 0, 1), atol=1e-12)
    np.testing.assert_allclose(ends[..., 1], ends[..., 0])
    with pytest.raises(ValueError, match="measure the recall again"):
        recall_intervals(result._replace(reached=None), weights)


def test_the_interval_is_the_basic_one():
    """Figures of the split 0.5; of the samples 0.3 to 0.7 in steps of 0.01, from which the percentiles follow."""
    low, high = intervals._basic(np.array([0.45, *np.linspace(0.3, 0.7, 41), math.nan]))
    assert (low, high) == pytest.approx((0.9 - 0.69, 0.9 - 0.31))
    assert intervals._basic(np.array([0.9, 0.1, 0.1])) == (1.0, 1.0)  # 1.7, cut off
    assert np.isnan(intervals._basic(np.array([math.nan, 0.5]))).all()
    assert np.isnan(intervals._basic(np.array([0.5, math.nan]))).all()


def test_the_mean_of_a_sample_runs_over_the_classes_of_the_split():
    """The second class has no objects in the sample and keeps its figure; the third has none at all."""
    classes = {"a": np.array([[0.5], [0.7]]), "b": np.array([[0.2], [math.nan]]), "c": np.full((2, 1), math.nan)}
    result = intervals._summarize(("ap",), classes)
    assert result.means["ap"] == pytest.approx((2 * 0.35 - 0.45,) * 2)
    assert result.classes["a"]["ap"] == pytest.approx((0.3, 0.3))
    assert np.isnan(result.classes["b"]["ap"]).all() and np.isnan(result.classes["c"]["ap"]).all()


def test_samples_are_drawn_by_the_seed():
    samples = draw_samples(7, 50, seed=4)
    assert samples.shape == (51, 7) and samples.dtype == np.int32
    assert (samples[0] == 1).all() and (samples.sum(axis=1) == 7).all() and samples.max() > 2
    np.testing.assert_array_equal(samples, draw_samples(7, 50, seed=4))
    assert (samples != draw_samples(7, 50, seed=5)).any()


def test_intervals_lie_around_the_figures_and_shrink_with_more_pictures():
    widths = []
    for count in (25, 400):
        examples, records = pictures(8, count)
        voc, samples = evaluate_voc(examples, records, NAMES), draw_samples(count, 300)
        found = voc_intervals(voc, samples)
        low, high = found.means["ap_area"]
        assert 0 < low < voc.mean_area < high < 1
        assert found.means["ap_11point"].low < voc.mean_11point < found.means["ap_11point"].high
        assert set(found.classes) == set(NAMES)
        widths.append(high - low)
    assert widths[1] < 0.4 * widths[0]  # four times as many pictures would halve it


def test_the_size_of_the_parts_does_not_change_the_result(split, monkeypatch):
    voc, coco, samples = evaluate_voc(*split, NAMES), evaluate_coco(*split, NAMES), draw_samples(30, 40)
    whole = voc_intervals(voc, samples), coco_intervals(coco, samples)
    assert set(whole[1].means) == set(Figures._fields)
    monkeypatch.setattr(intervals, "_MOST_WEIGHTS", 100)
    assert (voc_intervals(voc, samples), coco_intervals(coco, samples)) == whole


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("count", [0, 1, 2])
def test_nothing_to_measure_gives_no_interval(count):
    examples = [
        Example(str(place), "", 9, 9, np.zeros((0, 4), np.float32), np.zeros(0, np.int32), np.zeros(0, bool))
        for place in range(count)
    ]
    samples = draw_samples(count, 20)
    for found in (
        voc_intervals(evaluate_voc(examples, [], NAMES), samples),
        coco_intervals(evaluate_coco(examples, [], NAMES), samples),
    ):
        assert all(np.isnan(interval).all() for interval in found.means.values())
    recall = proposal_recall(examples, {entry.image_id: np.zeros((0, 4)) for entry in examples}, NAMES)
    assert np.isnan(recall_intervals(recall, samples)).all() and recall_intervals(recall, samples).shape == (5, 10, 2)


def test_objects_without_detections_give_zero(split):
    examples, _ = split
    assert voc_intervals(evaluate_voc(examples, [], NAMES), draw_samples(30, 20)).means["ap_area"] == (0, 0)
    assert coco_intervals(evaluate_coco(examples, [], NAMES), draw_samples(30, 20)).means["ap"] == (0, 0)


@pytest.mark.parametrize("total", [1, 3, 7, 10, 30, 99, 1000])
def test_recall_thresholds_are_compared_as_in_the_metric(total):
    """Every number of found objects, and thresholds on both sides of a rounding error."""
    for hits in range(1, min(total, 40) + 1):
        found = np.arange(1, hits + 1)
        precision = np.linspace(1, 0.5, hits)
        eleven = interpolated_ap(found[None], precision[None], np.array([total]), VOC_THRESHOLDS)
        assert eleven[0] == pytest.approx(average_precision_11point(found / total, precision), abs=1e-12)
        area = area_ap(found[None], precision[None], np.array([total]))
        assert area[0] == pytest.approx(average_precision_area(found / total, precision), abs=1e-12)


POOL = 4000  # pictures; the figures of all of them are the true values


def coverage(seed, count, resamples, evaluate, intervals_of, figures, repetitions=100):
    """How many of 100 intervals contain the true value, by figure.

    The test sets are drawn from a pool with replacement, so the figures of the pool are exactly the values that the
    intervals are about.
    """
    examples, records = pictures(1000 + seed, POOL)
    truth = figures(evaluate(examples, records, NAMES))
    rng = np.random.default_rng(seed)
    covered = dict.fromkeys(truth, 0)
    for repetition in range(repetitions):
        chosen = drawn(examples, records, rng.integers(0, POOL, count))
        found = intervals_of(evaluate(*chosen, NAMES), draw_samples(count, resamples, seed=repetition)).means
        for name, value in truth.items():
            covered[name] += found[name].low <= value <= found[name].high
    return covered


def voc_means(result):
    return {"ap_11point": result.mean_11point, "ap_area": result.mean_area}


def coco_means(result):
    return {name: getattr(result.figures, name) for name in ("ap", "ap50", "ar100")}


@pytest.mark.slow
def test_95_percent_intervals_of_voc_contain_the_true_value_93_to_97_times_of_100():
    """Seeds 0 to 5 give 94 to 97 for 11-point AP and 93 to 97 for area AP."""
    covered = coverage(0, 400, 1000, evaluate_voc, voc_intervals, voc_means)
    assert all(93 <= count <= 97 for count in covered.values()), covered


@pytest.mark.slow
def test_95_percent_intervals_of_coco_contain_the_true_value_93_to_97_times_of_100():
    covered = coverage(0, 400, 400, evaluate_coco, coco_intervals, coco_means)
    assert all(93 <= count <= 97 for count in covered.values()), covered
