"""The detector as a whole: its backbone is VGG16's, a batch changes nothing, a saved model is the same elsewhere."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_frcnn.geometry.anchors import tile_anchors
from keras_frcnn.network.forward import detect, detection_counts, propose
from keras_frcnn.network.weights.vgg16 import CONV_KERNEL_SHAPES

ROOT = Path(__file__).resolve().parents[2]


def random_images(*sizes, seed=0):
    """Normalised images of the given sizes, zero-padded to the largest: (images, sizes)."""
    rng = np.random.default_rng(seed)
    height, width = np.max(sizes, axis=0)
    images = np.zeros((len(sizes), height, width, 3), np.float32)
    for row, (h, w) in enumerate(sizes):
        images[row, :h, :w] = rng.normal(0.0, 60.0, (h, w, 3))
    return images, np.array(sizes, np.int32)


def assert_same_detections(a, b, **tolerance):
    """Both Detections or Proposals; something must have been found."""
    valid = np.asarray(a.valid)
    assert valid.any(axis=-1).all()
    for name in a._fields:
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), err_msg=name, **tolerance)


# The backbone.


def test_backbone_has_the_names_and_shapes_of_vgg16(model):
    expected = {
        "block1_conv1": (3, 64), "block1_conv2": (64, 64),
        "block2_conv1": (64, 128), "block2_conv2": (128, 128),
        "block3_conv1": (128, 256), "block3_conv2": (256, 256), "block3_conv3": (256, 256),
        "block4_conv1": (256, 512), "block4_conv2": (512, 512), "block4_conv3": (512, 512),
        "block5_conv1": (512, 512), "block5_conv2": (512, 512), "block5_conv3": (512, 512),
    }  # fmt: skip
    convolutions = model.backbone.convolutions
    assert {layer.name: tuple(layer.kernel.shape) for layer in convolutions} == {
        name: (3, 3, *channels) for name, channels in expected.items()
    }
    assert [layer.name for layer in convolutions] == list(expected) == list(CONV_KERNEL_SHAPES)
    assert all(layer.bias.shape == (expected[layer.name][1],) for layer in convolutions)


def test_the_first_two_blocks_are_never_trained(model):
    trainable = {variable.path.split("/")[-2] for variable in model.backbone.trainable_variables}
    frozen = {variable.path.split("/")[-2] for variable in model.backbone.non_trainable_variables}
    assert frozen == {"block1_conv1", "block1_conv2", "block2_conv1", "block2_conv2"}
    assert trainable == set(CONV_KERNEL_SHAPES) - frozen


def test_features_are_those_of_keras_vgg16(model):
    reference = keras.applications.VGG16(include_top=False, weights=None, input_shape=(None, None, 3))
    for layer in model.backbone.convolutions:
        reference.get_layer(layer.name).set_weights(layer.get_weights())
    reference = keras.Model(reference.input, reference.get_layer("block5_conv3").output)
    images, sizes = random_images((70, 101))
    expected = reference(images).numpy()
    assert expected.shape == (1, 4, 6, 512) and expected.std() > 0
    for image_sizes in (None, sizes):
        features = model.backbone(images, image_sizes)
        np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-4 * expected.max())


def test_the_rpn_moves_with_the_image(model):
    # 16 pixels are one cell.  A cell sees 228 pixels (196 of conv5_3, 2 x 16 of the RPN): 8 cells from the border it
    # sees no padding, and the 20 cells of 320 pixels leave 4.
    whole, _ = random_images((336, 336), seed=1)
    outputs, anchors = {}, {}
    for y, x in ((0, 0), (16, 0), (0, 16)):
        features = model.backbone(whole[:, y : y + 320, x : x + 320])
        output = model.rpn(features)
        outputs[y, x] = [np.reshape(field, (20, 20, 6, -1)) for field in output]
        anchors[y, x] = np.reshape(tile_anchors((16.0, 32.0), (0.5, 1.0, 2.0), 20, 20, 16), (20, 20, 6, 4))
    for field in range(2):
        still, down, right = (outputs[shift][field] for shift in ((0, 0), (16, 0), (0, 16)))
        scale = np.abs(still[8:12, 8:12]).max()
        assert np.ptp(still[8:12, 8:12], axis=(0, 1)).min() > 1e-2 * scale  # neighbouring cells do differ
        np.testing.assert_allclose(down[8:11, 8:12], still[9:12, 8:12], rtol=1e-4, atol=1e-4 * scale)
        np.testing.assert_allclose(right[8:12, 8:11], still[8:12, 9:12], rtol=1e-4, atol=1e-4 * scale)
    np.testing.assert_allclose(anchors[0, 0][9], anchors[0, 0][8] + (16, 0, 16, 0), atol=1e-4)


# A batch.


@pytest.fixture(scope="module")
def pair():
    return random_images((64, 101), (93, 80), seed=2)


def test_an_image_has_the_same_detections_alone_and_in_a_batch(model, pair):
    images, sizes = pair
    together = model((images, sizes))
    for row, (height, width) in enumerate(sizes):
        alone = model((images[row : row + 1, :height, :width], sizes[row : row + 1]))
        assert_same_detections(
            alone, type(together)(*(field[row : row + 1] for field in together)), rtol=1e-4, atol=1e-3
        )
        boxes = alone.boxes.numpy()
        assert (boxes >= 0).all() and (boxes <= np.tile(sizes[row], 2)).all()


def test_what_stands_in_the_padding_is_never_seen(model, pair):
    images, sizes = pair
    garbage = images + 1e3 * np.random.default_rng(0).normal(size=images.shape).astype(np.float32)
    for row, (height, width) in enumerate(sizes):
        garbage[row, :height, :width] = images[row, :height, :width]
    assert (garbage != images).any(axis=(1, 2, 3)).all()
    assert_same_detections(model((images, sizes)), model((garbage, sizes)), rtol=0, atol=0)


# One network.


def test_rpn_and_head_read_one_backbone(model):
    features = model.get_layer("backbone").output
    assert model.get_layer("rpn").input is features
    assert model.get_layer("roi_pooling").input[0] is features
    assert len(model.variables) == 2 * (13 + 3 + 4) == len({id(variable) for variable in model.variables})


def test_the_graph_is_propose_classify_detect_in_a_row(model, pair):
    images, sizes = pair
    features = model.backbone(images, sizes)
    proposals = propose(model.parts, features, sizes, detection_counts(model.config))
    assert proposals.boxes.shape == (2, 40, 4)
    found = detect(model.parts, features, sizes, proposals)
    assert_same_detections(found, model((images, sizes)), rtol=1e-6, atol=1e-5)
    assert_same_detections(found, detect(model.parts, features, sizes), rtol=1e-6, atol=1e-5)


def test_half_precision_gives_float32_boxes(make_model, pair):
    half = make_model(dtype="mixed_bfloat16")
    features = half.backbone(*pair)
    assert features.dtype == tf.bfloat16
    assert all(variable.dtype == "float32" for variable in half.variables)
    assert [field.dtype for field in half.rpn(features)] == [tf.float32] * 2
    detections = half(pair)
    assert detections.boxes.dtype == detections.scores.dtype == tf.float32
    assert detections.valid.numpy().any(axis=-1).all()
    assert np.isfinite(detections.boxes).all() and np.isfinite(detections.scores).all()


# Dropout.


@pytest.fixture(scope="module")
def pooled():
    return tf.constant(np.random.default_rng(0).random((2, 5, 7, 7, 512), np.float32))


def logits(model, pooled, seeds=None):
    return model.head(pooled, None if seeds is None else tf.constant(seeds, tf.int32)).logits.numpy()


def test_dropout_is_off_without_seeds_and_a_function_of_them(model, pooled):
    plain = logits(model, pooled)
    head = model.head
    by_hand = head.class_logits(head.fc7(head.fc6(tf.reshape(pooled, [2, 5, -1]))))
    np.testing.assert_allclose(plain, by_hand, rtol=1e-4, atol=1e-4)
    dropped = logits(model, pooled, [[0, 1], [0, 2]])
    np.testing.assert_array_equal(dropped, logits(model, pooled, [[0, 1], [0, 2]]))
    assert (dropped != plain).all()
    assert (dropped != logits(model, pooled, [[0, 3], [1, 2]])).all()


def test_dropout_of_an_image_does_not_depend_on_its_batch(model, pooled):
    together = logits(model, pooled, [[0, 1], [0, 2]])
    for row, seed in enumerate(([0, 1], [0, 2])):
        alone = logits(model, pooled[row : row + 1], [seed])
        np.testing.assert_allclose(alone, together[row : row + 1], rtol=1e-4, atol=1e-5)


# Saving and loading.

LOAD_ELSEWHERE = """
import sys
import numpy as np
{imports}
model = keras.saving.load_model(sys.argv[1])
inputs = np.load(sys.argv[2])
detections = model((inputs["images"], inputs["sizes"]))
np.savez(sys.argv[3], **{{name: getattr(detections, name) for name in detections._fields}})
import json
print(json.dumps([type(model).__name__, model.get_config()]))
"""


@pytest.fixture(scope="module")
def saved(make_model, tmp_path_factory):
    model = make_model(seed=5)
    path = tmp_path_factory.mktemp("saved") / "model.keras"
    model.save(path)
    return model, path


@pytest.mark.slow
@pytest.mark.parametrize(
    "imports",
    [
        "import keras, keras_frcnn.network.model",
        "import keras_frcnn.network.model, keras",
    ],
)
def test_a_saved_model_is_bitwise_the_same_in_a_new_process(saved, pair, tmp_path, imports):
    model, path = saved
    images, sizes = pair
    np.savez(tmp_path / "inputs.npz", images=images, sizes=sizes)
    done = subprocess.run(
        [sys.executable, "-c", LOAD_ELSEWHERE.format(imports=imports), path, tmp_path / "inputs.npz", tmp_path / "out"],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    name, config = json.loads(done.stdout.splitlines()[-1])
    assert name == "FasterRCNN" and config == json.loads(json.dumps(model.get_config()))
    assert config["class_names"] == ["cat", "dog", "hen"] and config["config"]["head"]["fc_units"] == 32
    expected = model((images, sizes))
    assert expected.valid.numpy().any(axis=-1).all()
    with np.load(tmp_path / "out.npz") as there:
        for field in expected._fields:
            np.testing.assert_array_equal(there[field], getattr(expected, field), err_msg=field)
