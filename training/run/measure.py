"""Measuring the networks after a step: recall of an RPN's proposals, AP of a detector's detections."""

import logging
import pathlib
from collections.abc import Callable, Iterable

import tensorflow as tf

from keras_frcnn.data.example import Dataset
from keras_frcnn.data.stream.stored_features import FeatureFiles
from keras_frcnn.evaluation.metrics.coco_ap import evaluate_coco
from keras_frcnn.evaluation.metrics.voc_ap import VOCResult, evaluate_voc
from keras_frcnn.evaluation.results.measurement_tables import coco_to_json, format_coco
from keras_frcnn.evaluation.results.tables import ap_to_json, format_ap_table, format_recall_table, recall_to_json
from keras_frcnn.facts.files import read_json, read_known, write_json
from keras_frcnn.network.forward import Counts, detector_training_counts
from keras_frcnn.network.model import FasterRCNN
from training.engine.distribution import is_chief, wait_for_all
from training.four_steps import Step
from training.reporting.summary import TrainingResult, read_result
from training.run.start import Run, detection_directory, mirrors_proposals, proposal_directory
from training.run.stores.detections import detect_dataset
from training.run.stores.features import FeatureCache, stored_features
from training.run.stores.proposals import measure_recall, measured_counts, store_proposals
from training.run.stores.rows import is_complete

_log = logging.getLogger(__name__)


def store_training_proposals(
    run: Run, model: FasterRCNN, step: Step, cache: FeatureCache | None, only: Iterable[int] | None = None
) -> None:
    """Store the proposals on which a detector trains later, for all training pictures or those with these indices."""
    counts = detector_training_counts(run.config)
    _propose(run, model, step, cache, run.train_set, "train", counts, only=only)
    if mirrors_proposals(run):
        _propose(run, model, step, cache, run.train_set, "mirrored", counts, flipped=True, only=only)


def _propose(
    run: Run,
    model: FasterRCNN,
    step: Step,
    cache: FeatureCache | None,
    dataset: Dataset,
    split: str,
    counts: Counts,
    flipped: bool = False,
    only: Iterable[int] | None = None,
) -> None:
    directory = proposal_directory(run, step.name, split)
    if not is_complete(directory, dataset, only):
        features = _features(cache, dataset, step, split, flipped, only)
        title = f"{step.title}: proposals, {split}"
        store_proposals(model, dataset, directory, counts, title, features, flipped, only)


def measure_rpn(run: Run, model: FasterRCNN, step: Step, cache: FeatureCache | None) -> TrainingResult:
    """Recall of the proposals for the validation set; shows it as a table."""

    def measure() -> tuple[str, dict, None]:
        _propose(run, model, step, cache, run.val_set, "val", measured_counts(run.config))
        recall = measure_recall(proposal_directory(run, step.name, "val"), run.val_set)
        if not recall.mean_proposals.any():
            size = run.config.rpn.min_size
            _log.warning(
                "%s makes no proposal with sides of --min-size %g: lower it, or train longer", step.title, size
            )
        return format_recall_table(recall), {"recall": recall_to_json(recall)}, None

    return _measured(run, step, "rpn", measure)


def measure_detector(run: Run, model: FasterRCNN, step: Step, cache: FeatureCache | None) -> TrainingResult:
    """AP of the detections in the validation set; shows it as a table.

    The result has `ap` if it was measured now, not if it was read from the run folder, which has no curves.
    """

    def measure() -> tuple[str, dict, VOCResult]:
        directory = detection_directory(run, step.name)
        proposals = None if step.measured_on is None else proposal_directory(run, step.measured_on, "val")
        features = _features(cache, run.val_set, step, "val")
        title = f"{step.title}: detections"
        detections = detect_dataset(model, run.val_set, directory, title, proposals, features)
        ap = evaluate_voc(run.val_set.examples, detections, run.val_set.class_names)
        leading = {"metric": run.options.metric}
        if run.options.metric != "coco":
            return format_ap_table(ap), {**leading, "ap": ap_to_json(ap)}, ap
        coco = evaluate_coco(run.val_set.examples, detections, run.val_set.class_names)
        values = {**leading, "coco": coco_to_json(coco), "ap": ap_to_json(ap)}
        return f"{format_coco(coco)}\n{format_ap_table(ap)}", values, ap

    return _measured(run, step, "detector", measure)


def _features(
    cache: FeatureCache | None,
    dataset: Dataset,
    step: Step,
    split: str,
    flipped: bool = False,
    only: Iterable[int] | None = None,
) -> FeatureFiles | None:
    items = [(index, flipped) for index in (range(len(dataset.examples)) if only is None else only)]
    return stored_features(cache, dataset, items, f"{step.title}: features, {split}")


def _stored_result(path: pathlib.Path) -> TrainingResult | None:
    """The result that the run folder holds; None if it holds none, or a damaged one, which is measured again."""
    try:
        return read_result(read_json(path))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        _log.warning("%s cannot be read (%s: %s): measured again", path, type(error).__name__, error)
        return None


def _measured(
    run: Run, step: Step, network: str, measure: Callable[[], tuple[str, dict, VOCResult | None]]
) -> TrainingResult:
    """The result of `measure`, (table, JSON values, AP), or the one that the run folder holds already."""
    path = run.folder / "evaluation" / f"{step.name}.{network}.json"
    result = _stored_result(path)
    wait_for_all()  # before any process writes, so that all take the same way
    some = "" if run.options.val_images is None else f"{len(run.val_set.examples)} pictures of "
    heading = f"\nafter {step.title}, on {some}{run.options.val}:\n"
    if result is not None:
        if is_chief():
            print(f"{heading}{result.table}\n", flush=True)  # train.log has it already
        return result
    table, measured, ap = measure()

    def with_training(training: dict) -> tuple[dict, TrainingResult]:
        values = {"name": step.name, "title": step.title, "training": training, **measured, "table": table}
        return values, read_result(values)._replace(ap=ap)

    again = f"delete weights/{step.name}.npz and the weights of the later steps to train them again"
    fix = f"restore it from a backup, or {again}"
    values, result = read_known(run.folder / "logs" / f"{step.name}.json", with_training, fix)
    if is_chief():
        write_json(path, values)
        with tf.summary.create_file_writer(str(run.folder / "logs" / step.name)).as_default(step=result.iterations):
            for tag, value in result.headlines.items():
                tf.summary.scalar(f"evaluation/{tag}", value)
    wait_for_all()
    _log.info("%s%s\n", heading, table)
    return result
