"""A short measurement of this machine: what an iteration of each step costs, and what room there is."""

import dataclasses
import gc
import itertools
import logging
import os
import pathlib
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from keras_frcnn.data.example import Dataset
from keras_frcnn.data.stream.pipeline import training_batches
from keras_frcnn.data.stream.tuning import untuned
from keras_frcnn.facts.config import DetectorConfig, ImageConfig
from keras_frcnn.facts.structures import Batch, Proposals, StoredFeatures
from keras_frcnn.network.forward import detector_training_counts
from keras_frcnn.network.model import FasterRCNN
from training.engine.distribution import progress_bar
from training.engine.inference import detect_in_batch, image_features, propose_in_batch
from training.engine.objectives import losses_of
from training.engine.schedules import StepDecay
from training.engine.solver import Optimisation
from training.engine.trainer import Trainer
from training.run.planning.costs import Costs, Line, Machine, shared

SHORT_SIDES = (200, 360)  # pixels, at which everything is measured
REPETITIONS = 4  # of each measurement

_PICTURES = 3  # of each size
_MEASURED_KINDS = ("backbone+head", "rpn", "head")
_GPU_MEMORY = ("nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits")  # MiB, a line for each GPU
_CGROUP_LIMIT = pathlib.Path("/sys/fs/cgroup/memory.max")

_log = logging.getLogger(__name__)


class _Sample(NamedTuple):
    """Pictures of one size."""

    pixels: float  # of a picture, mean
    reading: float  # seconds to read and resize a picture
    batches: list[Batch]  # of one picture each, with proposals
    stored: list[Batch]  # the same with stored features, without images


def measure_machine(config: DetectorConfig, precision: str, dataset: Dataset, folder: str | pathlib.Path) -> Machine:
    """Measure what training costs here, on pictures of the training set.

    Args:
      config: the detector; its numbers of RoIs, units and anchors matter.
      precision: the number format of the layers.
      dataset: the training set, not empty.
      folder: the run folder, which may not exist yet.
    """
    # The model must be made for the largest pictures: its targets depend on the longest side.
    largest = dataclasses.replace(config, image=_at_side(config.image, max(SHORT_SIDES)))
    costs = _measure_costs(FasterRCNN(largest, dataset.class_names, seed=0, dtype=precision), dataset)
    gc.collect()  # the model and the optimisers
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    return Machine(shared(costs, replicas), _memory(), _free_disk(pathlib.Path(folder)), replicas)


def _measure_costs(model: FasterRCNN, dataset: Dataset) -> Costs:
    counts = detector_training_counts(model.config)
    calls: dict[str, tuple[Callable[[Batch], Any], bool]] = {
        "features": (lambda batch: image_features(model, batch), False),
        "proposals": (lambda batch: propose_in_batch(model, batch, counts), True),
        "detections": (lambda batch: detect_in_batch(model, batch, with_stored_proposals=False), True),
    }
    lines, tracing = {}, []
    with progress_bar(total=len(_MEASURED_KINDS) + 4, desc="measuring this machine", unit="part", leave=False) as bar:
        samples = [_sample(model, dataset, side) for side in SHORT_SIDES]
        bar.update()
        for kind in _MEASURED_KINDS:
            lines[kind], first = _time_iterations(model, kind, samples)
            tracing.append(first)
            bar.update()
        for name, (call, stored) in calls.items():
            lines[name], first = _time_calls(call, samples, stored)
            tracing.append(first)
            bar.update()
    reading = _line(samples, [sample.reading for sample in samples])
    return Costs(
        iterations=_all_kinds(lines, reading),
        features=lines["features"].plus(reading),
        proposals=lines["proposals"],
        detections=lines["detections"],
        tracing=statistics.mean(tracing),
    )


def _all_kinds(measured: dict[str, Line], reading: Line) -> dict[str, Line]:
    """The costs of all kinds of iterations.  What a part costs hardly depends on which other parts train with it."""
    backbone = measured["backbone+head"].plus(measured["head"], -1.0).plus(reading)
    together = measured["rpn"].plus(measured["head"]).plus(measured["proposals"])
    return {
        "backbone+rpn": backbone.plus(measured["rpn"]),
        "backbone+head": backbone.plus(measured["head"]),
        "rpn": measured["rpn"],
        "head": measured["head"],
        "rpn+head": together,
        "backbone+rpn+head": backbone.plus(together),
    }


def measure_bfloat16() -> float:
    """How many times as fast a convolution of VGG16 and its gradient are in bfloat16 as in float32."""

    def call(dtype: str) -> Callable[[], Any]:
        image, kernel = tf.ones([1, 48, 64, 256], dtype), tf.ones([3, 3, 256, 256], dtype)

        @tf.function
        def convolve() -> Any:
            with tf.GradientTape() as tape:
                tape.watch([image, kernel])
                total = tf.reduce_sum(tf.nn.conv2d(image, kernel, 1, "SAME"))
            return tape.gradient(total, [image, kernel])

        return convolve

    calls = {dtype: call(dtype) for dtype in ("float32", "bfloat16")}
    seconds: dict[str, list[float]] = {dtype: [] for dtype in calls}
    for _ in range(REPETITIONS + 1):  # the first round traces
        for dtype, function in calls.items():
            seconds[dtype].append(_seconds(function))
    medians = {dtype: statistics.median(values[1:]) for dtype, values in seconds.items()}
    return medians["float32"] / medians["bfloat16"]


def _sample(model: FasterRCNN, dataset: Dataset, short_side: int) -> _Sample:
    """Read a few pictures at a short side."""
    resized = _at_side(model.config.image, short_side)
    stream = iter(untuned(training_batches(dataset, resized, 1, seed=0)))
    next(stream)  # the first one also starts the threads
    begun = time.perf_counter()
    read = list(itertools.islice(stream, _PICTURES))
    reading = (time.perf_counter() - begun) / _PICTURES
    batches = [_with_proposals(batch, model.config.rpn.train_post_nms_topk) for batch in read]
    return _Sample(
        pixels=float(np.mean([np.prod(batch.image_sizes[0]) for batch in batches])),
        reading=reading,
        batches=batches,
        stored=[_with_features(batch, image_features(model, batch)) for batch in batches],
    )


def _at_side(image: ImageConfig, short_side: int) -> ImageConfig:
    """The configuration with another short side, and a long side in proportion."""
    long_side = round(image.long_side / image.short_side * short_side)
    return dataclasses.replace(image, short_side=short_side, long_side=long_side)


def _with_proposals(batch: Batch, count: int) -> Batch:
    """The batch with random proposals."""
    rng = np.random.default_rng(0)
    size = batch.image_sizes[0].numpy()
    corners = np.sort(rng.uniform(0.0, 1.0, (1, count, 2, 2)), axis=2) * size
    boxes = tf.constant(corners.reshape(1, count, 4), tf.float32)
    return batch._replace(
        proposals=Proposals(boxes=boxes, scores=tf.zeros([1, count]), valid=tf.ones([1, count], tf.bool))
    )


def _with_features(batch: Batch, features: tf.Tensor) -> Batch:
    return batch._replace(
        images=tf.zeros([1, 0, 0, 3]), features=StoredFeatures(maps=features, valid=tf.ones([1], tf.bool))
    )


def _stream(samples: Sequence[_Sample], stored: bool) -> tf.data.Dataset:
    """For each size `REPETITIONS` + 1 batches, one after the other, in one data set: one graph serves all sizes."""
    repeated = [itertools.cycle(sample.stored if stored else sample.batches) for sample in samples]
    batches = [next(batch) for batch in repeated for _ in range(REPETITIONS + 1)]
    signature = tf.nest.map_structure(_any_size, batches[0])
    return untuned(tf.data.Dataset.from_generator(lambda: iter(batches), output_signature=signature))


def _any_size(value: tf.Tensor) -> tf.TensorSpec:
    """The specification of a tensor of a batch of one picture of any size, with any number of boxes."""
    rank = value.shape.rank
    return tf.TensorSpec(
        [1, *[None] * (rank - 2), value.shape[-1]] if rank > 2 else [1, *[None] * (rank - 1)], value.dtype
    )


def _time_iterations(model: FasterRCNN, kind: str, samples: Sequence[_Sample]) -> tuple[Line, float]:
    """The seconds of an iteration that trains the parts of `kind`, and of tracing its graphs."""
    parts = tuple(kind.split("+"))
    schedule = StepDecay(1e-12, 1, 1.0)  # as good as nothing: the loss stays finite, and the work is the same
    trainer = Trainer(model, losses_of(parts), parts, schedule, Optimisation(clip_norm=1.0))
    trainer.feed(_stream(samples, stored="backbone" not in parts))
    return _fit(samples, lambda: trainer.train(tf.constant(1)))


def _time_calls(function: Callable[[Batch], Any], samples: Sequence[_Sample], stored: bool) -> tuple[Line, float]:
    """The seconds of `function` for a batch, and of tracing its graph."""
    batches = _stream(samples, stored)
    traced = tf.function(function, input_signature=[batches.element_spec])
    stream: Iterator[Batch] = iter(batches)
    return _fit(samples, lambda: traced(next(stream)))


def _fit(samples: Sequence[_Sample], call: Callable[[], Any]) -> tuple[Line, float]:
    """Call the function for each batch of `_stream`.

    The first call of each size is not measured.  That of the first size gives the time of tracing.
    """
    seconds = [[_seconds(call) for _ in range(REPETITIONS + 1)] for _ in samples]
    medians = [statistics.median(values[1:]) for values in seconds]
    return _line(samples, medians), max(0.0, seconds[0][0] - medians[0])


def _line(samples: Sequence[_Sample], seconds: Sequence[float]) -> Line:
    """The line through the seconds of the two sizes.  A negative part becomes 0."""
    (small, large), (low, high) = (sample.pixels for sample in samples), seconds
    slope = max(0.0, (high - low) / (large - small) * 1e6) if large > small else 0.0
    return Line(max(0.0, high - slope * large / 1e6), slope)


def _seconds(call: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    for value in tf.nest.flatten(call()):
        if isinstance(value, tf.Tensor):
            value.numpy()  # wait for the result
    return time.perf_counter() - begun


def _memory() -> int:
    """The bytes of the smallest GPU's memory, or of this machine's or container's if there is no GPU."""
    if tf.config.list_logical_devices("GPU"):
        try:
            asked = subprocess.run(_GPU_MEMORY, capture_output=True, text=True, check=True)
            return min(int(line) for line in asked.stdout.split()) * 2**20
        except (OSError, ValueError, subprocess.CalledProcessError) as error:
            _log.warning("the memory of the GPU is not known, so the plan counts that of the machine: %s", error)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(memory, int(_CGROUP_LIMIT.read_text(encoding="ascii")))
    except (OSError, ValueError):  # no container, or no limit ("max")
        return memory


def _free_disk(folder: pathlib.Path) -> int:
    """The free bytes where `folder` is or will be."""
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(existing).free
