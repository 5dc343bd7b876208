"""The error analysis of a detector: labels and costs of its errors, confusion matrix and score thresholds."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from keras_frcnn.data.example import Example
from keras_frcnn.evaluation.detections.record import ImageDetections
from keras_frcnn.evaluation.error_analysis.best_f1 import BestF1, best_f1_thresholds
from keras_frcnn.evaluation.error_analysis.confusion import confusion_matrix
from keras_frcnn.evaluation.error_analysis.costs import (
    ErrorCost,
    LabelledErrors,
    class_aps,
    error_costs,
    mean_of_classes,
)
from keras_frcnn.evaluation.error_analysis.labels import KINDS, Thresholds, label_false_positives, label_misses
from keras_frcnn.evaluation.matching.judging import join_images

FALLBACK_SCORE = 0.5  # the score threshold where no threshold gives an F1 above 0


class ErrorAnalysis(NamedTuple):
    """What is wrong with the detections of a data set.  K is the number of classes."""

    class_names: tuple[str, ...]
    images: int
    errors: LabelledErrors  # the label of each false positive and of each miss
    mean_ap: float  # mAP (area) of the detector, equal to that of `evaluate_voc`; NaN if there are no objects
    fixed_ap: float  # mAP (area) if all errors are fixed: 1, or NaN if there are no objects
    costs: tuple[ErrorCost, ...]  # one for each kind of error
    confusion: np.ndarray  # (1 + K, 1 + K), see `confusion_matrix`
    best_f1: tuple[BestF1, ...]  # of each class, then of all classes together
    thresholds: Thresholds
    score_threshold: float  # of the confusion matrix and of the errors in pictures
    proposals_given: bool  # without proposals, the causes of misses are unknown


def error_analysis(
    examples: Iterable[Example],
    detections: Iterable[ImageDetections],
    class_names: Sequence[str],
    proposals: Mapping[str, np.ndarray] | None = None,
    thresholds: Thresholds | None = None,
    score_threshold: float | None = None,
) -> ErrorAnalysis:
    """Label the errors of a detector and compute what they cost.

    Args:
      examples: all images of the split.
      detections: as in `evaluate_voc`: at most one record per image, with the low scores that count for AP.
      class_names: the K classes without background; class i is `class_names[i - 1]`.
      proposals: image id -> (P, 4) boxes that the detector classified, yxyx, continuous corners, pixels of the stored
        picture.  None: unknown.
      thresholds: the IoUs that decide about labels; None: the defaults.
      score_threshold: the lowest score of the detections in the confusion matrix and in pictures.  None: the one that
        gives all classes together their best F1, so that it suits detectors with high and with low scores.

    Raises:
      InputError: as in `evaluate_voc`, or an image has no entry in `proposals`.
      ValueError: two examples have the same image id, or the background threshold is not above 0.
    """
    thresholds = Thresholds() if thresholds is None else thresholds
    if not thresholds.background > 0:
        raise ValueError(f"thresholds.background is {thresholds.background}; it must be above 0")
    examples, class_names = tuple(examples), tuple(class_names)
    objects, ranked = join_images(examples, tuple(detections), len(class_names))
    false_positives = label_false_positives(objects, ranked, thresholds)
    misses = label_misses(examples, objects, ranked, false_positives, thresholds, proposals)
    best_f1 = best_f1_thresholds(objects, ranked, false_positives, class_names)
    if score_threshold is None:
        score_threshold = FALLBACK_SCORE if math.isnan(best_f1[-1].threshold) else best_f1[-1].threshold
    errors = LabelledErrors(objects, ranked, false_positives, misses)
    return ErrorAnalysis(
        class_names=class_names,
        images=len(examples),
        errors=errors,
        mean_ap=mean_of_classes(class_aps(errors, len(class_names))),
        fixed_ap=mean_of_classes(class_aps(errors, len(class_names), fixed=KINDS)),
        costs=error_costs(errors, len(class_names)),
        confusion=confusion_matrix(objects, ranked, false_positives, len(class_names), score_threshold),
        best_f1=best_f1,
        thresholds=thresholds,
        score_threshold=score_threshold,
        proposals_given=proposals is not None,
    )
