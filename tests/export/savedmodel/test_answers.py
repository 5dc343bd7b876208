"""What the SavedModel answers: in a bare process, in TensorFlow's convention, by the configuration's thresholds."""

import dataclasses
import pickle
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from export.savedmodel.signatures import make_signatures
from export.shared.parity import PictureDetections
from export.shared.pictures import synthetic_images
from export.shared.reference import reference_detections, reference_proposals
from keras_frcnn.api.exports.answers import DETECTION_OUTPUTS
from keras_frcnn.network.model import FasterRCNN

BARE = """
import pickle, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("keras_frcnn", "training", "export", "keras", "tf_keras"):
            raise ImportError(f"{name} is not to be imported")

import pytest
import tensorflow as tf
for name in [name for name in sys.modules if name.split(".")[0] in ("keras", "keras_frcnn", "export", "training")]:
    del sys.modules[name]
sys.meta_path.insert(0, Blocked())
loaded = tf.saved_model.load(sys.argv[1])
requests = pickle.load(open(sys.argv[2], "rb"))
answers = []
for signature, name, value in requests:
    outputs = loaded.signatures[signature](**{name: tf.constant(value)})
    answers.append({key: output.numpy() for key, output in outputs.items()})
answers.append([name for name in sys.modules if name.split(".")[0] in ("keras", "keras_frcnn", "export", "training")])
pickle.dump(answers, open(sys.argv[3], "wb"))
"""


def png(image):
    return tf.io.encode_png(image).numpy()


@pytest.mark.slow
def test_in_a_bare_process_all_signatures_answer_as_the_keras_model(detector, exported, rows, assert_parity, tmp_path):
    model, _ = detector
    same = synthetic_images(3, (64, 96))
    others = [*synthetic_images(1, (60, 90)), *synthetic_images(1, (150, 40)), *synthetic_images(1, (32, 200))]
    requests = [
        ("serving_default", "images", np.stack(same)),
        *(("serving_default", "images", image[None]) for image in same),
        ("image_bytes", "image_bytes", [png(image) for image in others]),
        *(("image_bytes", "image_bytes", [png(image)]) for image in others),
        ("proposals", "images", np.stack(same)),
    ]
    (tmp_path / "requests").write_bytes(pickle.dumps(requests))
    command = [sys.executable, "-I", "-c", BARE, exported[0], tmp_path / "requests", tmp_path / "answers"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    *answers, imported = pickle.loads((tmp_path / "answers").read_bytes())
    assert imported == []
    batch, singles, files, single_files, proposals = answers[0], answers[1:4], answers[4], answers[5:8], answers[8]

    reference = reference_detections(model, same)
    scores = np.concatenate([scores for *_, scores in reference])
    assert np.ptp(scores) > 0.5  # otherwise wrong scores would be close, too
    assert_parity(model, reference, [rows(batch, row) for row in range(3)])
    assert_parity(model, reference_detections(model, others), [rows(files, row) for row in range(3)])
    assert files["image_errors"].tolist() == [b""] * 3
    for together, alone in ((batch, singles), (files, single_files)):
        for row, single in enumerate(alone):
            for name in DETECTION_OUTPUTS:
                np.testing.assert_allclose(together[name][row], single[name][0], rtol=1e-4, atol=1e-5, err_msg=name)

    counts = proposals["num_proposals"].astype(int)
    found = [
        PictureDetections(
            proposals["proposal_boxes"][row, :count], np.zeros(count), proposals["proposal_scores"][row, :count]
        )
        for row, count in enumerate(counts)
    ]
    all_rows = dataclasses.replace(model.config.test, score_threshold=0.0, max_detections=40)
    assert_parity(model, reference_proposals(model, same), found, all_rows)


def test_outputs_follow_tensorflows_convention(loaded):
    image = synthetic_images(1, (96, 128))[0]
    outputs = {name: value.numpy() for name, value in loaded.signatures["serving_default"](images=image[None]).items()}
    assert {name: value.shape for name, value in outputs.items()} == {
        "detection_boxes": (1, 20, 4), "detection_classes": (1, 20), "detection_scores": (1, 20), "num_detections": (1,)
    }  # fmt: skip
    assert {value.dtype for value in outputs.values()} == {np.dtype(np.float32)}
    count = int(outputs["num_detections"][0])
    boxes, classes, scores = (outputs[name][0] for name in DETECTION_OUTPUTS[:3])
    assert 0 < count and (boxes >= 0).all() and (boxes <= 1).all()
    assert (boxes[:count, 2:] > boxes[:count, :2]).all() and set(classes[:count]) <= {1.0, 2.0, 3.0}
    assert (np.diff(scores[:count]) <= 0).all() and (scores[:count] > 0.05).all()


def test_thresholds_and_rows_are_the_configurations_and_the_rest_is_zero(detector, rows, assert_parity):
    model, _ = detector
    test = dataclasses.replace(model.config.test, score_threshold=0.6, nms_iou=0.1, max_detections=15)
    strict = FasterRCNN(dataclasses.replace(model.config, test=test), model.class_names)
    strict.set_weights(model.get_weights())
    image = synthetic_images(1, (96, 128))[0]
    outputs = make_signatures(strict, strict.head)["serving_default"](images=image[None])
    count = int(outputs["num_detections"][0])
    assert 0 < count < 15 and outputs["detection_boxes"].shape == (1, 15, 4)
    assert (outputs["detection_scores"][0, :count].numpy() > 0.6).all()
    for name in DETECTION_OUTPUTS[:3]:
        assert not outputs[name][0, count:].numpy().any() and outputs[name][0, :count].numpy().any()
    assert_parity(strict, reference_detections(strict, [image]), [rows(outputs)], least=count)
