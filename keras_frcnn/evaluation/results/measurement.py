"""All figures of one set of detections: VOC's, COCO's, recall of proposals, and their confidence intervals."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from keras_frcnn.data.example import Dataset
from keras_frcnn.evaluation.detections.record import ImageDetections
from keras_frcnn.evaluation.intervals.bootstrap import (
    RESAMPLES,
    Intervals,
    coco_intervals,
    draw_samples,
    recall_intervals,
    voc_intervals,
)
from keras_frcnn.evaluation.metrics.coco_ap import COCOResult, evaluate_coco
from keras_frcnn.evaluation.metrics.recall import RecallResult
from keras_frcnn.evaluation.metrics.voc_ap import VOCResult, evaluate_voc

SEED = 0  # of the bootstrap samples


class MeasurementIntervals(NamedTuple):
    """The confidence intervals of a measurement."""

    resamples: int
    voc: Intervals
    coco: Intervals
    recall: np.ndarray | None  # (N, T, 2) as in `recall_intervals`; None if there are no proposals


class Measurement(NamedTuple):
    """All figures of one set of detections."""

    metric: str  # the one that leads, of METRICS
    voc: VOCResult
    coco: COCOResult
    recall: RecallResult | None  # None if there are no proposals
    intervals: MeasurementIntervals | None  # None if none were asked for


def measure(
    dataset: Dataset,
    detections: Sequence[ImageDetections],
    recall: RecallResult | None,
    metric: str = "voc07",
    iou_threshold: float = 0.5,
    resamples: int = RESAMPLES,
) -> Measurement:
    """Compute all figures.

    Args:
      dataset: the split.
      detections: at most one record per image, boxes in pixels of the picture before resizing.
      recall: the recall of the proposals; None if there are none.
      metric: the metric that leads, of METRICS.
      iou_threshold: of VOC's metrics.
      resamples: the number of bootstrap samples; 0 computes no intervals.

    Raises:
      InputError: as in `check_records`.
    """
    voc = evaluate_voc(dataset.examples, detections, dataset.class_names, iou_threshold)
    coco = evaluate_coco(dataset.examples, detections, dataset.class_names)
    if resamples == 0:
        return Measurement(metric, voc, coco, recall, None)
    samples = draw_samples(len(dataset.examples), resamples, SEED)
    intervals = MeasurementIntervals(
        resamples=resamples,
        voc=voc_intervals(voc, samples),
        coco=coco_intervals(coco, samples),
        recall=None if recall is None else recall_intervals(recall, samples),
    )
    return Measurement(metric, voc, coco, recall, intervals)
