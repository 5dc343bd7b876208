"""The evaluation of a finished detector on any data set."""

import dataclasses
import pathlib
import tempfile

from keras_frcnn.api.model_file import load_model
from keras_frcnn.data.pipeline import naming_undecodable
from keras_frcnn.data.sources.loading import describe_problems, load_dataset
from keras_frcnn.data.sources.spec import DataSpec
from keras_frcnn.evaluation.detections_record import write_voc_results
from keras_frcnn.evaluation.error_analysis.analysis import error_analysis
from keras_frcnn.evaluation.error_analysis.labels import Thresholds
from keras_frcnn.evaluation.error_analysis.tables import errors_to_json, format_error_analysis
from keras_frcnn.evaluation.recall import COUNTS
from keras_frcnn.evaluation.tables import ap_to_json, format_ap_table, format_recall_table, recall_to_json
from keras_frcnn.evaluation.voc_ap import evaluate_voc
from keras_frcnn.facts.files import write_json
from keras_frcnn.network.forward import detection_counts
from training.reporting.detection_pictures import write_pictures
from training.reporting.error_page import write_error_page
from training.stores.detections import detect_dataset
from training.stores.proposals import load_proposals, measure_recall, store_proposals

PICTURES = 12  # images that are drawn


def evaluate(model_path: str, spec: DataSpec, split: str, iou_threshold: float, out: str | None) -> None:
    """Print AP, recall and errors of a detector; with `out`, also write them and pictures to that folder.

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
        classified = load_proposals(proposals, dataset, detection_counts(model.config).after_nms)
    ap = evaluate_voc(dataset.examples, detections, dataset.class_names, iou_threshold)
    print(format_ap_table(ap))
    print(format_recall_table(recall))
    thresholds = Thresholds(foreground=iou_threshold, suppression=model.config.test.nms_iou)
    errors = error_analysis(dataset.examples, detections, dataset.class_names, classified, thresholds)
    print(format_error_analysis(errors))

    if out is not None:
        folder = pathlib.Path(out)
        values = {"ap": ap_to_json(ap), "recall": recall_to_json(recall), "errors": errors_to_json(errors)}
        write_json(folder / "evaluation.json", values)
        write_voc_results(folder / "voc_results", detections, dataset.class_names)
        write_pictures(dataset, detections, folder / "pictures", PICTURES)
        write_error_page(folder, dataset, errors)
        print(f"written to {folder}")
