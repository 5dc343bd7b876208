"""The evaluation of a finished detector on any data set."""

import dataclasses
import pathlib
import tempfile

from keras_frcnn.api.model_file import load_model
from keras_frcnn.data.pipeline import naming_undecodable
from keras_frcnn.data.sources.loading import describe_problems, load_dataset
from keras_frcnn.data.sources.spec import DataSpec
from keras_frcnn.evaluation.detections_record import write_voc_results
from keras_frcnn.evaluation.recall import COUNTS
from keras_frcnn.evaluation.tables import ap_to_json, format_ap_table, format_recall_table, recall_to_json
from keras_frcnn.evaluation.voc_ap import evaluate_voc
from keras_frcnn.facts.files import write_json
from keras_frcnn.network.forward import detection_counts
from training.reporting.detection_pictures import write_pictures
from training.stores.detections import detect_dataset
from training.stores.proposals import measure_recall, store_proposals

PICTURES = 12  # images that are drawn


def evaluate(model_path: str, spec: DataSpec, split: str, iou_threshold: float, out: str | None) -> None:
    """Print AP and recall of a detector; with `out`, also write them and pictures to that folder.

    The arguments are those of the command line `training.evaluate`.  Raises InputError.
    """
    model = load_model(model_path)
    dataset = load_dataset(dataclasses.replace(spec, class_names=model.class_names), split, model.config.image.exif)
    for line in describe_problems(dataset):
        print(line)

    with tempfile.TemporaryDirectory() as directory, naming_undecodable(dataset):
        detections = detect_dataset(model, dataset, pathlib.Path(directory) / "detections", "detections")
        proposals = pathlib.Path(directory) / "proposals"
        counts = detection_counts(model.config)._replace(after_nms=max(COUNTS))
        store_proposals(model, dataset, proposals, counts, "proposals")
        recall = measure_recall(proposals, dataset)
    ap = evaluate_voc(dataset.examples, detections, dataset.class_names, iou_threshold)
    print(format_ap_table(ap))
    print(format_recall_table(recall))

    if out is not None:
        folder = pathlib.Path(out)
        write_json(folder / "evaluation.json", {"ap": ap_to_json(ap), "recall": recall_to_json(recall)})
        write_voc_results(folder / "voc_results", detections, dataset.class_names)
        write_pictures(dataset, detections, folder / "pictures", PICTURES)
        print(f"written to {folder}")
