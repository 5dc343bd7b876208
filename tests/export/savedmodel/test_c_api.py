"""The SavedModel under TensorFlow's C API (`TF_LoadSessionFromSavedModel`), without Python's TensorFlow."""

import io
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import prediction_log_pb2

from export.savedmodel.signatures import save
from export.savedmodel.warmup import PLACE, write_warmup

C_API = Path(__file__).parents[1] / "c_api.py"


@pytest.fixture(scope="module")
def exported(make_confident_model, tmp_path_factory):
    directory = tmp_path_factory.mktemp("served") / "detector" / "1"
    model = make_confident_model()
    save(model, model.head, {}, directory)
    write_warmup(directory, "detector")
    return directory


@pytest.fixture(scope="module")
def warmup_requests(exported):
    """(signature, name -> array or list of bytes) of each record of the warm-up file."""
    requests = []
    for record in tf.data.TFRecordDataset(str(exported / PLACE)).as_numpy_iterator():
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        assert request.model_spec.name == "detector"
        values = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
        values = {name: list(value) if value.dtype == object else value for name, value in values.items()}
        requests.append((request.model_spec.signature_name, values))
    return requests


def tensor_names(directory):
    """signature -> (inputs, outputs), each name -> tensor name."""
    content = saved_model_pb2.SavedModel.FromString((directory / "saved_model.pb").read_bytes())
    return {
        name: tuple({key: info.name for key, info in side.items()} for side in (definition.inputs, definition.outputs))
        for name, definition in content.meta_graphs[0].signature_def.items()
        if not name.startswith("__")
    }


def run_in_c(directory, requests, folder):
    """The answers of c_api.py, in a process that can import neither this project nor TensorFlow."""
    job = {
        "library": tf.sysconfig.get_lib(),
        "directory": str(directory),
        "signatures": tensor_names(directory),
        "requests": requests,
    }
    (folder / "requests").write_bytes(pickle.dumps(job))
    command = [sys.executable, "-I", C_API, folder / "requests", folder / "answers"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    *answers, imported = pickle.loads((folder / "answers").read_bytes())
    assert imported == []
    return answers


def encoded(image, kind):
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def wrong_requests():
    """One batch with bad pictures in it, then requests that are not a batch."""
    good = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 90, 3)).astype(np.uint8)), "PNG")
    return [
        ("image_bytes", {"image_bytes": [good, good[:-2000], b"", b"no picture", good]}),
        ("image_bytes", {"image_bytes": []}),
        ("serving_default", {"images": np.zeros((0, 8, 8, 3), np.uint8)}),
        ("proposals", {"images": np.zeros((2, 8, 0, 3), np.uint8)}),
        ("serving_default", {"images": np.zeros((1, 8, 8, 1), np.uint8)}),
        ("proposals", {"images": np.zeros((1, 8, 8, 4), np.uint8)}),
    ]


@pytest.fixture(scope="module")
def answers(exported, warmup_requests, wrong_requests, tmp_path_factory):
    """(answers to the warm-up requests, answers to the wrong ones), by one process."""
    found = run_in_c(exported, [*warmup_requests, *wrong_requests], tmp_path_factory.mktemp("c"))
    return found[: len(warmup_requests)], found[len(warmup_requests) :]


def test_every_warm_up_request_is_answered_as_by_python(exported, warmup_requests, answers):
    assert [signature for signature, _ in warmup_requests] == [
        "serving_default", "serving_default", "proposals", "proposals", "image_bytes", "image_bytes"
    ]  # fmt: skip
    loaded = tf.saved_model.load(str(exported))
    assert set(loaded.signatures) == {signature for signature, _ in warmup_requests}
    for (signature, values), answer in zip(warmup_requests, answers[0], strict=True):
        expected = loaded.signatures[signature](**{name: tf.constant(value) for name, value in values.items()})
        assert set(answer) == set(expected)
        for name, value in expected.items():
            if name == "image_errors":
                assert answer[name] == list(value.numpy()) == [b""]
            else:
                np.testing.assert_allclose(answer[name], value, rtol=1e-4, atol=1e-5, err_msg=name)
        assert answer["num_proposals" if signature == "proposals" else "num_detections"].min() > 0


def test_what_is_wrong_is_an_answer_or_one_clear_error(answers):
    batch, *errors = answers[1]
    assert batch["image_errors"] == [b"", b"damaged: cannot be decoded", b"no bytes", b"neither JPEG nor PNG", b""]
    assert (batch["num_detections"] > 0).tolist() == [True, False, False, False, True]
    invalid_argument = 3
    problems = "image_bytes is empty", *["images holds no pixels"] * 2, *["Must provide as many biases as the last"] * 2
    for error, words in zip(errors, problems, strict=True):
        assert error.startswith(f"{invalid_argument}: ") and words in error
