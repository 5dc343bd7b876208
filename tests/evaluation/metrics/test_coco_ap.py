"""COCO's figures: the official ones of its example, hand-computed cases, and emptiness."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from keras_frcnn.data.example import Example
from keras_frcnn.evaluation.detections.coco_results import annotation_ids, read_detections
from keras_frcnn.evaluation.detections.record import ImageDetections
from keras_frcnn.evaluation.metrics.coco_ap import SIZES, Figures, evaluate_coco, image_order
from keras_frcnn.facts.errors import InputError

REFERENCE = Path(__file__).resolve().parents[4] / "shared" / "data" / "coco_eval"
A, B = (0, 0, 50, 50), (0, 100, 50, 150)  # two medium objects far apart
FAR = (100, 100, 150, 150)


def example(boxes, classes=None, image_id="1", **fields):
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    classes = np.ones(len(boxes), np.int32) if classes is None else np.asarray(classes, np.int32)
    fields.setdefault("difficult", np.zeros(len(boxes), bool))
    fields = {name: np.asarray(value) for name, value in fields.items()}
    return Example(image_id, "", 300, 300, boxes, classes, **fields)


def found(boxes, scores, classes=None, image_id="1"):
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    classes = np.ones(len(boxes), np.int32) if classes is None else np.asarray(classes, np.int32)
    return ImageDetections(image_id, boxes, classes, np.asarray(scores, np.float64))


def figures(examples, detections, names=("thing",)):
    return evaluate_coco(examples, detections, names).figures


def coco_examples(path):
    """The examples of a COCO annotation file, and its class names in the order of the category ids."""
    truth = json.loads(path.read_text())
    categories = sorted(truth["categories"], key=lambda entry: entry["id"])
    numbers = {entry["id"]: number for number, entry in enumerate(categories, start=1)}
    examples = []
    for image in truth["images"]:
        objects = [entry for entry in truth["annotations"] if entry["image_id"] == image["id"]]
        x, y, width, height = np.array([entry["bbox"] for entry in objects], np.float64).reshape(-1, 4).T
        crowd = np.array([entry["iscrowd"] for entry in objects], bool)
        examples.append(
            Example(
                image_id=str(image["id"]),
                image_path=image["file_name"],
                height=image["height"],
                width=image["width"],
                boxes=np.stack([y, x, y + height, x + width], axis=1).astype(np.float32),
                classes=np.array([numbers[entry["category_id"]] for entry in objects], np.int32),
                difficult=crowd,
                crowd=crowd,
                areas=np.array([entry["area"] for entry in objects], np.float64),
            )
        )
    return examples, [entry["name"] for entry in categories]


@pytest.mark.skipif(not REFERENCE.is_dir(), reason=f"COCO's example is not in {REFERENCE}")
def test_the_official_figures_of_cocos_example(capsys):
    """The boxes of the examples are float32, as every source gives them."""
    examples, class_names = coco_examples(REFERENCE / "ground_truth.json")
    ids = annotation_ids(REFERENCE / "ground_truth.json", examples, class_names)
    detections = read_detections(REFERENCE / "detections.json", class_names, ids)
    result = evaluate_coco(examples, detections, class_names)

    _, *official = json.loads((REFERENCE / "reference.json").read_text()).values()
    assert len(official) == 12 and result.images == 100 and len(result.classes) == 80
    np.testing.assert_allclose(result.figures, official, rtol=0, atol=1e-6)
    assert sum(entry.objects for entry in result.classes) == 830
    assert sum(entry.detections for entry in result.classes) == 734
    # Every mean is that of the classes that have objects.
    by_class = np.array([entry.figures for entry in result.classes])
    np.testing.assert_allclose(np.nanmean(by_class, axis=0), result.figures, rtol=0, atol=1e-12)
    assert capsys.readouterr().out == ""


def test_perfect_detections_score_one():
    result = evaluate_coco([example([A, B])], [found([A, B], [0.9, 0.8])], ["thing"])
    expected = dict.fromkeys(Figures._fields, 1.0)
    expected |= {"ap_small": math.nan, "ap_large": math.nan, "ar_small": math.nan, "ar_large": math.nan, "ar1": 0.5}
    assert result.figures._asdict() == pytest.approx(expected, nan_ok=True)
    (entry,) = result.classes
    assert (entry.objects, entry.detections) == (2, 2) and entry.figures == pytest.approx(result.figures, nan_ok=True)


def test_an_iou_equal_to_the_threshold_is_enough():
    """IoU 35 / 50: reached are 0.50, 0.55, 0.60, 0.65 and 0.70."""
    result = figures([example([A])], [found([(0, 0, 50, 35)], [0.9])])
    assert (result.ap, result.ap50, result.ap75, result.ar100) == pytest.approx((0.5, 1, 0, 0.5))


def test_stated_decimals_decide_not_their_float32():
    """An IoU of 0.8 in COCO's example; the box's left side, 13.2, is 13.1999998 in float32, and the IoU below 0.8."""
    objects = example([(381.39, 13.2, 381.39 + 92.98, 13.2 + 36.0)])
    result = figures([objects], [found([(381.39, 9.2, 381.39 + 92.98, 9.2 + 36)], [0.9])])
    assert result.ar100 == pytest.approx(0.7)  # 0.50 to 0.80


def test_precision_is_read_at_101_recalls():
    result = figures([example([A, B])], [found([A, FAR, B], [0.9, 0.8, 0.7])])
    assert result.ap == pytest.approx((51 + 50 * 2 / 3) / 101)  # recalls up to 0.50, and above


def test_a_detection_falls_back_to_a_free_object():
    """Both detections overlap the first object most; VOC calls the second one wrong, COCO does not."""
    objects = [(0, 0, 100, 100), (0, 30, 100, 130)]
    result = figures([example(objects)], [found([(0, 0, 100, 100), (0, 10, 100, 110)], [0.9, 0.8])])
    assert result.ap50 == pytest.approx(1)


def test_a_crowd_region_takes_every_detection_in_it():
    """The detections in it are ignored: their own area is what they share with it."""
    crowd = example([A, (100, 0, 300, 300)], difficult=[False, True], crowd=[False, True])
    inside = [(100, 0, 140, 40), (150, 150, 190, 190), (200, 0, 240, 40)]
    result = evaluate_coco([crowd], [found([*inside, A], [0.9, 0.8, 0.7, 0.6])], ["thing"])
    assert result.figures.ap50 == pytest.approx(1) and result.figures.ar1 == 0
    assert (result.classes[0].objects, result.classes[0].detections) == (1, 4)
    no_crowd = crowd._replace(difficult=np.zeros(2, bool), crowd=None)
    assert figures([no_crowd], [found([*inside, A], [0.9, 0.8, 0.7, 0.6])]).ap50 == pytest.approx(51 / 101 / 4)


def test_a_crowd_region_is_ignored_even_if_it_is_not_marked_difficult():
    crowd = example([A, B], crowd=[False, True])
    assert evaluate_coco([crowd], [], ["thing"]).classes[0].objects == 1


def test_a_difficult_object_takes_one_detection():
    """The first detection of it is ignored, the second one wrong; it is no crowd, so the IoU is the usual one."""
    examples = [example([A, B], difficult=[False, True])]
    assert figures(examples, [found([B, A], [0.9, 0.8])]).ap == pytest.approx(1)
    assert figures(examples, [found([B, B, A], [0.9, 0.85, 0.8])]).ap == pytest.approx(0.5)
    assert figures(examples, [found([(0, 100, 20, 120), A], [0.9, 0.8])]).ap == pytest.approx(0.5)
    assert evaluate_coco(examples, [], ["thing"]).classes[0].objects == 1


def test_sizes_are_those_that_the_data_set_states():
    detections = [found([A], [0.9])]
    sizes = {}
    for area in (None, 1024.0, 1024.5, 9216.0, 9217.0):
        result = figures([example([A], **({} if area is None else {"areas": [area]}))], detections)
        sizes[area] = [not math.isnan(value) for value in (result.ap_small, result.ap_medium, result.ap_large)]
    assert sizes == {
        None: [False, True, False],
        1024.0: [True, True, False],  # a limit belongs to both sides
        1024.5: [False, True, False],
        9216.0: [False, True, True],
        9217.0: [False, False, True],
    }


def test_at_most_100_detections_of_an_image_and_class_count():
    strays = [(0, 200, 10, 210 + place / 10) for place in range(100)]
    detections = [found([*strays, A], np.linspace(0.9, 0.1, 101))]
    assert figures([example([A])], detections).ar100 == 0
    assert figures([example([A])], [found([*strays[1:], A], np.linspace(0.9, 0.1, 100))]).ar100 == 1
    spread = found([*strays[:50], A], np.linspace(0.9, 0.1, 51), [*[2] * 50, 1])
    assert evaluate_coco([example([A])], [spread], ["thing", "other"]).classes[0].figures.ar1 == 1


def test_images_rank_by_their_ids_where_these_are_numbers():
    assert image_order(["10", "9", "100"]) == [1, 0, 2]
    assert image_order(["10", "b", "a"]) == [0, 1, 2]
    assert image_order(["10", "2007_000027"]) == [0, 1]
    examples = [example([A], image_id="10"), example([A], image_id="9")]
    equal = [found([FAR], [0.5], image_id="10"), found([A], [0.5], image_id="9")]
    assert figures(examples, equal).ap == pytest.approx(51 / 101)  # the right detection, of image 9, comes first
    named = [one._replace(image_id=one.image_id + "a") for one in examples]
    equal = [one._replace(image_id=one.image_id + "a") for one in equal]
    assert figures(named, equal).ap == pytest.approx(51 / 101 / 2)


def test_the_matches_name_the_images_by_their_positions():
    """pycocotools takes image 9 first, but it is the second example."""
    examples = [example([A, B], image_id="10"), example([A], image_id="9")]
    detections = [found([FAR, B], [0.7, 0.5], image_id="10"), found([A], [0.6], image_id="9")]
    (entry,) = evaluate_coco(examples, detections, ["thing"]).classes
    matches = entry.matches["all"]
    np.testing.assert_array_equal(matches.images, [0, 1, 0])
    np.testing.assert_array_equal(matches.right, [[False, True, True]] * 10)
    assert not matches.ignored.any() and matches.objects.tolist() == [2, 1]
    assert entry.found[1].tolist() == [[0, 1]] * 10 and entry.found[10].tolist() == [[1, 1]] * 10
    assert set(entry.matches) == set(SIZES) and entry.matches["small"].objects.tolist() == [0, 0]
    assert entry.matches["small"].ignored.all()


def test_a_class_without_objects_is_left_out_of_the_means():
    result = evaluate_coco([example([A])], [found([A, A], [0.9, 0.8], [1, 2])], ["cat", "dog"])
    assert result.figures.ap == pytest.approx(1) and math.isnan(result.classes[1].figures.ap)


@pytest.mark.filterwarnings("error")
def test_empty_inputs():
    assert figures([example([A])], []).ap == 0 and figures([example([A])], [found([], [])]).ar100 == 0
    for examples, detections in (([example([])], [found([A], [0.5])]), ([example([])], []), ([], [])):
        result = evaluate_coco(examples, detections, ["cat", "dog"])
        assert all(math.isnan(value) for value in result.figures) and result.images == len(examples)
        assert [entry.objects for entry in result.classes] == [0, 0]
        assert result.classes[0].matches["all"].right.shape == (10, len(detections))
        assert result.classes[0].found[10].shape == (10, len(examples))


def test_bad_detections_are_rejected():
    with pytest.raises(InputError, match="'x': the image is not in the evaluated split"):
        figures([example([A])], [found([A], [0.5], image_id="x")])
    with pytest.raises(InputError, match="not in 1..1"):
        figures([example([A])], [found([A], [0.5], [2])])
    with pytest.raises(ValueError, match="same image_id"):
        figures([example([A]), example([B])], [])
