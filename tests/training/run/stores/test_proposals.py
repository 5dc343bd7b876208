"""Stored proposals: what the RPN proposes is what a detector trains on, made once."""

import shutil
import signal

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_frcnn.data.sources.loading import load_dataset
from keras_frcnn.data.sources.spec import DataSpec
from keras_frcnn.data.stream.pipeline import evaluation_batches
from keras_frcnn.data.stream.tensor_files import write_tensors
from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.files import read_json
from keras_frcnn.network.forward import Counts, propose
from training.engine.interruption import deferred
from training.run.stores.detections import detect_dataset
from training.run.stores.proposals import load_proposals, measure_recall, store_proposals
from training.run.stores.rows import is_complete, load_rows, row_path, row_paths, store_rows


@pytest.fixture(scope="module")
def dataset(voc_tree, tmp_path_factory):
    """Two scenes of 160 x 192 pixels, which the model sees at 64 x 77: 2.5 and 2.494 times as small."""
    folder = tmp_path_factory.mktemp("pictures")
    dataset = load_dataset(DataSpec(data=f"voc:{voc_tree}"), "val")
    examples = []
    for number, example in enumerate(dataset.examples):
        path = folder / f"{number}.png"
        with Image.open(example.image_path) as image:
            image.resize((192, 160)).save(path)
        # With years in the identifiers, as in VOC 2007 and 2012.
        image_id = f"VOC{2000 + number}/{example.image_id}"
        boxes = example.boxes * np.float32([2.5, 2, 2.5, 2])
        examples.append(example._replace(image_id=image_id, image_path=str(path), height=160, width=192, boxes=boxes))
    return dataset._replace(examples=tuple(examples))


@pytest.fixture(scope="module")
def stored(model, dataset, tmp_path_factory):
    directory = tmp_path_factory.mktemp("proposals") / "step1" / "val"
    store_proposals(model, dataset, directory, Counts(0, 30), "test")
    return directory


def files(directory):
    return {path: path.stat().st_mtime_ns for path in directory.rglob("*") if path.is_file()}


def test_each_picture_has_its_file(dataset, stored):
    assert row_path(stored, "VOC2007/000001") == stored / "VOC2007" / "000001.tfrecord"
    assert set(files(stored)) == {*row_paths(stored, dataset), stored / "finished.json"}
    assert len(row_paths(stored, dataset)) == 2
    assert read_json(stored / "finished.json") == {"format": 3, "images": 2}


def test_a_long_name_of_a_picture_has_a_file(model, dataset, tmp_path):
    pairs = zip("ab", dataset.examples, strict=True)
    examples = [one._replace(image_id="VOC2007/" + "x" * 240 + end) for end, one in pairs]
    renamed = dataset._replace(examples=tuple(examples))
    store_proposals(model, renamed, tmp_path, Counts(0, 30), "test")
    assert is_complete(tmp_path, renamed) and len(set(row_paths(tmp_path, renamed))) == 2


def test_the_best_boxes_of_each_picture_are_loaded(dataset, stored):
    loaded = load_proposals(stored, dataset, 7)
    assert list(loaded) == [example.image_id for example in dataset.examples]
    for boxes, rows in zip(loaded.values(), load_rows(stored, dataset), strict=True):
        assert len(rows) > 7
        np.testing.assert_array_equal(boxes, rows[:7, :4])


def test_what_is_read_is_what_the_rpn_proposes(model, dataset, stored):
    batches = evaluation_batches(dataset, model.config.image)
    for batch, rows in zip(batches, load_rows(stored, dataset), strict=True):
        features = model.backbone(batch.images)
        proposals = propose(model.parts, features, batch.image_sizes, Counts(0, 30))
        valid = proposals.valid[0].numpy()
        assert rows.shape == (valid.sum(), 5) and valid.any() and rows.dtype == np.float32
        original = proposals.boxes[0].numpy()[valid] * np.tile([160 / 64, 192 / 77], 2)
        np.testing.assert_allclose(rows[:, :4], original, atol=1e-3)
        np.testing.assert_allclose(rows[:, 4], proposals.scores[0].numpy()[valid], atol=1e-5)
        assert (np.diff(rows[:, 4]) <= 0).all()


def test_the_pipeline_reads_them(model, dataset, stored):
    batches = evaluation_batches(dataset, model.config.image, 2, row_paths(stored, dataset))
    (batch,) = batches
    for row, rows in enumerate(load_rows(stored, dataset)):
        valid = batch.proposals.valid[row].numpy()
        resized = rows[:, :4] * np.tile([64 / 160, 77 / 192], 2)
        np.testing.assert_allclose(batch.proposals.boxes[row].numpy()[valid], resized, atol=1e-4)
        assert (batch.proposals.boxes[row] <= [64, 77, 64, 77]).numpy().all()
        np.testing.assert_array_equal(batch.proposals.scores[row].numpy()[valid], rows[:, 4])


def test_recall_is_measured_in_pixels_of_the_stored_picture(dataset, tmp_path):
    for example, path in zip(dataset.examples, row_paths(tmp_path, dataset), strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = np.concatenate([example.boxes, np.ones((len(example.boxes), 1), np.float32)], axis=-1)
        write_tensors(path, [tf.constant(rows, tf.float32)])
    recall = measure_recall(tmp_path, dataset)
    assert recall.objects > 0 and recall.average_recalls[-1] == 1.0


def test_proposals_are_made_when_the_last_is_there(model, dataset, stored, tmp_path):
    directory = tmp_path / "copy"
    assert not is_complete(directory, dataset)
    shutil.copytree(stored, directory)
    assert is_complete(directory, dataset)
    before = files(directory)

    (directory / "finished.json").unlink()
    first, second = row_paths(directory, dataset)
    second.unlink()
    assert not is_complete(directory, dataset)
    store_proposals(model, dataset, directory, Counts(0, 30), "test")
    assert set(files(directory)) == set(before) and is_complete(directory, dataset)
    assert second.read_bytes() == row_paths(stored, dataset)[1].read_bytes()
    assert files(directory)[first] == before[first]  # it was there, and is not made again


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ('{"images": 2}', "no format"),
        ('{"format": 2, "images": 2}', "format 2"),
        ("[2]", "no format"),
        ("{", "no format"),
    ],
)
def test_proposals_of_another_format_are_refused(model, dataset, stored, tmp_path, content, found):
    directory = tmp_path / "copy"
    shutil.copytree(stored, directory)
    (directory / "finished.json").write_text(content)
    message = (
        f"^{directory}/finished.json, field format: has {found} instead of format 3, so another version of this "
        f"program wrote the boxes; delete {directory} to compute them again$"
    )
    with pytest.raises(InputError, match=message):
        is_complete(directory, dataset)
    with pytest.raises(InputError, match="field format"):
        detect_dataset(model, dataset, directory, "test")


def test_an_interruption_waits_for_the_end_of_an_image(model, dataset, tmp_path):
    def propose_and_signal(batch):  # called once, when it is traced
        signal.raise_signal(signal.SIGTERM)
        return tf.zeros((1, 3, 5)), tf.ones((1, 3), tf.bool)

    with pytest.raises(KeyboardInterrupt), deferred():
        store_rows(tmp_path, propose_and_signal, dataset, model.config.image, "test")
    first, second = row_paths(tmp_path, dataset)
    assert first.is_file() and not second.exists() and not is_complete(tmp_path, dataset)


def test_a_picture_without_proposals_has_no_detections(model, dataset, stored, tmp_path):
    directory = tmp_path / "copy"
    shutil.copytree(stored, directory)
    write_tensors(row_paths(directory, dataset)[0], [tf.zeros((0, 5))])
    first, second = detect_dataset(model, dataset, tmp_path / "detections", "test", directory)
    assert len(first.boxes) == len(first.classes) == len(first.scores) == 0
    assert len(second.boxes) > 0


def test_proposals_of_mirrored_pictures_have_the_frame_of_the_picture(model, dataset, tmp_path):
    """The same as for pictures that are mirrored in their files, and mirrored back."""
    counts = Counts(0, 30)
    store_proposals(model, dataset, tmp_path / "flipped", counts, "test", flipped=True)
    mirrored = []
    for number, example in enumerate(dataset.examples):
        path = tmp_path / f"{number}.png"
        with Image.open(example.image_path) as image:
            image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(path)
        mirrored.append(example._replace(image_path=str(path)))
    in_files = dataset._replace(examples=tuple(mirrored))
    store_proposals(model, in_files, tmp_path / "files", counts, "test")
    pairs = zip(load_rows(tmp_path / "flipped", dataset), load_rows(tmp_path / "files", in_files), strict=True)
    for flipped, stored in pairs:
        assert len(flipped) == len(stored) > 10
        y0, x0, y1, x1, score = stored.T
        expected = np.stack([y0, 192 - x1, y1, 192 - x0, score], axis=1)
        np.testing.assert_allclose(flipped, expected, rtol=1e-3, atol=0.05)


def test_proposals_of_some_pictures(model, dataset, tmp_path):
    store_proposals(model, dataset, tmp_path, Counts(0, 30), "test", only=[1, 1])
    assert [path.is_file() for path in row_paths(tmp_path, dataset)] == [False, True]
    assert is_complete(tmp_path, dataset, only=[1]) and not is_complete(tmp_path, dataset)
    assert read_json(tmp_path / "finished.json") == {"format": 3, "images": 1}


@pytest.mark.parametrize("damage", ["flipped bit", "cut", "empty", "missing", "other bytes"])
def test_a_damaged_file_is_made_again(model, dataset, stored, tmp_path, caplog, damage):
    directory = tmp_path / "copy"
    shutil.copytree(stored, directory)
    first, second = row_paths(directory, dataset)
    content = bytearray(first.read_bytes())
    content[len(content) // 2] ^= 4
    if damage == "missing":
        first.unlink()
    else:
        damaged = {"flipped bit": bytes(content), "cut": content[:-3], "empty": b"", "other bytes": b"nonsense"}
        first.write_bytes(damaged[damage])
    assert not is_complete(directory, dataset)
    assert f"{directory}: 1 damaged or missing files are computed again" in caplog.text
    assert not first.exists() and second.exists()
    store_proposals(model, dataset, directory, Counts(0, 30), "test")
    assert is_complete(directory, dataset)
    assert first.read_bytes() == row_paths(stored, dataset)[0].read_bytes()
