"""Stored proposals: what the RPN proposes is what a detector trains on, made once."""

import shutil

import numpy as np
import pytest
import tensorflow as tf

from keras_frcnn.data.pipeline import evaluation_batches
from keras_frcnn.data.sources.table import load_dataset
from keras_frcnn.facts.files import read_json
from keras_frcnn.network.forward import Counts, propose
from training.evaluate import detect_dataset
from training.stores.proposals import store_proposals
from training.stores.rows import is_complete, load_rows, row_path, row_paths


@pytest.fixture(scope="module")
def dataset(voc_tree):
    # With years in the identifiers, as in VOC 2007 and 2012.
    dataset = load_dataset(f"voc:{voc_tree}", "val")
    return dataset._replace(
        examples=tuple(
            example._replace(image_id=f"VOC{2000 + number}/{example.image_id}")
            for number, example in enumerate(dataset.examples)
        )
    )


@pytest.fixture(scope="module")
def stored(model, dataset, tmp_path_factory):
    directory = tmp_path_factory.mktemp("proposals") / "step1" / "val"
    store_proposals(model, dataset, directory, Counts(0, 30), "test")
    return directory


def files(directory):
    return {path: path.stat().st_mtime_ns for path in directory.rglob("*") if path.is_file()}


def test_each_picture_has_its_file(dataset, stored):
    assert row_path(stored, "VOC2007/000001") == stored / "VOC2007" / "000001.tensor"
    assert set(files(stored)) == {*row_paths(stored, dataset), stored / "finished.json"}
    assert len(row_paths(stored, dataset)) == 2
    assert read_json(stored / "finished.json") == {"images": 2}


def test_what_is_read_is_what_the_rpn_proposes(model, dataset, stored):
    batches = evaluation_batches(dataset, model.config.image)
    for batch, rows in zip(batches, load_rows(stored, dataset), strict=True):
        features = model.backbone(batch.images)
        proposals = propose(model.parts, features, batch.image_sizes, Counts(0, 30))
        valid = proposals.valid[0].numpy()
        assert rows.shape == (valid.sum(), 5) and valid.any() and rows.dtype == np.float32
        np.testing.assert_allclose(rows[:, :4], proposals.boxes[0].numpy()[valid], atol=1e-3)
        np.testing.assert_allclose(rows[:, 4], proposals.scores[0].numpy()[valid], atol=1e-5)
        assert (np.diff(rows[:, 4]) <= 0).all()


def test_the_pipeline_reads_them(model, dataset, stored):
    batches = evaluation_batches(dataset, model.config.image, 2, row_paths(stored, dataset))
    (batch,) = batches
    for row, rows in enumerate(load_rows(stored, dataset)):
        valid = batch.proposals.valid[row].numpy()
        np.testing.assert_array_equal(batch.proposals.boxes[row].numpy()[valid], rows[:, :4])
        np.testing.assert_array_equal(batch.proposals.scores[row].numpy()[valid], rows[:, 4])


def test_proposals_are_made_when_the_last_is_there(model, dataset, stored, tmp_path):
    directory = tmp_path / "copy"
    assert not is_complete(directory)
    shutil.copytree(stored, directory)
    assert is_complete(directory)
    before = files(directory)

    (directory / "finished.json").unlink()
    first, second = row_paths(directory, dataset)
    second.unlink()
    assert not is_complete(directory)
    store_proposals(model, dataset, directory, Counts(0, 30), "test")
    assert set(files(directory)) == set(before) and is_complete(directory)
    assert second.read_bytes() == row_paths(stored, dataset)[1].read_bytes()
    assert files(directory)[first] == before[first]  # it was there, and is not made again


def test_a_picture_without_proposals_has_no_detections(model, dataset, stored, tmp_path):
    directory = tmp_path / "copy"
    shutil.copytree(stored, directory)
    row_paths(directory, dataset)[0].write_bytes(tf.io.serialize_tensor(tf.zeros((0, 5))).numpy())
    first, second = detect_dataset(model, dataset, tmp_path / "detections", "test", directory)
    assert len(first.boxes) == len(first.classes) == len(first.scores) == 0
    assert len(second.boxes) > 0
