"""Run the pipeline: check what was asked for, run it on any of Beam's runners, and say what came of it."""

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.io.filesystem import BeamIOError
from apache_beam.metrics import MetricsFilter
from apache_beam.options.pipeline_options import PipelineOptions, SetupOptions, StandardOptions

from keras_frcnn.api.beam.pipeline import ANSWERED, FAILED, Wanted, build, matches
from keras_frcnn.api.bulk.model import digest
from keras_frcnn.api.finding.streaming import MOST_TOGETHER, check_count, check_score
from keras_frcnn.facts.errors import InputError

PIPELINE_FAILED = 75  # the exit status EX_TEMPFAIL: try again
LOCAL_RUNNER = "FnApiRunner"  # runs in this process, and needs no other program


def run_beam(options: argparse.Namespace, of_beam: Sequence[str]) -> int:
    """Run the command; `of_beam` are options of Beam.  Returns its exit status.

    Raises:
      InputError: an option is wrong, also one of Beam, there are no pictures, the model cannot be read, or the results
        exist already.
    """
    check_score(options.score, "--score")
    check_count(options.batch_size, "--batch-size", MOST_TOGETHER)
    check_count(options.max_pixels, "--max-pixels")
    wanted = Wanted(
        model=options.model,
        pictures=tuple(options.pictures),
        records=tuple(options.tfrecord),
        out=options.out.rstrip("/"),
        score=options.score,
        batch_size=options.batch_size,
        max_pixels=options.max_pixels,
        coco=options.coco,
    )
    _check(wanted)
    beam_options = PipelineOptions(list(of_beam))
    if beam_options.view_as(StandardOptions).runner is None:
        beam_options.view_as(StandardOptions).runner = LOCAL_RUNNER
    beam_options.view_as(SetupOptions).save_main_session = False
    pipeline = _pipeline(beam_options)
    build(pipeline, wanted)
    try:
        result = pipeline.run()
        result.wait_until_finish()
    except Exception as error:  # noqa: BLE001 each runner raises errors of its own
        return _failed(error, wanted)
    return _report(result, wanted)


def _check(wanted: Wanted) -> None:
    digest(wanted.model)  # raises InputError if there is no such model
    if not wanted.pictures and not wanted.records:
        raise InputError("pictures", "none are named", "give patterns of pictures, or of record files with --tfrecord")
    for pattern in (*wanted.pictures, *wanted.records):
        if not _matches(pattern):
            raise InputError(pattern, "no file matches", "correct the pattern; '**' stands for any number of folders")
    if _matches(f"{wanted.out}/detections-*") or _matches(f"{wanted.out}/errors-*"):
        raise InputError(wanted.out, "holds detections of an earlier run", "give another folder with --out")


def _matches(pattern: str) -> bool:
    try:
        return matches(pattern)
    except (BeamIOError, ValueError) as error:
        raise InputError(
            pattern, f"cannot be read ({error})", "correct the name, or install what its place needs"
        ) from error


def _pipeline(options: PipelineOptions) -> beam.Pipeline:
    """An empty pipeline.  Raises InputError for a runner that is unknown or not installed, or refuses an option."""
    try:
        return beam.Pipeline(options=options)
    except (ValueError, ImportError, AttributeError) as error:
        fix = "correct the options after --, or install what the runner needs"
        raise InputError("--runner", f"cannot be used ({error})", fix) from error


def _failed(error: Exception, wanted: Wanted) -> int:
    """Say that the pipeline has failed, and remove what it left; returns the exit status."""
    reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
    if "://" not in wanted.out:
        for folder in Path(wanted.out).glob("beam-temp-*"):
            shutil.rmtree(folder, ignore_errors=True)
    fix = "if a worker was lost, run the same command again"
    print(f"error: the pipeline failed ({reason[0]}); {wanted.out} has no results; {fix}", file=sys.stderr)
    return PIPELINE_FAILED


def _report(result: Any, wanted: Wanted) -> int:
    """Say how many pictures were answered; returns the exit status."""
    counters = result.metrics().query(MetricsFilter().with_namespace("pictures"))["counters"]
    counts = {counter.key.metric.name: counter.result for counter in counters}
    answered, failed = counts.get(ANSWERED, 0), counts.get(FAILED, 0)
    print(f"{answered} pictures answered: {wanted.out}/detections-*.jsonl")
    if not failed:
        return 0
    print(f"{failed} of {answered + failed} files could not be read: {wanted.out}/errors-*.jsonl", file=sys.stderr)
    return 1
