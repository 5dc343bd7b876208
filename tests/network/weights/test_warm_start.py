"""A detector that starts from a finished run: which layers keep the trained weights, and which stay new."""

import dataclasses
import zipfile

import numpy as np
import pytest

from keras_frcnn.facts.config import AnchorConfig
from keras_frcnn.facts.errors import InputError
from keras_frcnn.network.model import FasterRCNN
from keras_frcnn.network.weights.warm_start import new_layers, read_detector, warm_start

LAST_OF_HEAD = {"class_logits", "box_deltas"}


@pytest.fixture(scope="module")
def source(make_model, tmp_path_factory):
    """The folder of a finished run and its detector."""
    folder, model = tmp_path_factory.mktemp("finished"), make_model(seed=1)
    model.save(folder / "model.keras")
    return folder, model


def layers_of(model):
    rpn, head = model.rpn, model.head
    parts = (rpn.shared, rpn.scores, rpn.box_deltas, head.fc6, head.fc7, head.class_logits, head.box_deltas)
    return {layer.name: layer for layer in (*model.backbone.convolutions, *parts)}


def check(source, config, class_names, new):
    """Check that exactly the layers `new` keep the new model's weights; all others have the source's."""
    folder, trained = source
    model, untouched = (FasterRCNN(config, class_names, seed=7) for _ in range(2))
    source_read = read_detector(str(folder))
    assert set(new_layers(model, source_read)) == new
    warm_start(model, source_read)
    before, after, kept = (layers_of(which) for which in (untouched, model, trained))
    assert len(after) == 13 + 3 + 4
    for name, layer in after.items():
        expected = (before if name in new else kept)[name]
        for value, wanted in zip(layer.get_weights(), expected.get_weights(), strict=True):
            np.testing.assert_array_equal(value, wanted)


def test_the_same_detector_keeps_all_layers(source, small_config):
    check(source, small_config, ("cat", "dog", "hen"), new=set())


@pytest.mark.parametrize("class_names", [("star",), ("cat", "hen", "dog")])
def test_other_classes_make_the_last_layers_of_the_head_new(source, small_config, class_names):
    check(source, small_config, class_names, new=LAST_OF_HEAD)


def test_other_anchors_make_the_last_layers_of_the_rpn_new_even_if_their_number_is_the_same(source, small_config):
    config = dataclasses.replace(small_config, anchors=AnchorConfig(scales=(20.0, 40.0)))
    check(source, config, ("cat", "dog", "hen"), new={"rpn_scores", "rpn_deltas"})


def test_a_layer_of_another_shape_is_new(source, small_config):
    config = dataclasses.replace(small_config, head=dataclasses.replace(small_config.head, fc_units=16))
    check(source, config, ("cat", "dog", "hen"), new={"fc6", "fc7"} | LAST_OF_HEAD)


def test_a_folder_without_a_finished_run_is_refused(tmp_path):
    with pytest.raises(InputError, match=f"^{tmp_path}/model.keras: no such model file; use a run folder"):
        read_detector(str(tmp_path))
    (tmp_path / "model.keras").write_text("weights")
    with pytest.raises(InputError, match="model.keras: not a readable detector"):
        read_detector(str(tmp_path))
    with zipfile.ZipFile(tmp_path / "model.keras", "w") as archive:
        archive.writestr("config.json", '{"config": {"units": 3}}')
    with pytest.raises(InputError, match="model.keras: not a readable detector .*config"):
        read_detector(str(tmp_path))
    with zipfile.ZipFile(tmp_path / "model.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", " " * 10**8)
    with pytest.raises(InputError, match="model.keras: not a readable detector .config.json unpacks to 100000000"):
        read_detector(str(tmp_path))


def test_an_encrypted_archive_is_refused(source, tmp_path):
    content = bytearray((source[0] / "model.keras").read_bytes())
    at = -1
    while (at := content.find(b"PK\1\2", at + 1)) >= 0:
        content[at + 8] |= 1  # the flag in the directory
    (tmp_path / "model.keras").write_bytes(content)
    with pytest.raises(InputError, match="model.keras: not a readable detector .damaged archive: .*encrypted"):
        read_detector(str(tmp_path))


def test_a_layer_with_another_bias_is_new(source, small_config):
    trained = read_detector(str(source[0]))
    kernel, bias = trained.layers["fc6"]
    changed = trained._replace(layers=trained.layers | {"fc6": (kernel, bias[:-1])})
    model = FasterRCNN(small_config, ("cat", "dog", "hen"), seed=7)
    assert new_layers(model, changed) == {"fc6": "another shape"}
    warm_start(model, changed)  # copies the rest
