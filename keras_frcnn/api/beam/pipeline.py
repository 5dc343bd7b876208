"""The pipeline: pictures -> lines of detections, and lines of errors.

A line is what `keras_frcnn.detect` writes: a dict with the fields `image`, `height`, `width` and `detections`, or with
`error`.  Each picture gives one line, whatever happens to its machine: Beam repeats the work of a machine that is lost.
"""

import functools
import glob
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any, NamedTuple

import apache_beam as beam
import tensorflow as tf
from apache_beam.io import fileio
from apache_beam.io.filesystem import BeamIOError
from apache_beam.io.filesystems import FileSystems
from apache_beam.metrics import Metrics
from apache_beam.ml.inference.base import ModelHandler, RunInference

from keras_frcnn.api.bulk.inputs import OWN_OUTPUTS, PATTERN_SIGNS, SUFFIXES
from keras_frcnn.api.bulk.model import load_finder
from keras_frcnn.api.finding.streaming import Finder, Later, stream
from keras_frcnn.evaluation.detections.coco_results import coco_row, own_image_id

ANSWERED, FAILED = "answered", "failed"  # outputs, and the counters of their pictures
COCO = "detections.coco.json"

Picture = tuple[str, bytes]  # its name, and the content of its file
Line = dict[str, Any]


class Wanted(NamedTuple):
    """What a pipeline detects and writes."""

    model: str  # its path, which every machine must be able to read
    pictures: tuple[str, ...]  # patterns of picture files
    records: tuple[str, ...]  # patterns of record files with tf.train.Example, image/encoded and image/source_id
    out: str  # a folder, or a place of any file system that Beam knows
    score: float  # the least score of a detection
    batch_size: int  # of pictures
    max_pixels: int  # of a picture that is read
    coco: bool  # whether to write a COCO results file


def build(pipeline: beam.Pipeline, wanted: Wanted) -> None:
    """Add all steps to a pipeline."""
    parts = []
    unreadable = []
    if wanted.pictures:
        patterns = pipeline | "Patterns" >> beam.Create(wanted.pictures)
        files = patterns | beam.FlatMap(picture_paths) | "Each picture once" >> beam.Distinct()
        read = files | fileio.ReadMatches() | beam.ParDo(_Read()).with_outputs(FAILED, main=ANSWERED)
        parts.append(read[ANSWERED])
        unreadable.append(read[FAILED])
    if wanted.records:
        patterns = pipeline | "Record files" >> beam.Create(wanted.records)
        files = patterns | "Record paths" >> beam.FlatMap(_paths) | "Each record file once" >> beam.Distinct()
        records = files | beam.Map(glob.escape) | beam.io.ReadAllFromTFRecord()
        examples = records | beam.ParDo(_Example()).with_outputs(FAILED, main=ANSWERED)
        parts.append(examples[ANSWERED])
        unreadable.append(examples[FAILED])
    pictures = parts | "All pictures" >> beam.Flatten() | beam.Reshuffle()
    lines = pictures | RunInference(Detector(wanted))
    sorted_out = lines | beam.ParDo(_Sort()).with_outputs(FAILED, main=ANSWERED)
    failed = (sorted_out[FAILED], *unreadable) | "All errors" >> beam.Flatten()
    _write(sorted_out[ANSWERED], f"{wanted.out}/detections", "Detections")
    _write(failed, f"{wanted.out}/errors", "Errors")
    if wanted.coco:
        by_id = sorted_out[ANSWERED] | "By id" >> beam.Map(_with_id) | "Same id" >> beam.GroupByKey()
        rows = by_id | beam.FlatMap(_coco_rows, load_class_numbers(wanted.model))
        place = pipeline | "COCO file" >> beam.Create([f"{wanted.out}/{COCO}"])
        _ = place | beam.Map(_write_list, beam.pvalue.AsIter(rows))


class Detector(ModelHandler[Picture, Line, Finder]):
    """Beam's handler of a detector of any form: run folder, `.keras`, SavedModel or `.tflite`."""

    def __init__(self, wanted: Wanted):
        super().__init__()
        self._wanted = wanted

    def load_model(self) -> Finder:
        return load_finder(self._wanted.model)

    def run_inference(
        self, batch: Sequence[Picture], model: Finder, inference_args: Mapping[str, Any] | None = None
    ) -> Iterable[Line]:
        pictures = (Later(name, functools.partial(bytes, content)) for name, content in batch)
        results = stream(model, pictures, self._wanted.score, len(batch), self._wanted.max_pixels)
        return [result.to_dict(rounded=False) for result in results]

    def batch_elements_kwargs(self) -> Mapping[str, Any]:
        return {"min_batch_size": 1, "max_batch_size": self._wanted.batch_size}


class _Read(beam.DoFn):
    """A matched file -> its name and content; errors go to the output FAILED."""

    def process(self, file: fileio.ReadableFile) -> Iterator[Any]:
        name = file.metadata.path
        try:
            yield name, file.read()
        except (OSError, BeamIOError) as error:
            yield beam.pvalue.TaggedOutput(
                FAILED, _counted({"image": name, "error": f"{name}: cannot be read ({error})"})
            )


class _Example(beam.DoFn):
    """A serialised tf.train.Example -> the id and the content of its picture; errors go to the output FAILED."""

    def process(self, record: bytes) -> Iterator[Any]:
        try:
            features = tf.train.Example.FromString(record).features.feature
            content = features["image/encoded"].bytes_list.value[0]
            names = [*features["image/source_id"].bytes_list.value, *features["image/filename"].bytes_list.value]
            yield next(filter(None, names)).decode(), content
        except Exception as error:  # noqa: BLE001 protobuf raises errors of several classes for damaged bytes
            needed = "a tf.train.Example with image/encoded and image/source_id"
            problem = f"a record is not {needed} ({type(error).__name__})"
            yield beam.pvalue.TaggedOutput(FAILED, _counted({"image": None, "error": problem}))


class _Sort(beam.DoFn):
    """Lines with an error go to the output FAILED."""

    def process(self, line: Line) -> Iterator[Any]:
        if "error" in line:
            yield beam.pvalue.TaggedOutput(FAILED, _counted(line))
        else:
            Metrics.counter("pictures", ANSWERED).inc()
            yield line


def picture_paths(pattern: str) -> list[str]:
    """The files that a pattern stands for, without those that are not pictures; a file that is named is kept."""
    paths = _paths(pattern)
    return [path for path in paths if _is_picture(path)] if PATTERN_SIGNS & set(pattern) else paths


def _paths(pattern: str) -> list[str]:
    return [file.path for file in FileSystems.match([pattern])[0].metadata_list]


def _is_picture(path: str) -> bool:
    """Whether a file has the name of a picture, is not hidden and not drawn by this program."""
    name = PurePath(path).name
    return name.lower().endswith(SUFFIXES) and not name.startswith(".") and not name.endswith(OWN_OUTPUTS)


def _counted(line: Line) -> Line:
    Metrics.counter("pictures", FAILED).inc()
    return line


def _write(lines: Any, prefix: str, label: str) -> None:
    """Write lines as JSON lines in as many files as there are bundles."""
    texts = lines | f"{label} as JSON" >> beam.Map(json.dumps)
    _ = texts | f"Write {label.lower()}" >> beam.io.WriteToText(prefix, file_name_suffix=".jsonl")


def load_class_numbers(model: str) -> dict[str, int]:
    """The number of each class of a model, from 1."""
    return {name: number for number, name in enumerate(load_finder(model).class_names, start=1)}


def _with_id(line: Line) -> tuple[str, Line]:
    """A line with the id of its picture in COCO's files: its name without folder and suffix."""
    path = PurePath(line["image"])
    return str(own_image_id(path.stem if path.suffix.lower() in SUFFIXES else path.name)), line


def _coco_rows(same_id: tuple[str, Iterable[Line]], numbers: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    """The rows of a COCO results file for the pictures of one id; if there are several, their ids are their paths."""
    image_id, together = same_id[0], list(same_id[1])
    for line in together:
        own = own_image_id(image_id) if len(together) == 1 else line["image"]
        for one in line["detections"]:
            yield coco_row(own, numbers[one["class"]], one["box"], one["score"])


def _write_list(place: str, records: Iterable[Any]) -> None:
    """Write records as one JSON list."""
    with FileSystems.create(place) as file:
        before = "[\n"
        for record in records:
            file.write((before + json.dumps(record)).encode())
            before = ",\n"
        file.write(b"[\n]\n" if before == "[\n" else b"\n]\n")


def matches(pattern: str) -> bool:
    """Whether any file matches a pattern.  Raises BeamIOError if its place cannot be read."""
    return bool(FileSystems.match([pattern], limits=[1])[0].metadata_list)
