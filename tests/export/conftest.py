"""Shared by the tests of export: a server, models that answer as an export does, and a small detector."""

import importlib.util
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def serving_server():
    """The module serving_server.py, loaded by its path because tests are not a package."""
    spec = importlib.util.spec_from_file_location("serving_server", Path(__file__).with_name("serving_server.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def write_fake_model():
    """Build a version of a model with the signatures of an export.  Its answers are known by hand.

    A picture is readable if its bytes begin like a PNG.  It has two detections, padded to `rows`: class 2 in
    [0.1, 0.2, 0.5, 0.6], scored 0.5 + its number of bytes modulo 256 / 1024, then class 1 in [0.25, 0.5, 0.75, 1],
    scored `second_score`.  The bytes "refuse" cause an InvalidArgument for the whole request.
    """
    import tensorflow as tf

    def write(folder, *, second_score=0.25, rows=3, signature="image_bytes"):
        class Fake(tf.Module):
            @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
            def image_bytes(self, image_bytes):
                tf.debugging.assert_equal(tf.reduce_any(image_bytes == b"refuse"), False, "refused as asked")
                fine = tf.strings.substr(tf.strings.join([image_bytes, "...."]), 1, 3) == b"PNG"
                count = tf.shape(image_bytes)[0]
                first = 0.5 + tf.cast(tf.strings.length(image_bytes) % 256, tf.float32) / 1024
                padding = tf.zeros([count, rows - 2])
                boxes = tf.constant([[0.1, 0.2, 0.5, 0.6], [0.25, 0.5, 0.75, 1.0]])
                shown = tf.cast(fine, tf.float32)
                classes = tf.tile(tf.constant([[2.0, 1.0]]), [count, 1])
                scores = tf.stack([first, tf.fill([count], second_score)], axis=1)
                return {
                    "detection_boxes": tf.pad(tf.tile(boxes[None], [count, 1, 1]), [[0, 0], [0, rows - 2], [0, 0]])
                    * shown[:, None, None],
                    "detection_classes": tf.concat([classes, padding], axis=1) * shown[:, None],
                    "detection_scores": tf.concat([scores, padding], axis=1) * shown[:, None],
                    "num_detections": 2 * shown,
                    "image_errors": tf.where(fine, "", "no PNG"),
                }

            @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8, name="images")])
            def serve(self, images):
                return {"num_detections": tf.reduce_sum(tf.cast(images, tf.float32), axis=[1, 2, 3])}

        fake = Fake()
        tf.saved_model.save(fake, str(folder), signatures={"serving_default": fake.serve, signature: fake.image_bytes})
        return folder

    return write


@pytest.fixture(scope="session")
def fake_models(write_fake_model, tmp_path_factory):
    """Models to serve, name -> folder of versions: `detector` (1 and 2), and `other`, which is not a detector."""
    base = tmp_path_factory.mktemp("models")
    write_fake_model(base / "detector" / "1", second_score=0.125)
    write_fake_model(base / "detector" / "2")
    write_fake_model(base / "other" / "1", signature="something")
    return {name: base / name for name in ("detector", "other")}


@pytest.fixture(scope="session")
def _serving(serving_server, fake_models):
    with serving_server.ServingServer(fake_models, labels={"stable": 1, "canary": 2}) as server:
        yield server


@pytest.fixture
def serving(_serving):
    """The server of `fake_models`, with no failures pending and its counts at zero."""
    _serving.fail(0)
    _serving.batches, _serving.tries = [], 0
    yield _serving
    _serving.settle()


@pytest.fixture(scope="session")
def make_confident_model(make_model):
    """Build a small detector with scores from 0.1 to 1 and moved boxes, so that tests see differences."""

    def make(**options):
        model = make_model(seed=4, **options)
        for layer, factor in ((model.head.class_logits, 300.0), (model.head.box_deltas, 6000.0)):
            layer.kernel.assign(layer.kernel * factor)
        return model

    return make


@pytest.fixture(scope="session")
def dogs(tmp_path_factory):
    """A VOC tree of two pictures with a dog each: the small detector has other classes than the drawn scenes."""
    from PIL import Image

    from export.shared.pictures import synthetic_images

    tree = tmp_path_factory.mktemp("dogs")
    for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (tree / name).mkdir(parents=True)
    for index, image in enumerate(synthetic_images(2, (64, 96))):
        Image.fromarray(image).save(tree / "JPEGImages" / f"{index}.jpg")
        (tree / "Annotations" / f"{index}.xml").write_text(
            f"<annotation><filename>{index}.jpg</filename><size><width>96</width><height>64</height><depth>3</depth>"
            "</size><object><name>dog</name><bndbox><xmin>10</xmin><ymin>10</ymin><xmax>50</xmax><ymax>50</ymax>"
            "</bndbox></object></annotation>"
        )
    (tree / "ImageSets" / "Main" / "test.txt").write_text("0\n1\n")
    return tree
