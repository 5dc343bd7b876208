"""Readers of weight files: every layout is read, and a file that cannot be read gives one line."""

import json
import os
import pickle
import zipfile

import h5py
import keras
import numpy as np
import pytest

from keras_frcnn.facts.errors import InputError
from keras_frcnn.network.weights.pretrained import load_pretrained
from keras_frcnn.network.weights.readers import open_archive, read_arrays


@pytest.mark.parametrize("names", [("kernel:0", "bias:0"), ("W_1:0", "b_1:0")])  # Keras' own file has the second
@pytest.mark.parametrize("under", ["", "model_weights"])
def test_legacy_h5(small, tmp_path, write_legacy_h5, assert_layers_equal, names, under):
    path = write_legacy_h5(tmp_path / "vgg16.h5", small, names, under)
    loaded = load_pretrained(str(path))
    assert loaded.source == str(path)
    assert_layers_equal(loaded.layers, small)


def test_h5_with_fc_and_predictions(small, small_fc, tmp_path, random_arrays, write_legacy_h5, assert_layers_equal):
    arrays = small | small_fc | random_arrays({"predictions": (6, 7)})
    path = write_legacy_h5(tmp_path / "full.h5", arrays)
    assert_layers_equal(load_pretrained(str(path)).layers, small | small_fc)
    assert set(read_arrays(path)) == set(arrays)


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_keras_file_of_a_model(small, tmp_path, assert_layers_equal, nested, suffix):
    channels = {name: small[f"{name}/bias"].size for name in ("block1_conv1", "block1_conv2")}
    convs = [keras.layers.Conv2D(number, 3, name=name, trainable=False) for name, number in channels.items()]

    class Backbone(keras.layers.Layer):  # not registered with Keras: the reader must not need the class
        def __init__(self):
            super().__init__()
            self.convolutions = convs

        def call(self, x):
            return convs[1](convs[0](x))

    image = keras.Input((9, 9, 3))
    features = Backbone()(image) if nested else convs[1](convs[0](image))
    model = keras.Model(image, keras.layers.Conv2D(2, 1, name="rpn")(features))
    for conv in convs:
        conv.set_weights([small[f"{conv.name}/kernel"], small[f"{conv.name}/bias"]])
    path = tmp_path / f"model{suffix}"
    (model.save if suffix == ".keras" else model.save_weights)(path)
    assert_layers_equal(load_pretrained(str(path)).layers, small)


def test_keras_file_with_two_layers_of_one_name(small, tmp_path):
    path = tmp_path / "two.weights.h5"
    with h5py.File(path, "w") as file:
        for parent in ("a", "b"):
            group = file.create_group(f"{parent}/vars")
            group.attrs["name"], group["0"], group["1"] = "block1_conv1", np.zeros(1), np.zeros(1)
    with pytest.raises(InputError, match="more than one layer is named block1_conv1"):
        load_pretrained(str(path))


@pytest.mark.parametrize("suffix", [".h5", ".npz", ".keras"])
@pytest.mark.parametrize("content", [None, b"", b"not weights", pickle.dumps([1]), b"\x89HDF\r\n\x1a\n", b"PK\x03\x04"])
def test_missing_or_foreign_file(tmp_path, suffix, content):
    path = tmp_path / f"file{suffix}"
    if content is not None:
        path.write_bytes(content)
    problem = "no such file" if content is None else f"not a readable {suffix} file"
    with pytest.raises(InputError, match=problem) as caught:
        load_pretrained(str(path))
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


@pytest.mark.parametrize("allow_pickle", [False, True])
def test_npz_that_is_one_bare_array(tmp_path, allow_pickle):
    array = np.array([{}], dtype=object) if allow_pickle else np.zeros(3)
    with open(tmp_path / "array.npz", "wb") as file:
        np.save(file, array, allow_pickle=allow_pickle)
    with pytest.raises(InputError, match="not a zip archive"):  # NumPy's own message says to allow pickles
        load_pretrained(str(tmp_path / "array.npz"))


def test_a_folder_is_not_a_file(tmp_path):
    (tmp_path / "model.keras").mkdir()
    with pytest.raises(InputError, match="no such file"):
        load_pretrained(str(tmp_path / "model.keras"))


def test_keras_archive_without_weights(tmp_path):
    with zipfile.ZipFile(tmp_path / "model.keras", "w") as archive:
        archive.writestr("config.json", "{}")
    with pytest.raises(InputError, match="not a readable .keras file.*model.weights.h5"):
        load_pretrained(str(tmp_path / "model.keras"))


def write_archive(path, change):
    """An archive with one compressed member, whose bytes `change` damages."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", json.dumps(list(range(1000))))
    content = bytearray(path.read_bytes())
    change(content)
    path.write_bytes(content)


def set_flag(content):  # of an encrypted member, in the member's header and in the directory
    content[6] |= 1
    content[content.index(b"PK\1\2") + 8] |= 1


def set_method(content):  # of compression
    content[8] = content[content.index(b"PK\1\2") + 10] = 99


def damage_data(content):
    content[60:80] = b"\xff" * 20


def damage_directory(content):
    content[content.index(b"PK\1\2")] = 0


@pytest.mark.parametrize("change", [set_flag, set_method, damage_data, damage_directory], ids=lambda one: one.__name__)
def test_each_damage_of_an_archive_is_one_error(tmp_path, change):
    write_archive(tmp_path / "a.zip", change)
    with pytest.raises(ValueError, match="^damaged archive: "), open_archive(tmp_path / "a.zip") as archive:
        archive.read("config.json")


def test_truncated_h5(small, tmp_path, write_legacy_h5):
    path = write_legacy_h5(tmp_path / "vgg16.h5", small)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputError, match="not a readable .h5 file"):
        load_pretrained(str(path))


def test_npz_of_pickled_objects_is_not_unpickled(small, tmp_path, capfd):
    class Evil:
        def __reduce__(self):
            return os.system, ("echo it ran",)

    path = tmp_path / "evil.npz"
    np.savez(path, **(small | {"block1_conv2/bias": np.array([Evil()], dtype=object)}))
    with pytest.raises(InputError, match="not a readable .npz file"):
        load_pretrained(str(path))
    assert "it ran" not in capfd.readouterr().out


@pytest.mark.parametrize("layout", ["legacy", "Keras 3"])
def test_an_h5_file_that_states_more_numbers_than_it_can_hold_is_refused(tmp_path, layout):
    path = tmp_path / "small.h5"
    with h5py.File(path, "w") as file:
        group = file.create_group("block1_conv1")
        name = "kernel" if layout == "legacy" else "0"
        group.create_dataset(name, shape=(10**5, 10**5), dtype=np.float32)  # no number is written
        if layout == "legacy":
            file.attrs["layer_names"] = [b"block1_conv1"]
            group.attrs["weight_names"] = [b"kernel"]
        else:
            group.attrs["name"] = "block1_conv1"
    with pytest.raises(InputError, match="small.h5.*states 40000000000 bytes"):
        load_pretrained(str(path))
