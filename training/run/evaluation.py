"""The evaluation of a finished detector, or of the detections of any tool, on any data set."""

import dataclasses
import pathlib
import tempfile
from typing import NamedTuple

import numpy as np

from keras_frcnn.api.model_file import load_model
from keras_frcnn.data.example import Dataset
from keras_frcnn.data.sources.loading import describe_problems, load_dataset
from keras_frcnn.data.stream.pipeline import naming_undecodable
from keras_frcnn.evaluation.detections.coco_results import (
    COCOIds,
    annotation_ids,
    own_ids,
    read_detections,
    write_coco_results,
)
from keras_frcnn.evaluation.detections.record import ImageDetections, write_voc_results
from keras_frcnn.evaluation.error_analysis.analysis import ErrorAnalysis, error_analysis
from keras_frcnn.evaluation.error_analysis.labels import Thresholds
from keras_frcnn.evaluation.error_analysis.tables import errors_to_json, format_error_analysis
from keras_frcnn.evaluation.metrics.recall import RecallResult
from keras_frcnn.evaluation.results.measurement import Measurement, measure
from keras_frcnn.evaluation.results.measurement_tables import format_measurement, measurement_to_json
from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.files import make_writable, write_json
from keras_frcnn.network.forward import detection_counts
from training.reporting.detection_pictures import write_pictures
from training.reporting.error_page import write_error_page
from training.run.data.splits import divided_data
from training.run.options.evaluation import EvaluationOptions
from training.run.stores.detections import detect_dataset
from training.run.stores.proposals import load_proposals, measure_recall, measured_counts, store_proposals

_LEAST_BACKGROUND = 1e-6  # with --iou 0, where a detection without any overlap lies on the background


class _Found(NamedTuple):
    """What is evaluated."""

    dataset: Dataset
    ids: COCOIds
    detections: list[ImageDetections]  # one record for each image, in the order of the data set
    recall: RecallResult | None = None  # None without a model
    proposals: dict[str, np.ndarray] | None = None  # image id -> (P, 4) boxes that the model classified
    suppression: float = Thresholds().suppression  # IoU of the model's non-maximum suppression


def evaluate(options: EvaluationOptions) -> None:
    """Print the figures and errors of a detector; with `options.out`, also write them, the detections and pictures.

    Raises InputError.
    """
    if options.out is not None:
        make_writable(options.out, f"--out {options.out}", "give a folder that you can write to")
    found = _read_detections(options) if options.model is None else _detect(options, options.model)
    dataset, detections = found.dataset, found.detections
    measurement = measure(dataset, detections, found.recall, options.metric, options.iou, options.resamples)
    print(format_measurement(measurement))
    thresholds = _thresholds(options.iou, found.suppression)
    errors = error_analysis(dataset.examples, detections, dataset.class_names, found.proposals, thresholds)
    print(format_error_analysis(errors))
    if options.out is not None:
        _write(pathlib.Path(options.out), found, measurement, errors)
        print(f"written to {options.out}")


def _thresholds(iou: float, suppression: float) -> Thresholds:
    """The thresholds of the error analysis: no detection with an IoU above that of a match lies on the background."""
    background = max(_LEAST_BACKGROUND, min(iou, Thresholds().background))
    return Thresholds(iou, background, suppression)


def _write(folder: pathlib.Path, found: _Found, measurement: Measurement, errors: ErrorAnalysis) -> None:
    """Write the figures, the detections, the page of errors and pictures."""
    dataset, detections = found.dataset, found.detections
    values = {**measurement_to_json(measurement), "errors": errors_to_json(errors)}
    write_json(folder / "evaluation.json", values)
    write_coco_results(folder / "detections.json", detections, dataset.class_names, found.ids)
    try:
        write_voc_results(folder / "voc_results", detections, dataset.class_names)
    except InputError as error:  # its format cannot hold every name; the other files can
        print(f"VOC result files not written: {error}")
    write_pictures(dataset, detections, folder / "pictures")
    write_error_page(folder, dataset, errors)


def _detect(options: EvaluationOptions, model_path: str) -> _Found:
    """Run the model on the data."""
    model = load_model(model_path, options.score_threshold, options.nms_iou, options.max_detections)
    spec = dataclasses.replace(options, class_names=model.class_names)
    dataset = _read_dataset(spec, model.config.image.exif_of_model)  # boxes must refer to what the model sees
    ids = _coco_ids(options, dataset)
    with tempfile.TemporaryDirectory() as directory, naming_undecodable(dataset):
        detections = detect_dataset(model, dataset, pathlib.Path(directory) / "detections", "detections")
        proposals = pathlib.Path(directory) / "proposals"
        store_proposals(model, dataset, proposals, measured_counts(model.config), "proposals")
        recall = measure_recall(proposals, dataset)
        classified = load_proposals(proposals, dataset, detection_counts(model.config).after_nms)
        return _Found(dataset, ids, detections, recall, classified, model.config.test.nms_iou)


def _read_detections(options: EvaluationOptions) -> _Found:
    """Read the detections of a file or folder."""
    assert options.detections is not None
    dataset = _read_dataset(options, options.exif)
    ids = _coco_ids(options, dataset)
    return _Found(dataset, ids, read_detections(options.detections, dataset.class_names, ids))


def _coco_ids(options: EvaluationOptions, dataset: Dataset) -> COCOIds:
    if options.coco_annotations is not None:
        return annotation_ids(options.coco_annotations, dataset.examples, dataset.class_names)
    return own_ids([example.image_id for example in dataset.examples], dataset.class_names)


def _read_dataset(options: EvaluationOptions, exif: str) -> Dataset:
    """Read the split, and print how it was made and what was repaired."""
    divided = divided_data(options)
    dataset = load_dataset(options, options.split, exif, divided)
    for line in (*(divided.splits.lines if divided else ()), *describe_problems(dataset)):
        print(line)
    return dataset
