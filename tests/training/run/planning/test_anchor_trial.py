"""A short training of the RPN tells good anchors from bad ones, on pictures that it did not train on."""

import dataclasses

import numpy as np
import pytest

from keras_frcnn.data.example import Dataset, Example
from keras_frcnn.data.sources.loading import load_dataset
from keras_frcnn.data.sources.spec import DataSpec
from keras_frcnn.evaluation.metrics.recall import COUNTS, IOU_THRESHOLDS, ClassRecall, RecallResult
from keras_frcnn.facts.config import AnchorConfig
from training.run.planning import anchor_trial


def make_dataset(count, empty=(), difficult=()):
    examples = []
    for number in range(count):
        boxes = np.zeros((0 if number in empty else 1, 4), np.float32) + np.float32([4, 4, 20, 20])
        hard = np.full(len(boxes), number in difficult)
        examples.append(Example(f"p{number}", "none.png", 64, 96, boxes, np.ones(len(boxes), np.int32), hard))
    return Dataset("made", ("cat",), tuple(examples), {})


def test_the_two_parts_share_no_picture_and_have_objects():
    dataset = make_dataset(200, empty=range(50), difficult=range(50, 100))
    parts = anchor_trial.trial_pictures(dataset, seed=0)
    train, measure = ([example.image_id for example in part.examples] for part in parts)
    assert (len(train), len(measure)) == (anchor_trial.TRAINED_ON, anchor_trial.MEASURED_ON)
    assert not set(train) & set(measure)
    assert {int(name[1:]) for name in train + measure} <= set(range(100, 200))


@pytest.mark.parametrize(("count", "sizes"), [(7, None), (8, (5, 3)), (20, (12, 8))])
def test_few_pictures(count, sizes):
    parts = anchor_trial.trial_pictures(make_dataset(count), seed=0)
    assert (parts and tuple(len(part.examples) for part in parts)) == sizes


def test_too_few_pictures_are_not_tried(tmp_path):
    assert anchor_trial.anchor_recall(make_dataset(7), None, None, "float32", 0, tmp_path) is None


def test_the_mean_counts_each_class_once_and_leaves_out_classes_without_objects():
    def of_class(name, value, objects):
        recalls = np.zeros((len(COUNTS), len(IOU_THRESHOLDS)))
        recalls[COUNTS.index(300)], recalls[COUNTS.index(2000)] = value, value + 0.1
        return ClassRecall(name, recalls if objects else np.full_like(recalls, np.nan), objects)

    classes = (of_class("cat", 0.9, 100), of_class("dog", 0.5, 1), of_class("hen", 0.0, 0))
    empty = np.zeros(0)
    result = RecallResult(COUNTS, IOU_THRESHOLDS, empty, empty, empty, 101, 10, classes)
    assert anchor_trial.mean_recall(result) == pytest.approx(0.75)  # of 0.9, 1.0, 0.5 and 0.6


@pytest.mark.slow
def test_anchors_that_fit_have_the_higher_recall(tmp_path, small_config, monkeypatch):
    monkeypatch.setattr(anchor_trial, "_ITERATIONS", 30)
    from keras_frcnn.data.sources.synthetic.drawn import write_synthetic

    write_synthetic(tmp_path / "tree", {"train": 10}, seed=0, size=(64, 96))
    dataset = load_dataset(DataSpec(data=f"voc:{tmp_path / 'tree'}"), "train")
    config = dataclasses.replace(small_config, head=dataclasses.replace(small_config.head, fc_units=8))
    recall = anchor_trial.anchor_recall(dataset, config, None, "float32", 0, tmp_path / "trials")
    fitting, huge = recall(AnchorConfig((16.0, 32.0))), recall(AnchorConfig((512.0,), (1.0,)))
    assert 0.0 <= huge < fitting <= 1.0
    assert len(list((tmp_path / "trials" / "features").glob("*.upright.tfrecord"))) == 10  # stored once for both
