"""The options of `training.evaluate`, each declared once.

This module imports nothing heavy, so that `--help` stays fast.
"""

from dataclasses import dataclass

from keras_frcnn.data.sources.spec import DataSpec
from keras_frcnn.evaluation.metrics.names import METRIC_HELP, METRICS
from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.settings import setting


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions(DataSpec):
    """Evaluation: what is measured, and how."""

    model: str | None = setting(None, "a run folder, or a .keras file", none_text="none, with --detections")
    detections: str | None = setting(
        None,
        "score these detections instead of those of a model: a COCO results file NAME.json, or a folder of VOC result "
        "files comp4_det_SPLIT_CLASS.txt",
        none_text="those of --model",
    )
    score_threshold: float | None = setting(
        None, "drop detections whose score is not greater than this", none_text="the model's"
    )
    nms_iou: float | None = setting(
        None,
        "of two detections of one class that overlap more than this, keep the one with the higher score",
        none_text="the model's",
    )
    max_detections: int | None = setting(None, "detections kept in one image", none_text="the model's")
    exif: str = setting(
        "auto",
        "with --detections: their boxes refer to pictures turned by their EXIF orientation (apply), to the pixels as "
        "stored (ignore), or to the pictures to which the annotations refer (auto); a model knows it",
        choices=("auto", "apply", "ignore"),
    )
    split: str = setting("test", "splits, joined with +, e.g. VOC2007/test")
    metric: str = setting("voc07", METRIC_HELP, choices=METRICS)
    iou: float = setting(0.5, "IoU that a detection needs in VOC's metrics", at_least=0, less_than=1)
    resamples: int = setting(
        1000, "bootstrap samples of the confidence intervals; 0 computes none", at_least=0, at_most=1000000
    )
    coco_annotations: str | None = setting(
        None,
        "a COCO annotation file whose image and category ids detections.json and --detections use",
        none_text="ids made from the image ids, and the numbers of the classes",
    )
    out: str | None = setting(
        None,
        "a folder for evaluation.json, errors.html, detections.json, VOC result files and pictures",
        none_text="only print",
    )

    def check(self) -> None:
        """Raise InputError unless there is either a model or detections."""
        if self.model is None and self.detections is None:
            raise InputError("--model", "is required", "give --model, or --detections to score a file")
        if self.model is not None and self.detections is not None:
            raise InputError("--detections", "cannot be combined with --model", "give one of the two")
        if self.model is not None and self.exif != "auto":
            raise InputError("--exif", "has no effect on --model, which knows how pictures are turned", "remove it")
        for name in ("score_threshold", "nms_iou", "max_detections"):
            if self.model is None and getattr(self, name) is not None:
                raise InputError(f"--{name.replace('_', '-')}", "has no effect on --detections", "remove it")
