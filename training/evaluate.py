"""How good a detector is: VOC average precision of its detections, recall of its proposals.

    python -m training.evaluate --model runs/synthetic --data synthetic --split test

prints both tables and, with --out, writes them as JSON, with pictures and the official VOC result files beside.
"""

import argparse
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keras_frcnn.data.example import Dataset
    from keras_frcnn.evaluation.recall import RecallResult


def detect_dataset(model, dataset, directory, title: str, proposal_directory=None, feature_files=None):
    """Detections of every picture of `dataset`, as ImageDetections in pixels of the stored pictures.

    They are kept in `directory`: what is there already is not computed again.  With `proposal_directory` the regions
    are the proposals stored there, else the model's own.  `feature_files` has backbone features that need not be
    computed again.
    """
    import numpy as np
    import tensorflow as tf

    from keras_frcnn.evaluation.detections_record import ImageDetections
    from training.engine.inference import detect_in_batch
    from training.stores.rows import is_complete, load_rows, row_paths, store_rows

    paths = None if proposal_directory is None else row_paths(proposal_directory, dataset)

    def run(batch):
        detections = detect_in_batch(model, batch, with_stored_proposals=paths is not None)
        classes = tf.cast(detections.classes, tf.float32)
        rows = tf.concat([detections.boxes, classes[..., None], detections.scores[..., None]], axis=-1)
        return rows, detections.valid

    if not is_complete(directory):
        stored = {"proposal_paths": paths, "feature_files": feature_files}
        store_rows(directory, run, dataset, model.config.image, title, **stored)
    return [
        ImageDetections(example.image_id, rows[:, :4], rows[:, 4].astype(np.int32), rows[:, 5])
        for example, rows in zip(dataset.examples, load_rows(directory, dataset), strict=True)
    ]


def measure_recall(directory, dataset: "Dataset") -> "RecallResult":
    """Recall of the proposals stored in `directory` for `dataset`."""
    from keras_frcnn.evaluation.recall import proposal_recall
    from training.stores.rows import load_rows

    stored = zip(dataset.examples, load_rows(directory, dataset), strict=True)
    boxes = {example.image_id: rows[:, :4] for example, rows in stored}
    return proposal_recall(dataset.examples, boxes, dataset.class_names)


def write_pictures(dataset, detections, directory, count: int):
    """Draw the detections of `SHOWN_SCORE` and more on the first `count` pictures; gives the paths written."""
    import pathlib

    import cv2
    import tensorflow as tf

    from keras_frcnn.data.images import decode_image
    from keras_frcnn.api.drawing import SHOWN_SCORE, draw_detections

    directory = pathlib.Path(directory)
    paths = []
    for example, record in list(zip(dataset.examples, detections, strict=True))[:count]:
        image = decode_image(tf.io.read_file(example.image_path)).numpy()
        shown = record.scores >= SHOWN_SCORE
        drawn = draw_detections(
            image, record.boxes[shown], record.classes[shown], record.scores[shown], dataset.class_names
        )
        path = directory / f"{example.image_id.replace('/', '_')}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), drawn[..., ::-1])
        paths.append(path)
    return paths


def parse_arguments(arguments=None):
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluate", description="Measure a trained detector: VOC AP and proposal recall."
    )
    parser.add_argument("--model", required=True, help="a run folder, or a .keras file")
    parser.add_argument("--data", required=True, help="voc:PATH or synthetic[:SEED]")
    parser.add_argument("--split", default="test", help="image sets, joined with +, e.g. VOC2007/test (default: test)")
    parser.add_argument("--iou", type=float, default=0.5, help="IoU that a detection needs (default: 0.5)")
    parser.add_argument("--out", help="a folder for evaluation.json, pictures and official VOC result files")
    parser.add_argument("--strict", action="store_true", help="make annotation faults errors instead of repairing them")
    return parser.parse_args(arguments)


def main(arguments=None):
    options = parse_arguments(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # read by TensorFlow as it is imported: warnings of its own code
    from keras_frcnn.facts.errors import exit_on_input_error

    with exit_on_input_error():
        evaluate(options)


def evaluate(options):
    """Measure and print as `options` say; raises InputError."""
    import pathlib
    import tempfile

    from keras_frcnn.data.pipeline import naming_undecodable
    from keras_frcnn.data.sources.table import describe_problems, load_dataset
    from keras_frcnn.evaluation.detections_record import write_voc_results
    from keras_frcnn.evaluation.recall import COUNTS
    from keras_frcnn.evaluation.tables import ap_to_json, format_ap_table, format_recall_table, recall_to_json
    from keras_frcnn.evaluation.voc_ap import evaluate_voc
    from keras_frcnn.facts.files import write_json
    from keras_frcnn.facts.settings import Limits, check_number
    from keras_frcnn.network.forward import detection_counts
    from keras_frcnn.api.model_file import load_model
    from training.stores.proposals import store_proposals

    check_number(options.iou, Limits(at_least=0, less_than=1), "--iou")
    model = load_model(options.model)
    dataset = load_dataset(options.data, options.split, class_names=model.class_names, strict=options.strict)
    for line in describe_problems(dataset):
        print(line)

    with tempfile.TemporaryDirectory() as directory, naming_undecodable(dataset):
        proposals, found = (pathlib.Path(directory) / name for name in ("proposals", "detections"))
        detections = detect_dataset(model, dataset, found, "detections")
        store_proposals(model, dataset, proposals, detection_counts(model.config)._replace(after_nms=max(COUNTS)), "proposals")
        recall = measure_recall(proposals, dataset)
    result = evaluate_voc(dataset.examples, detections, dataset.class_names, options.iou)
    print(format_ap_table(result))
    print(format_recall_table(recall))

    if options.out:
        out = pathlib.Path(options.out)
        write_json(out / "evaluation.json", {"ap": ap_to_json(result), "recall": recall_to_json(recall)})
        write_voc_results(out / "voc_results", detections, dataset.class_names)
        write_pictures(dataset, detections, out / "pictures", count=12)
        print(f"written to {out}")


if __name__ == "__main__":
    main()
