"""The EXIF orientation: training, the API, the SavedModel and the client see the same picture and the same boxes."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import keras_frcnn
from export import client
from export.savedmodel.comparison import compare_with_keras
from export.savedmodel.signatures import make_signatures, save
from export.shared.parity import ParityError
from export.shared.pictures import synthetic_images
from export.shared.reference import reference_detections
from keras_frcnn.data.example import Dataset, Example
from keras_frcnn.data.stream.pipeline import evaluation_batches
from keras_frcnn.network.model import FasterRCNN

SIZE = (64, 96)  # of the picture as viewers show it; the small model does not resize it
SQUARE = (10, 60, 26, 80)  # yxyx of a bright square in it
ORIENTATIONS = (2, 3, 6, 7)


@pytest.fixture(scope="module")
def shown():
    """A dark scene with a bright square, (H, W, 3) uint8."""
    pixels = synthetic_images(1, SIZE)[0] // 2
    y0, x0, y1, x1 = SQUARE
    pixels[y0:y1, x0:x1] = 255
    return pixels


@pytest.fixture(scope="module")
def files(shown, stored_turned, tmp_path_factory):
    """PNG files of the picture, stored in different ways, by orientation."""
    folder = tmp_path_factory.mktemp("turned")
    paths = {orientation: folder / f"{orientation}.png" for orientation in ORIENTATIONS}
    for orientation, path in paths.items():
        stored, exif = stored_turned(Image.fromarray(shown), orientation)
        stored.save(path, exif=exif)
    return paths


@pytest.fixture(scope="module")
def with_policy(detector):
    """A function that gives the detector with a policy for the orientation."""

    def make(exif):
        config = dataclasses.replace(detector[0].config, image=dataclasses.replace(detector[0].config.image, exif=exif))
        model = FasterRCNN(config, detector[0].class_names)
        model.set_weights(detector[0].get_weights())
        return model

    return make


@pytest.fixture(scope="module")
def turning(with_policy):
    return with_policy("apply")


@pytest.fixture(scope="module")
def turning_export(turning, tmp_path_factory):
    folder = tmp_path_factory.mktemp("turning") / "detector" / "1"
    save(turning, turning.head, {}, folder)
    return folder


def bright_box(pixels):
    """The smallest box, yxyx, around the white pixels."""
    rows, columns = np.nonzero(np.asarray(pixels).min(axis=-1) > 250)
    return (rows.min(), columns.min(), rows.max() + 1, columns.max() + 1)


@pytest.mark.slow
def test_all_parts_see_the_same_picture_and_find_the_same_boxes(
    turning, turning_export, files, shown, rows, tmp_path, denormalise
):
    assert bright_box(shown) == SQUARE
    expected = keras_frcnn.Detector(turning).detect(shown, score=0)
    assert len(expected) > 5
    sides = np.tile(SIZE, 2)
    image_bytes = tf.saved_model.load(str(turning_export)).signatures["image_bytes"]
    answer = image_bytes(image_bytes=tf.constant([path.read_bytes() for path in files.values()]))
    assert answer["image_errors"].numpy().tolist() == [b""] * len(files)
    assert answer["image_orientations"].numpy().tolist() == list(ORIENTATIONS)
    for row, (orientation, path) in enumerate(files.items()):
        # Training.
        objects = np.float32([SQUARE]), np.int32([1]), np.array([False])
        example = Example("a", str(path), *SIZE, *objects, orientation=orientation)
        (batch,) = evaluation_batches(Dataset("a", ("cat",), (example,), {}), turning.config.image)
        assert bright_box(denormalise(batch.images[0])) == SQUARE
        assert batch.ground_truth.boxes.numpy().tolist() == [[list(SQUARE)]]
        # The API.
        with Image.open(path) as opened:
            for image in (path, opened):
                result = keras_frcnn.Detector(turning).detect(image, score=0)
                assert (result.height, result.width) == SIZE
                np.testing.assert_allclose(result.boxes, expected.boxes, atol=1e-3)
                assert result.draw().tobytes() == expected.draw().tobytes()
        # The SavedModel.
        found = rows(answer, row)
        np.testing.assert_allclose(found.boxes * sides, expected.boxes, atol=0.05)
        # The client.
        received = client.Found(*(value.tolist() for value in found), "", int(answer["image_orientations"][row]))
        received = received._replace(classes=[int(number) for number in received.classes])
        target = tmp_path / f"{orientation}.png"
        line = client.report(str(path), str(target), path.read_bytes(), received, 2.0, None)
        assert (line["height"], line["width"], line["detections"]) == (*SIZE, [])
        np.testing.assert_array_equal(Image.open(target), shown)  # nothing is drawn over it at this score
        line = client.report(str(path), str(target), path.read_bytes(), received, 0.0, None)
        np.testing.assert_allclose([entry["box"] for entry in line["detections"]], expected.boxes, atol=0.05)


def test_the_client_learns_the_orientation_over_both_protocols(
    turning, turning_export, files, serving_server, tmp_path, capsys
):
    expected = keras_frcnn.Detector(turning).detect(files[6], score=0)
    with serving_server.ServingServer({"detector": turning_export.parent}) as server:
        for protocol in ("rest", "grpc"):
            client.main([
                "--server", server.address(protocol), "--protocol", protocol, "--model", "detector", "--score", "0",
                "--out", str(tmp_path), *map(str, files.values()),
            ])  # fmt: skip
            for line in map(json.loads, capsys.readouterr().out.splitlines()):
                assert (line["height"], line["width"]) == SIZE == Image.open(line["picture"]).size[::-1]
                np.testing.assert_allclose([each["box"] for each in line["detections"]], expected.boxes, atol=0.05)


@pytest.mark.parametrize("policy", ["auto", "ignore"])
def test_a_model_without_the_policy_turns_nothing(
    with_policy, files, stored_turned, shown, rows, assert_parity, policy
):
    model = with_policy(policy)
    outputs = make_signatures(model, model.head)["image_bytes"](tf.constant([files[6].read_bytes()]))
    assert outputs["image_orientations"].numpy().tolist() == [1.0]
    stored = np.asarray(stored_turned(Image.fromarray(shown), 6)[0])
    assert_parity(model, reference_detections(model, [stored]), [rows(outputs)], least=5)


@pytest.mark.slow
def test_the_comparison_refuses_another_policy(with_policy):
    images = synthetic_images(2, SIZE)
    for policy, other in (("apply", "ignore"), ("ignore", "apply")):
        model = with_policy(policy)
        compare_with_keras(model, make_signatures(model, model.head), images, "float32")
        wrong = with_policy(other)
        with pytest.raises(ParityError):
            compare_with_keras(model, make_signatures(wrong, wrong.head), images, "float32")


def test_bad_pictures_are_refused_as_before(turning, files):
    good = files[6].read_bytes()
    contents = [good, good[:60], b"", b"\xff\xd8\xff\xe1\xff\xffExif\0\0II*\0" + b"\xff" * 40, good]
    outputs = make_signatures(turning, turning.head)["image_bytes"](tf.constant(contents))
    assert outputs["image_errors"].numpy().tolist() == [
        b"", b"damaged: cannot be decoded", b"no bytes", b"damaged: cannot be decoded", b""
    ]  # fmt: skip
    assert outputs["image_orientations"].numpy().tolist() == [6, 1, 1, 1, 6]


BARE = """
import sys
import tensorflow as tf
image_bytes = tf.saved_model.load(sys.argv[1]).signatures["image_bytes"]
print(image_bytes(image_bytes=tf.constant([open(sys.argv[2], "rb").read()]))["image_orientations"].numpy().tolist())
"""


@pytest.mark.slow
def test_a_process_without_this_project_turns_pictures(turning_export, files, tmp_path):
    command = [sys.executable, "-I", "-c", BARE, turning_export, files[7]]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip() == "[7.0]"
