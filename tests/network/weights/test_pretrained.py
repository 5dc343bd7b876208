"""A detector that starts from VGG16: which sources there are, and which layers they fill."""

import numpy as np
import pytest

from keras_frcnn.facts.errors import InputError
from keras_frcnn.network.weights.pretrained import PretrainedVGG16, apply_pretrained, load_pretrained


def random_layers(model, fc1_rows=7 * 7 * 512, units=32):
    rng = np.random.default_rng(0)
    shapes = {layer.name: layer.kernel.shape for layer in model.backbone.convolutions}
    shapes |= {"fc1": (fc1_rows, units), "fc2": (units, units)}
    return {
        name: (rng.normal(size=shape).astype(np.float32), rng.normal(size=shape[-1]).astype(np.float32))
        for name, shape in shapes.items()
    }


def test_none_asks_for_random_weights():
    assert load_pretrained("none") is None


@pytest.mark.parametrize("source", ["image-net", "", "weights.ckpt", "folder/", "NONE"])
def test_the_error_for_an_unknown_source_lists_all_sources(source):
    with pytest.raises(InputError, match=r"`imagenet`, `imagenet-full`, `torchvision`, `none`.*\.h5, \.npz or \.keras"):
        load_pretrained(source)


def test_pretrained_weights_fill_the_backbone_fc6_and_fc7(make_model):
    model = make_model()
    others = [value.copy() for value in model.rpn.get_weights() + model.head.class_logits.get_weights()]
    layers = random_layers(model)
    apply_pretrained(model, PretrainedVGG16(layers, "file.h5"))
    pairs = [(layer, layer.name) for layer in model.backbone.convolutions]
    for layer, name in [*pairs, (model.head.fc6, "fc1"), (model.head.fc7, "fc2")]:
        for a, b in zip(layer.get_weights(), layers[name], strict=True):
            np.testing.assert_array_equal(a, b, err_msg=name)
    for a, b in zip(model.rpn.get_weights() + model.head.class_logits.get_weights(), others, strict=True):
        np.testing.assert_array_equal(a, b)


def test_pretrained_weights_without_fc_leave_the_head(make_model):
    model = make_model()
    layers = {name: value for name, value in random_layers(model).items() if name.startswith("block")}
    before = model.head.get_weights()
    apply_pretrained(model, PretrainedVGG16(layers, "file.h5"))
    for a, b in zip(model.head.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_fc_layers_of_another_size_are_refused(make_model):
    model = make_model()
    pretrained = PretrainedVGG16(random_layers(model, units=64), "file.h5")
    message = (
        r"^--weights file.h5, layer fc1: shape \(25088, 64\) does not match \(25088, 32\) of the detector's fc6; "
        "leave --fc-units at 4096"
    )
    with pytest.raises(InputError, match=message):
        apply_pretrained(model, pretrained)
