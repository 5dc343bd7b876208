"""Small data sets, detections and TensorBoard files for the tests of the report."""

import cv2
import numpy as np
import pytest

CAT, DOG = 1, 2
CLASS_NAMES = ('<b>&"cat"', "dog", "hen's")  # names that need escaping
GREY = 90
LEFT, RIGHT = (10, 10, 40, 40), (10, 50, 40, 70)  # two places of objects


@pytest.fixture(scope="session")
def make_example():
    """Build a grey image with objects (box, class, difficult); it is written if there is a folder for it."""
    from keras_frcnn.data.example import Example

    def make(image_id, objects=(), folder="", size=(60, 80)):
        boxes, classes, difficult = zip(*objects, strict=True) if objects else ((), (), ())
        path = f"{folder}/{image_id.replace('/', '_')}.png"
        if folder:
            assert cv2.imwrite(path, np.full((*size, 3), GREY, np.uint8))
        boxes = np.array(boxes, np.float32).reshape(-1, 4)
        return Example(image_id, path, *size, boxes, np.array(classes, np.int32), np.array(difficult, bool))

    return make


@pytest.fixture(scope="session")
def make_record():
    """Build a record of detections (box, class, score)."""
    from keras_frcnn.evaluation.detections.record import ImageDetections

    def make(image_id, found=()):
        boxes, classes, scores = zip(*found, strict=True) if found else ((), (), ())
        boxes = np.array(boxes, np.float32).reshape(-1, 4)
        return ImageDetections(image_id, boxes, np.array(classes, np.int32), np.array(scores, np.float32))

    return make


@pytest.fixture(scope="session")
def four_pictures(make_example, make_record):
    """Build a data set and its detections: the F1 of a, b and c is 1, 2/3 and 0, and d has nothing to count."""
    from keras_frcnn.data.example import Dataset

    def make(folder=""):
        examples = (
            make_example("c", [(LEFT, CAT, True), (RIGHT, DOG, False)], folder),
            make_example("2007/<a>", [(LEFT, CAT, False), (RIGHT, DOG, False)], folder),
            make_example("d", [], folder),
            make_example("b", [(LEFT, CAT, False)], folder),
        )
        detections = [
            make_record("c", [(LEFT, CAT, 0.9)]),  # on a difficult object
            make_record("2007/<a>", [(LEFT, CAT, 0.9), (RIGHT, DOG, 0.8)]),
            make_record("d"),
            make_record("b", [(LEFT, CAT, 0.9), (LEFT, CAT, 0.8), (RIGHT, DOG, 0.4)]),
        ]
        return Dataset("pictures & co, val", CLASS_NAMES, examples, {}), detections

    return make


@pytest.fixture(scope="session")
def write_events():
    """Write a TensorBoard file of (seconds since 1970, iteration, {tag: value})."""
    import tensorflow as tf
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.util.tensor_util import make_tensor_proto

    def write(path, records):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tf.io.TFRecordWriter(str(path)) as writer:
            for seconds, iteration, values in records:
                summary = Summary()
                for tag, value in values.items():
                    summary.value.add(tag=tag).tensor.CopyFrom(make_tensor_proto(np.float32(value)))
                writer.write(Event(wall_time=seconds, step=iteration, summary=summary).SerializeToString())

    return write


@pytest.fixture(scope="session")
def make_run():
    """Write a run folder without logs; returns the arguments of `write_report`.

    The proposals are the left parts of the true boxes and overlap them with an IoU of 0.52.
    """
    from keras_frcnn.evaluation.metrics.recall import proposal_recall
    from keras_frcnn.evaluation.metrics.voc_ap import evaluate_voc
    from keras_frcnn.evaluation.results.tables import ap_to_json, recall_to_json
    from keras_frcnn.facts.files import write_json
    from training.reporting.summary import read_result

    def left_part(boxes):
        widths = boxes[:, 3] - boxes[:, 1]
        return np.stack([boxes[:, 0], boxes[:, 1], boxes[:, 2], boxes[:, 1] + 0.52 * widths], axis=1)

    def make(folder, dataset, detections, validation=None):
        options = {"data": "voc:<pictures>", "train": "train", "val": "val", "iterations": [3, 3], "weights": None}
        write_json(folder / "config.json", {"options": options, "detector": {"anchors": {"scales": [32.0]}}})
        ap = evaluate_voc(dataset.examples, detections, dataset.class_names)
        proposals = {example.image_id: left_part(example.boxes) for example in dataset.examples}
        recall = recall_to_json(proposal_recall(dataset.examples, proposals, dataset.class_names))
        training = {
            "iterations": 30,
            "images": 60,
            "minutes": 1.25,
            **({"validation": validation} if validation else {}),
        }
        shared = {"training": training, "table": ""}
        results = [
            {"name": "step1", "title": "step 1 RPN", "recall": recall, **shared},
            {"name": "step2", "title": "step 2 <detector>", "ap": ap_to_json(ap), **shared},
        ]
        return folder, [read_result(result) for result in results], dataset, detections, ap

    return make


@pytest.fixture(scope="session")
def report(tmp_path_factory, four_pictures, make_run):
    """The path of a whole report, its curves written by tf.summary, as the training loop does."""
    import tensorflow as tf

    from training.reporting.report import write_report

    folder = tmp_path_factory.mktemp("run & co")
    pictures = tmp_path_factory.mktemp("pictures")
    with tf.summary.create_file_writer(str(folder / "logs" / "step1")).as_default():
        for iteration in (10, 20, 30):
            tags = ("losses/rpn_class", "losses/loss", "learning_rate", "images_per_second", "gradient_norm")
            for tag in (*tags, "data_wait_share", "steps_per_second"):
                tf.summary.scalar(tag, 1.0 / iteration, step=iteration)
    path = write_report(*make_run(folder, *four_pictures(pictures)))
    assert path == folder / "report.html"
    assert sorted(entry.name for entry in folder.iterdir()) == ["config.json", "logs", "report.html"]
    return path
