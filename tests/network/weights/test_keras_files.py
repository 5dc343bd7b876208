"""Keras' own VGG16 files: the same download as Keras', and an error that says what to do without network."""

import keras
import pytest
from keras.src.applications import vgg16

from keras_frcnn.facts.errors import InputError
from keras_frcnn.network.weights.pretrained import load_pretrained


@pytest.mark.parametrize("source", ["imagenet", "imagenet-full"])
def test_the_download_is_the_one_that_keras_makes(
    small, small_fc, monkeypatch, tmp_path, write_legacy_h5, assert_layers_equal, source
):
    arrays = small | small_fc if source == "imagenet-full" else small
    path, asked = write_legacy_h5(tmp_path / "keras.h5", arrays), {}

    def get_file(fname, origin, **options):
        asked.update(options, fname=fname, origin=origin)
        return str(path)

    monkeypatch.setattr(keras.utils, "get_file", get_file)
    loaded = load_pretrained(source)
    assert loaded.source == source
    assert_layers_equal(loaded.layers, arrays)

    asked_by_us = dict(asked)
    monkeypatch.setattr(vgg16.file_utils, "get_file", get_file)
    monkeypatch.setattr(vgg16.Functional, "load_weights", lambda model, file: None)
    size = 224 if source == "imagenet-full" else 32
    monkeypatch.setattr(vgg16.layers, "Dense", lambda units, **options: lambda x: x)  # saves 400 MB
    vgg16.VGG16(include_top=source == "imagenet-full", weights="imagenet", input_shape=(size, size, 3))
    assert asked_by_us == asked


def test_a_failed_download_says_what_to_do(monkeypatch):
    def get_file(*args, **options):
        raise Exception("URL fetch failure on https://...: None -- Name or service not known")

    monkeypatch.setattr(keras.utils, "get_file", get_file)
    with pytest.raises(InputError, match="imagenet: Keras could not fetch.*not known.*--weights torchvision.*PATH"):
        load_pretrained("imagenet")
