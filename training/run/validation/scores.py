"""What a validation measures: the recall of an RPN, or the average precision of a detector."""

import pathlib
import shutil

from keras_frcnn.data.example import Dataset
from keras_frcnn.evaluation.metrics.coco_ap import evaluate_coco
from keras_frcnn.evaluation.metrics.voc_ap import evaluate_voc
from keras_frcnn.facts.errors import InputError
from keras_frcnn.network.forward import detection_counts
from keras_frcnn.network.model import FasterRCNN
from training.engine.distribution import is_chief, wait_for_all
from training.four_steps import Step
from training.reporting.summary import METRIC_TITLES, SUMMARY_PROPOSALS
from training.run.folder import save_parts
from training.run.start import Run, checkpoint_folder, proposal_directory, some_pictures
from training.run.stores.detections import detect_dataset
from training.run.stores.features import FeatureCache, stored_features
from training.run.stores.proposals import measure_recall, store_proposals
from training.run.validation.record import Subject, Validation

RECALL = "average recall"
_FOLDER = "validation"  # beside the checkpoints of the step: boxes of the validation that runs now


def validation_of(run: Run, model: FasterRCNN, step: Step, cache: FeatureCache | None) -> Validation | None:
    """The validation of a step, or None if the options ask for none.

    Raises InputError if the pictures to validate on have no objects.
    """
    options = run.options
    if options.validate_every is None:
        return None
    pictures = some_pictures(run.val_set, options.validate_images)
    if not any((~example.difficult).any() for example in pictures.examples):
        problem = f"there are no objects in the {len(pictures.examples)} pictures to validate on"
        raise InputError("--validate-every", problem, "give more --validate-images, or leave it out")
    folder = checkpoint_folder(run, step.name)

    def score() -> float:
        _clear(folder / _FOLDER)
        value = _score(run, model, step, cache, pictures, folder / _FOLDER)
        _clear(folder / _FOLDER)
        return value

    measure = RECALL if "head" not in step.trains else METRIC_TITLES[options.metric]
    subject = Subject(step.title, measure, score, lambda path: save_parts(path, model, step.trains))
    return Validation(subject, folder, options.validate_every, options.patience)


def _score(
    run: Run, model: FasterRCNN, step: Step, cache: FeatureCache | None, pictures: Dataset, directory: pathlib.Path
) -> float:
    """Average recall of 300 proposals of an RPN, else the leading metric of the detections."""
    items = [(index, False) for index in range(len(pictures.examples))]
    title = f"{step.title}: validation"
    features = stored_features(cache, pictures, items, title)
    if "head" not in step.trains:
        store_proposals(model, pictures, directory, detection_counts(run.config), title, features)
        recall = measure_recall(directory, pictures)
        return float(recall.average_recalls[recall.counts.index(SUMMARY_PROPOSALS)])
    proposals = None if step.measured_on is None else proposal_directory(run, step.measured_on, "val")
    detections = detect_dataset(model, pictures, directory, title, proposals, features)
    if run.options.metric == "coco":
        return float(evaluate_coco(pictures.examples, detections, pictures.class_names).figures.ap)
    ap = evaluate_voc(pictures.examples, detections, pictures.class_names)
    return float(ap.mean_11point if run.options.metric == "voc07" else ap.mean_area)


def _clear(directory: pathlib.Path) -> None:
    """Delete the boxes of an earlier validation."""
    wait_for_all()
    if is_chief():
        shutil.rmtree(directory, ignore_errors=True)
    wait_for_all()
