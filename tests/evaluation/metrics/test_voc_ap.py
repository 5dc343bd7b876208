"""PASCAL VOC average precision: hand-computed cases, invariants, and the published figures of a real detector."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_frcnn.data.example import Example
from keras_frcnn.evaluation.detections.record import (
    ImageDetections,
    read_voc_results,
    voc_results_path,
    write_voc_results,
)
from keras_frcnn.evaluation.matching.overlap import pairwise_iou
from keras_frcnn.evaluation.metrics.voc_ap import average_precision_11point, average_precision_area, evaluate_voc
from keras_frcnn.facts.errors import InputError

A, B = (0, 0, 10, 10), (0, 100, 10, 110)  # two objects far apart
FAR = (50, 50, 60, 60)


def example(boxes, classes=None, difficult=None, image_id="a"):
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    classes = np.ones(len(boxes)) if classes is None else classes
    difficult = np.zeros(len(boxes)) if difficult is None else difficult
    return Example(image_id, "", 200, 200, boxes, np.asarray(classes, np.int32), np.asarray(difficult, bool))


def found(boxes, scores, classes=None, image_id="a"):
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    classes = np.ones(len(boxes), np.int32) if classes is None else np.asarray(classes, np.int32)
    return ImageDetections(image_id, boxes, classes, np.asarray(scores, np.float32))


def one_class(examples, detections, **kwargs):
    return evaluate_voc(examples, detections, ["thing"], **kwargs).classes[0]


def test_perfect_detections_score_one():
    result = one_class([example([A, B])], [found([A, B], [0.9, 0.8])])
    assert result.ap_11point == pytest.approx(1) and result.ap_area == pytest.approx(1)
    assert (result.objects, result.detections) == (2, 2)


def test_wrong_detection_between_two_right_ones():
    result = one_class([example([A, B])], [found([A, FAR, B], [0.9, 0.8, 0.7])])
    np.testing.assert_allclose(result.recall, [0.5, 0.5, 1])
    np.testing.assert_allclose(result.precision, [1, 1 / 2, 2 / 3])
    # Six thresholds up to recall 0.5 have precision 1, five have 2/3.
    assert result.ap_11point == pytest.approx((6 + 5 * 2 / 3) / 11)
    assert result.ap_area == pytest.approx(0.5 + 0.5 * 2 / 3)


def test_ranking_runs_over_all_images():
    examples = [example([A], image_id="a"), example([A], image_id="b")]
    detections = [found([FAR, A], [0.9, 0.1], image_id="a"), found([A], [0.5], image_id="b")]
    result = one_class(examples, detections)
    np.testing.assert_allclose(result.scores, [0.9, 0.5, 0.1])
    np.testing.assert_allclose(result.precision, [0, 1 / 2, 2 / 3])
    assert result.ap_area == pytest.approx(2 / 3)


def test_second_detection_of_an_object_is_wrong():
    result = one_class([example([A])], [found([A, A], [0.9, 0.8])])
    np.testing.assert_allclose(result.precision, [1, 1 / 2])


def test_detection_does_not_fall_back_to_its_second_best_object():
    # Both detections overlap the first object most, and the second one also overlaps the other above the threshold.
    objects = [(0, 0, 10, 10), (0, 3, 10, 13)]
    result = one_class([example(objects)], [found([(0, 0, 10, 10), (0, 1, 10, 11)], [0.9, 0.8])])
    np.testing.assert_allclose(result.recall, [0.5, 0.5])
    np.testing.assert_allclose(result.precision, [1, 0.5])


def test_difficult_object_is_neither_right_nor_wrong():
    examples = [example([A, B], difficult=[True, False])]
    result = one_class(examples, [found([A, A, B], [0.9, 0.8, 0.7])])
    assert result.objects == 1
    np.testing.assert_allclose(result.precision, [0, 0, 1])
    assert result.ap_11point == pytest.approx(1) and result.ap_area == pytest.approx(1)


def test_overlap_must_be_above_the_threshold():
    half, more = (0, 0, 10, 5), (0, 0, 10, 5.1)
    assert one_class([example([A])], [found([half], [0.9])]).ap_area == 0
    assert one_class([example([A])], [found([more], [0.9])]).ap_area == 1
    assert one_class([example([A])], [found([half], [0.9])], iou_threshold=0.49).ap_area == 1


def test_equal_scores_keep_the_given_order():
    ground_truth = [example([A])]
    assert one_class(ground_truth, [found([A, FAR], [0.5, 0.5])]).ap_area == 1
    assert one_class(ground_truth, [found([FAR, A], [0.5, 0.5])]).ap_area == 0.5
    many = [found([FAR] * 50 + [A] + [FAR] * 50, [0.5] * 101)]  # long enough for an unstable sort to show
    assert one_class(ground_truth, many).ap_area == pytest.approx(1 / 51)


def test_recall_thresholds_have_no_tolerance():
    recall, precision = np.array([0.3]), np.array([1.0])
    # 0, 0.1 and 0.2 are reached; the fourth threshold is 0.30000000000000004.
    assert average_precision_11point(recall, precision) == pytest.approx(3 / 11)
    assert average_precision_area(recall, precision) == pytest.approx(0.3)


def test_classes_do_not_mix():
    examples = [example([A, B], classes=[1, 2])]
    result = evaluate_voc(examples, [found([A, B], [0.9, 0.8], classes=[2, 2])], ["cat", "dog"])
    cat, dog = result.classes
    assert (cat.ap_area, cat.detections) == (0, 0)
    assert dog.ap_area == 0.5
    assert result.mean_area == 0.25


def test_class_without_objects_is_left_out_of_the_mean():
    examples = [example([A, B], classes=[1, 2], difficult=[False, True])]
    result = evaluate_voc(examples, [found([A, B], [0.9, 0.8], classes=[1, 2])], ["cat", "dog", "cow"])
    assert math.isnan(result.classes[1].ap_11point) and math.isnan(result.classes[2].ap_area)
    assert result.classes_without_objects == ("dog", "cow")
    assert result.mean_11point == pytest.approx(1) and result.mean_area == pytest.approx(1)


@pytest.mark.filterwarnings("error")
def test_empty_inputs():
    no_detections = evaluate_voc([example([A])], [], ["thing"])
    assert no_detections.mean_11point == 0 and no_detections.mean_area == 0
    assert evaluate_voc([example([A])], [found([], [])], ["thing"]).mean_area == 0
    no_objects = evaluate_voc([example([])], [found([A], [0.5])], ["thing"])
    assert math.isnan(no_objects.mean_11point) and math.isnan(no_objects.mean_area)
    nothing = evaluate_voc([], [], ["thing"])
    assert math.isnan(nothing.mean_area) and nothing.images == 0


@pytest.mark.parametrize(
    ("detections", "message"),
    [
        ([found([A], [0.5], image_id="x")], "'x': the image is not in the evaluated split"),
        ([found([A], [0.5]), found([B], [0.5])], "the image has two records"),
        ([found([A], [0.5], classes=[0])], "not in 1..1"),
        ([found([A], [0.5], classes=[2])], "not in 1..1"),
        ([found([A], [np.nan])], "a box or score is not finite"),
        ([found([A, B], [0.5])], "2 boxes, 2 classes and 1 scores"),
    ],
)
def test_bad_detections_are_rejected(detections, message):
    with pytest.raises(InputError, match=message):
        one_class([example([A])], detections)


def inclusive_iou(a, b):
    """The arithmetic of the development kit: 1-based inclusive xmin, ymin, xmax, ymax, and its + 1."""
    width = min(a[2], b[2]) - max(a[0], b[0]) + 1
    height = min(a[3], b[3]) - max(a[1], b[1]) + 1
    intersection = max(width, 0) * max(height, 0)
    areas = [(box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (a, b)]
    return intersection / (sum(areas) - intersection)


pixel_boxes = st.tuples(*[st.integers(1, 30)] * 4).map(
    lambda c: (min(c[0], c[2]), min(c[1], c[3]), max(c[0], c[2]), max(c[1], c[3]))
)


@given(pixel_boxes, pixel_boxes)
def test_converted_corners_reproduce_the_inclusive_arithmetic(a, b):
    def converted(box):
        xmin, ymin, xmax, ymax = box
        return ymin - 1, xmin - 1, ymax, xmax

    assert pairwise_iou([converted(a)], [converted(b)])[0, 0] == inclusive_iou(a, b)


def test_inclusive_pixels_decide_the_threshold(tmp_path):
    # Inclusive: 6 of 11 columns, above one half.  With plain differences it would be 5 of 10, not above.
    voc_results_path(tmp_path, "thing").write_text("a 0.9 1 1 6 11\n")
    detections = read_voc_results(tmp_path, ["thing"])
    assert one_class([example([(0, 0, 11, 11)])], detections).ap_area == 1


def slow_ap(examples, detections):
    """The rules of `voc_eval.py` for one class, one detection after the other."""
    rows = [
        (score, record.image_id, box)
        for record in detections
        for box, score in zip(record.boxes, record.scores, strict=True)
    ]
    rows.sort(key=lambda row: -row[0])
    by_id = {entry.image_id: entry for entry in examples}
    taken, right, wrong = set(), [], []
    for _, image_id, box in rows:
        entry = by_id[image_id]
        overlaps = pairwise_iou([box], entry.boxes)[0]
        best = int(np.argmax(overlaps)) if len(overlaps) else -1
        hit = best >= 0 and overlaps[best] > 0.5
        counted = not (hit and entry.difficult[best])
        right.append(hit and counted and (image_id, best) not in taken)
        wrong.append(counted and not right[-1])
        if hit:
            taken.add((image_id, best))
    right, wrong = np.cumsum(right), np.cumsum(wrong)
    recall = right / sum(np.sum(~entry.difficult) for entry in examples)
    precision = right / np.maximum(right + wrong, np.finfo(np.float64).eps)
    eleven = sum(max(precision[recall >= t], default=0) for t in np.arange(0.0, 1.1, 0.1)) / 11
    mrec, mpre = np.r_[0, recall, 1], np.r_[0, precision, 0]
    for i in range(len(mpre) - 1, 0, -1):
        mpre[i - 1] = max(mpre[i - 1], mpre[i])
    return eleven, float(np.sum(np.diff(mrec) * mpre[1:]))


def random_case(seed):
    """A few images with crowded objects, some difficult, jittered and stray detections with many equal scores."""
    rng = np.random.default_rng(seed)
    examples, detections = [], []
    for image_id in "abc":
        corners = rng.integers(0, 12, (rng.integers(0, 5), 2))
        boxes = np.concatenate([corners, corners + 8], axis=1)
        examples.append(example(boxes, difficult=rng.random(len(boxes)) < 0.3, image_id=image_id))
        corners = rng.integers(0, 12, (rng.integers(0, 8), 2))
        boxes = np.concatenate([corners, corners + 8], axis=1)
        detections.append(found(boxes, rng.integers(0, 6, len(boxes)) / 8, image_id=image_id))
    return examples, detections


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_agrees_with_the_rules_written_out(seed):
    examples, detections = random_case(seed)
    result = one_class(examples, detections)
    if result.objects == 0:
        assert math.isnan(result.ap_area)
    else:
        assert (result.ap_11point, result.ap_area) == pytest.approx(slow_ap(examples, detections))


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_invariants(seed):
    examples, detections = random_case(seed)
    result = one_class(examples, detections)
    if result.objects == 0:
        return
    assert 0 <= result.ap_area <= 1 and 0 <= result.ap_11point <= 1 + 1e-12
    assert np.all(np.diff(result.recall) >= 0) and np.all(result.recall <= 1)
    # Only the order of the scores matters, and a stray detection below all others costs nothing.
    rescaled = [record._replace(scores=record.scores * 0.5 + 7) for record in detections]
    assert one_class(examples, rescaled).ap_area == pytest.approx(result.ap_area)
    first = detections[0]
    stray = found([*first.boxes, (150, 150, 160, 160)], [*first.scores, -1])
    assert one_class(examples, [stray, *detections[1:]]).ap_area == pytest.approx(result.ap_area)


def test_result_files_round_trip(tmp_path):
    names = ["cat", "potted plant", "absent"]
    rng = np.random.default_rng(1)
    written = [
        found(rng.uniform(0, 300, (3, 4)), rng.random(3), classes=[1, 2, 1], image_id="000007"),
        found(rng.uniform(0, 300, (2, 4)), rng.random(2), classes=[2, 2], image_id="000012"),
    ]
    paths = write_voc_results(tmp_path / "new", written, names)
    assert [path.name for path in paths][1] == "comp4_det_test_potted plant.txt"
    assert paths[2].read_text() == ""
    records = read_voc_results(tmp_path / "new", names)
    assert [record.image_id for record in records] == ["000007", "000012"]
    for record, original in zip(records, written, strict=True):
        order = np.argsort(original.classes, kind="stable")
        np.testing.assert_array_equal(record.classes, original.classes[order])
        np.testing.assert_array_equal(record.scores, original.scores[order])
        np.testing.assert_allclose(record.boxes, original.boxes[order], rtol=0, atol=1e-12)


def test_result_files_are_one_based_and_inclusive(tmp_path):
    (path,) = write_voc_results(tmp_path, [found([(10, 20, 30, 40)], [0.5])], ["cat"], split="val")
    assert path.name == "comp4_det_val_cat.txt"
    assert path.read_text() == "a 0.5 21.0 11.0 40.0 30.0\n"
    (record,) = read_voc_results(tmp_path, ["cat"], split="val")
    np.testing.assert_array_equal(record.boxes, [(10, 20, 30, 40)])


@pytest.mark.parametrize("line", ["a 0.5 1 2 3", "a 0.5 1 2 3 4 5", "a x 1 2 3 4", "a nan 1 2 3 4", "a"])
def test_bad_result_line_is_named(tmp_path, line):
    path = voc_results_path(tmp_path, "cat")
    path.write_text(f"a 0.5 1 2 3 4\n\n{line}\n")
    with pytest.raises(InputError, match="line 3.*write 'image_id score xmin ymin xmax ymax'") as error:
        read_voc_results(tmp_path, ["cat"])
    assert str(path) in str(error.value)


def test_missing_result_file_and_bad_names_are_rejected(tmp_path):
    with pytest.raises(InputError, match="comp4_det_test_cat.txt: cannot be read"):
        read_voc_results(tmp_path, ["cat"])
    with pytest.raises(InputError, match="white space"):
        write_voc_results(tmp_path, [found([A], [0.5], image_id="my image")], ["cat"])
    with pytest.raises(InputError, match="class name 'cat/dog'"):
        write_voc_results(tmp_path, [], ["cat/dog"])
    with pytest.raises(InputError, match="not in 1..1"):
        write_voc_results(tmp_path, [found([A], [0.5], classes=[0])], ["cat"])


def test_no_result_lines_give_no_records(tmp_path):
    write_voc_results(tmp_path, [], ["cat"])
    assert read_voc_results(tmp_path, ["cat"]) == []


def test_published_detections_give_the_published_figures(published):
    reference = published.reference
    per_class = reference["per_class_[11point,area]"]
    result = evaluate_voc(published.examples, published.detections, published.class_names)

    assert result.images == 4952 and len(result.classes) == 20
    measured = [(entry.ap_11point, entry.ap_area) for entry in result.classes]
    np.testing.assert_allclose(measured, list(per_class.values()), rtol=0, atol=1e-5)
    assert result.mean_11point == pytest.approx(reference["mAP_11point"], abs=1e-5)
    assert result.mean_area == pytest.approx(reference["mAP_area"], abs=1e-5)
