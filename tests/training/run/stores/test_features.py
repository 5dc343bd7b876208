"""Stored backbone features: the same as computed ones, kept within a budget, never stale, never damaged."""

import dataclasses
import os
import shutil

import numpy as np
import pytest
import tensorflow as tf

from keras_frcnn.data.sources.loading import load_dataset
from keras_frcnn.data.sources.spec import DataSpec
from keras_frcnn.data.stream.order import training_items
from keras_frcnn.data.stream.pipeline import evaluation_batches, training_batches
from keras_frcnn.network.forward import Counts
from training.engine.inference import fixed_features, image_features
from training.engine.objectives import head_losses, rpn_losses
from training.engine.schedules import StepDecay
from training.engine.solver import Optimisation
from training.engine.trainer import Trainer
from training.run.stores.features import FeatureCache, delete_features
from training.run.stores.proposals import store_proposals
from training.run.stores.rows import load_rows, row_paths

PLENTY = 2**30
ALL = [(index, flip) for index in range(4) for flip in (False, True)]


@pytest.fixture(scope="module")
def dataset(voc_tree, model):
    """Four drawn scenes, their classes made those of the small detector."""
    dataset = load_dataset(DataSpec(data=f"voc:{voc_tree}"), "train")
    examples = (example._replace(classes=1 + example.classes % len(model.class_names)) for example in dataset.examples)
    return dataset._replace(class_names=model.class_names, examples=tuple(examples))


def stored(cache, dataset):
    return [item for item in ALL if cache.files(dataset).paths[item[0], int(item[1])]]


def said(caplog):
    """The messages since the last call."""
    lines = "\n".join(caplog.messages)
    caplog.clear()
    return lines


@pytest.fixture(autouse=True)
def all_messages(caplog):
    caplog.set_level("INFO", "training")


def times(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.tfrecord")}


def test_what_is_read_is_what_the_backbone_computes(model, dataset, filled):
    cache = FeatureCache(filled, model, PLENTY)
    cache.fill(dataset, ALL, "test")
    assert stored(cache, dataset) == ALL
    config = model.config.image
    computed = evaluation_batches(dataset, config, items=ALL)
    read = evaluation_batches(dataset, config, items=ALL, feature_files=cache.files(dataset))
    maps = []
    for with_image, with_features in zip(computed, read, strict=True):
        assert with_features.images.shape == (1, 0, 0, 3) and with_features.features.valid.numpy().all()
        maps.append(fixed_features(model, with_features).numpy())
        np.testing.assert_array_equal(maps[-1], model.backbone(with_image.images).numpy())
        pairs = zip(with_image[1:-1], with_features[1:-1], strict=True)
        for a, b in ((a, b) for pair in pairs for a, b in zip(*map(tf.nest.flatten, pair), strict=True)):
            np.testing.assert_array_equal(a.numpy(), b.numpy())
    assert (maps[0] != maps[1]).any()  # a picture and its mirror image


@pytest.mark.parametrize("left_out", [ALL[:1], ALL[::2], ALL])
def test_a_batch_with_some_rows_stored_has_the_features_of_all(model, dataset, tmp_path, left_out):
    # Pictures of two sizes, so that rows are padded.
    wide = dataset.examples[1]
    path = tmp_path / "narrow.png"
    image = tf.io.decode_image(tf.io.read_file(wide.image_path), channels=3)
    tf.io.write_file(str(path), tf.io.encode_png(image[:, :70]))
    narrow = wide._replace(image_id="narrow", image_path=str(path), width=70)
    dataset = dataset._replace(examples=(dataset.examples[0], narrow, *dataset.examples[2:]))
    cache = FeatureCache(tmp_path / "features", model, PLENTY)
    items = [item for item in ALL if item not in left_out]
    if items:
        cache.fill(dataset, items, "test")
    assert stored(cache, dataset) == items
    config = model.config.image
    with_images = evaluation_batches(dataset, config, 4, items=ALL)
    with_features = evaluation_batches(dataset, config, 4, None, cache.files(dataset), ALL)
    read = tf.function(lambda batch: fixed_features(model, batch), input_signature=[with_features.element_spec])
    for a, b in zip(with_images, with_features, strict=True):
        expected = image_features(model, a).numpy()
        np.testing.assert_allclose(read(b).numpy(), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_the_budget_holds_and_is_reported(model, dataset, tmp_path, caplog):
    cache = FeatureCache(tmp_path / "features", model, PLENTY)
    cache.fill(dataset, ALL[:1], "test")
    (one,) = (path.stat().st_size for path in (tmp_path / "features").glob("*.tfrecord"))
    assert said(caplog) == ""
    cache = FeatureCache(tmp_path / "features", model, int(3.5 * one))
    cache.fill(dataset, [ALL[5], ALL[0], ALL[2], ALL[4]], "test")
    assert stored(cache, dataset) == [ALL[0], ALL[2], ALL[5]]  # the first of those asked for
    assert "1 of 4 feature maps are not stored but computed at each use: the budget of" in said(caplog)
    assert sum(path.stat().st_size for path in (tmp_path / "features").glob("*.tfrecord")) <= 3.5 * one


def test_a_folder_that_cannot_be_written_is_reported(model, dataset, tmp_path, caplog):
    cache = FeatureCache(tmp_path / "features", model, PLENTY)
    shutil.rmtree(tmp_path / "features")
    (tmp_path / "features").write_text("in the way of a folder")
    cache.fill(dataset, ALL, "test")
    assert stored(cache, dataset) == []
    assert "8 of 8 feature maps are not stored but computed at each use: " in said(caplog)


@pytest.fixture(scope="module")
def filled(model, dataset, tmp_path_factory):
    """A folder with the features of all; not to be changed."""
    folder = tmp_path_factory.mktemp("filled") / "features"
    FeatureCache(folder, model, PLENTY).fill(dataset, ALL, "test")
    return folder


@pytest.mark.parametrize("damage", ["one byte", "cut", "empty", "first record alone"])
def test_damaged_features_are_computed_again_and_reported(model, dataset, filled, tmp_path, caplog, damage):
    folder = shutil.copytree(filled, tmp_path / "features")
    before = times(folder)
    path = sorted(folder.glob("*.tfrecord"))[3]
    whole = path.read_bytes()
    middle = len(whole) // 2
    first = tf.io.TFRecordWriter(str(tmp_path / "record"))
    first.write(next(iter(tf.data.TFRecordDataset(str(path)))).numpy())
    first.close()
    path.write_bytes(
        {
            "one byte": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
            "cut": whole[:middle],
            "empty": b"",
            "first record alone": (tmp_path / "record").read_bytes(),
        }[damage]
    )
    cache = FeatureCache(folder, model, PLENTY)
    cache.fill(dataset, ALL, "test")
    assert "1 damaged files of stored features are computed again" in said(caplog)
    assert path.read_bytes() == whole
    assert {name for name, time in times(folder).items() if time != before[name]} == {path.name}


def test_another_backbone_size_type_or_decoding_empties_the_store(
    make_model, small_config, dataset, filled, tmp_path, caplog, monkeypatch
):
    folder = shutil.copytree(filled, tmp_path / "features")
    model = make_model()
    FeatureCache(folder, model, PLENTY)
    assert len(times(folder)) == 8 and said(caplog).count("deleted") == 0
    kernel = model.backbone.convolutions[5].kernel
    kernel.assign(kernel * 1.0001)
    FeatureCache(folder, model, PLENTY)
    assert times(folder) == {} and "deleted stored features, which were computed with another backbone" in said(caplog)
    FeatureCache(folder, model, PLENTY).fill(dataset, ALL[:1], "test")
    FeatureCache(folder, model, PLENTY, "float16")
    assert times(folder) == {} and "computed with another dtype" in said(caplog)
    FeatureCache(folder, model, PLENTY).fill(dataset, ALL[:1], "test")
    image = dataclasses.replace(small_config.image, short_side=48)
    other = make_model(config=dataclasses.replace(small_config, image=image))
    other.set_weights(model.get_weights())
    FeatureCache(folder, other, PLENTY)
    assert times(folder) == {} and "image" in said(caplog)
    FeatureCache(folder, other, PLENTY).fill(dataset, ALL[:1], "test")
    monkeypatch.setattr("training.run.stores.features.DECODING", "another")
    FeatureCache(folder, other, PLENTY)
    assert times(folder) == {} and "computed with another decoding" in said(caplog)


@pytest.mark.parametrize("key", [None, b"", b'{"backbone": ', b"[1]", b"\xff"])
def test_features_of_an_unknown_backbone_are_deleted_and_other_files_are_not(model, filled, tmp_path, caplog, key):
    folder = shutil.copytree(filled, tmp_path / "features")
    if key is None:
        (folder / "key.json").unlink()
    else:
        (folder / "key.json").write_bytes(key)
    for name in ("thesis.txt", "other.tfrecord", "thesis/notes.txt"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("mine")
    unfinished = folder / f".partial.7.{next(iter(times(filled)))}"
    unfinished.write_bytes(b"half")
    FeatureCache(folder, model, PLENTY)
    expected = f"{folder}/key.json is missing or damaged: the stored features are deleted and computed again"
    assert expected in said(caplog)
    left = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert left == ["key.json", "other.tfrecord", "thesis.txt", "thesis/notes.txt"]
    FeatureCache(folder, model, PLENTY)
    assert said(caplog) == ""


def test_deleting_the_features_leaves_other_files(filled, tmp_path):
    folder = shutil.copytree(filled, tmp_path / "features")
    (folder / "thesis.txt").write_text("mine")
    delete_features(folder)
    assert [path.name for path in folder.iterdir()] == ["thesis.txt"]
    (folder / "thesis.txt").unlink()
    delete_features(folder)
    assert not folder.exists()
    delete_features(folder)  # nothing is there
    (tmp_path / "file").write_text("mine")
    delete_features(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_changed_picture_has_other_features(model, dataset, tmp_path):
    path = tmp_path / "picture.png"
    shutil.copy(dataset.examples[0].image_path, path)
    one = dataset._replace(examples=(dataset.examples[0]._replace(image_path=str(path)),))
    cache = FeatureCache(tmp_path / "features", model, PLENTY)
    cache.fill(one, ALL[:2], "test")
    assert stored(cache, one._replace(examples=one.examples * 4))[:2] == ALL[:2]
    shutil.copy(dataset.examples[1].image_path, path)
    os.utime(path, ns=(1, 1))
    again = FeatureCache(tmp_path / "features", model, PLENTY)
    again.fill(one, ALL[:2], "test")
    assert len(times(tmp_path / "features")) == 4


def test_a_picture_turned_in_another_way_has_other_features(model, dataset, tmp_path):
    example = dataset.examples[0]
    turned = example._replace(orientation=6, height=example.width, width=example.height)
    for one in (example, turned):
        one_picture = dataset._replace(examples=(one,))
        cache = FeatureCache(tmp_path / "features", model, PLENTY)
        cache.fill(one_picture, ALL[:2], "test")
        config = model.config.image
        (batch,) = evaluation_batches(one_picture, config, feature_files=cache.files(one_picture))
        (with_image,) = evaluation_batches(one_picture, config)
        assert batch.features.valid.numpy().all()
        assert batch.original_sizes.numpy().tolist() == [[one.height, one.width]]
        np.testing.assert_array_equal(fixed_features(model, batch), model.backbone(with_image.images))
    assert len(times(tmp_path / "features")) == 4


@pytest.mark.parametrize("dtype, tolerance", [(None, 0.0), ("float16", 2**-11)])
def test_the_type_is_as_computed_or_half(model, dataset, tmp_path, dtype, tolerance):
    cache = FeatureCache(tmp_path / "features", model, PLENTY, dtype)
    cache.fill(dataset, ALL[:1], "test")
    (path,) = (tmp_path / "features").glob("*.tfrecord")
    files = cache.files(dataset)
    assert files.dtype == (dtype or "float32")
    batch = next(iter(evaluation_batches(dataset, model.config.image, feature_files=files)))
    expected = model.backbone(next(iter(evaluation_batches(dataset, model.config.image))).images).numpy()
    read = fixed_features(model, batch)
    assert read.dtype == tf.float32
    np.testing.assert_allclose(read.numpy(), expected, rtol=tolerance, atol=1e-7)
    assert path.stat().st_size == pytest.approx(expected.size * (2 if dtype else 4), abs=300)


@pytest.mark.slow
@pytest.mark.parametrize("losses, parts, batch_size", [(rpn_losses, ("rpn",), 1), (head_losses, ("head",), 2)])
def test_training_on_stored_features_gives_the_same_weights(make_model, dataset, tmp_path, losses, parts, batch_size):
    store_proposals(make_model(), dataset, tmp_path / "proposals", Counts(0, 30), "test")
    proposals = row_paths(tmp_path / "proposals", dataset)
    assert sum(len(rows) for rows in load_rows(tmp_path / "proposals", dataset)) > 0
    results = []
    all_items, some_items = (training_items(dataset, 7, batch_size, count) for count in (6 * batch_size, 3))
    for items in ([], all_items, some_items):
        model = make_model()
        cache = FeatureCache(tmp_path / "features", model, PLENTY)
        if items:
            cache.fill(dataset, items, "test")
        batches = training_batches(dataset, model.config.image, batch_size, 7, proposals, cache.files(dataset))
        trainer = Trainer(model, losses, parts, StepDecay(0.001, 6, 0.75), Optimisation())
        trainer.feed(batches)
        trainer.train(6)
        results.append(np.concatenate([value.ravel() for value in getattr(model, parts[0]).get_weights()]))
        shutil.rmtree(tmp_path / "features")
    start = np.concatenate([value.ravel() for value in getattr(make_model(), parts[0]).get_weights()])
    assert np.linalg.norm(results[0] - start) > 1e-3
    for result in results[1:]:
        assert np.linalg.norm(result - results[0]) < 1e-5 * np.linalg.norm(results[0])
