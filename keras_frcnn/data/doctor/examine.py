"""The examination of a data set: all checks in order.

`quick_findings` is the cheap half, which training runs at its start: it reads no picture.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from keras_frcnn.data.doctor import findings
from keras_frcnn.data.doctor.anchors.coverage import COVERAGE_IOUS, Coverage, anchor_coverage
from keras_frcnn.data.doctor.anchors.suggestion import ENOUGH_OBJECTS, suggest_anchors
from keras_frcnn.data.doctor.checks.boxes import duplicate_boxes, problem_findings, tiny_boxes
from keras_frcnn.data.doctor.checks.classes import class_findings
from keras_frcnn.data.doctor.checks.counts import SplitCounts, count_split
from keras_frcnn.data.doctor.checks.decoding import Progress, read_pictures
from keras_frcnn.data.doctor.checks.objects import Objects, gather_objects
from keras_frcnn.data.doctor.checks.pictures import copy_findings, decoding_findings, id_findings
from keras_frcnn.data.doctor.findings import Finding, in_files, in_order
from keras_frcnn.data.example import Dataset
from keras_frcnn.facts.config import AnchorConfig, DetectorConfig
from keras_frcnn.facts.options import option_text
from keras_frcnn.facts.settings import settings_of

POOR_SHARE = 0.5  # a class is poorly covered if the anchors cover fewer of its objects than this at an IoU of 0.5
WORTHWHILE_GAIN = 0.2  # other anchors are suggested if they cover this much more of all objects at an IoU of 0.7


class AnchorCheck(NamedTuple):
    """How well the anchors fit the objects of the first split."""

    split: str
    coverage: Coverage  # by the configured anchors
    suggested: Coverage | None  # by the suggested anchors; None if there is no suggestion that covers more

    def parts(self) -> dict[str, Coverage]:
        """The coverages by their names: "configured", and "suggested" if there is one."""
        return {"configured": self.coverage} | ({"suggested": self.suggested} if self.suggested else {})


class Examination(NamedTuple):
    """The result of all checks of a data set."""

    counts: tuple[SplitCounts, ...]
    anchors: AnchorCheck
    objects: Objects  # of all splits
    findings: tuple[Finding, ...]  # errors first


def examine(datasets: Mapping[str, Dataset], config: DetectorConfig, jobs: int, progress: Progress) -> Examination:
    """Run all checks on the splits of a data set.

    Args:
      datasets: the splits by name; the first one is taken as the one to train on.
      config: of the detector that is to be trained.
      jobs: number of threads that read pictures.
      progress: shows how many pictures are read, see `decoding.Progress`.
    """
    objects = gather_objects(datasets.values(), config.image)
    counts = tuple(count_split(name, dataset) for name, dataset in datasets.items())
    anchors = _check_anchors(datasets, objects, config, suggest_always=True)
    found = _joined([finding for dataset in datasets.values() for finding in problem_findings(dataset)])
    found += _annotation_findings(datasets, objects, counts, config) + _anchor_findings(anchors)
    paths = dict.fromkeys(example.image_path for dataset in datasets.values() for example in dataset.examples)
    facts = read_pictures(list(paths), jobs, progress)
    found += decoding_findings(facts) + copy_findings(datasets, facts)
    return Examination(counts, anchors, objects, tuple(in_order(found)))


def quick_findings(train_set: Dataset, val_set: Dataset, config: DetectorConfig) -> list[Finding]:
    """The errors and warnings of the checks that read no picture, errors first.

    What was repaired while the data was read is left out; `describe_problems` lists it.  The splits have the names
    "train" and "val".
    """
    datasets = {"train": train_set, "val": val_set}
    objects = gather_objects(datasets.values(), config.image)
    counts = [count_split(name, dataset) for name, dataset in datasets.items()]
    anchors = _check_anchors(datasets, objects, config, suggest_always=False)
    found = _annotation_findings(datasets, objects, counts, config) + _anchor_findings(anchors)
    return [finding for finding in in_order(found) if finding.kind.severity != findings.NOTE]


def _annotation_findings(
    datasets: Mapping[str, Dataset], objects: Objects, counts: Sequence[SplitCounts], config: DetectorConfig
) -> list[Finding]:
    """The findings about boxes, image ids and classes."""
    empty = [example.image_path for example in objects.examples if not len(example.boxes)]
    return [
        *tiny_boxes(objects, config.rpn.min_size),
        *duplicate_boxes(objects),
        *id_findings(datasets),
        *class_findings(counts),
        *in_files(findings.EMPTY, empty),
    ]


def _joined(found: list[Finding]) -> list[Finding]:
    """Findings of one kind and detail in several splits as one."""
    joined: dict[tuple[str, str], Finding] = {}
    for finding in found:
        key = (finding.kind.name, finding.detail)
        before = joined.get(key, finding._replace(occurrences=0, files=()))
        files = tuple(dict.fromkeys(before.files + finding.files))
        joined[key] = finding._replace(occurrences=before.occurrences + finding.occurrences, files=files)
    return list(joined.values())


def _check_anchors(
    datasets: Mapping[str, Dataset], objects: Objects, config: DetectorConfig, suggest_always: bool
) -> AnchorCheck:
    """The coverage of the first split, and other anchors that cover more.

    Without `suggest_always`, the search for other anchors, which takes seconds, is left out unless a class is poorly
    covered.
    """
    split, dataset = next(iter(datasets.items()))
    objects = objects.select(objects.pictures < len(dataset.examples))
    coverage = anchor_coverage(objects, config.anchors)
    suggested = None
    if suggest_always or _poor_classes(coverage):
        suggested = suggest_anchors(objects, rounding=config.anchors.shapes)
    better = anchor_coverage(objects, suggested) if suggested else None
    if better is not None and better.shares[-1] <= coverage.shares[-1]:
        better = None
    return AnchorCheck(split, coverage, better)


def _poor_classes(coverage: Coverage) -> list[str]:
    return [
        f"{entry.class_name} {entry.shares[0]:.0%}"
        for entry in coverage.classes
        if entry.objects >= ENOUGH_OBJECTS and entry.shares[0] < POOR_SHARE
    ]


def _anchor_findings(check: AnchorCheck) -> list[Finding]:
    """Classes that the anchors miss, or anchors that fit all objects better."""
    coverage, suggested = check.coverage, check.suggested
    advice = f"set {anchor_options(suggested.anchors)}" if suggested else ""
    poor = _poor_classes(coverage)
    if poor:
        detail = f"{', '.join(poor)} of the objects in {check.split} reach an IoU of {COVERAGE_IOUS[0]} with an anchor"
        return [Finding(findings.POOR_COVERAGE, len(poor), detail=detail, fix=advice)]
    if suggested and suggested.shares[-1] >= coverage.shares[-1] + WORTHWHILE_GAIN:
        detail = f"{suggested.shares[-1]:.0%} of the objects in {check.split} reach an IoU of {COVERAGE_IOUS[-1]}"
        detail += f" with them, {coverage.shares[-1]:.0%} with the configured ones"
        return [Finding(findings.BETTER_ANCHORS, 1, detail=detail, fix=advice)]
    return []


def anchor_options(anchors: AnchorConfig) -> str:
    """The options that set these anchors."""
    by_name = {setting.name: setting for setting in settings_of(AnchorConfig)}
    return " ".join(option_text(by_name[name], getattr(anchors, name)) for name in ("scales", "ratios"))
