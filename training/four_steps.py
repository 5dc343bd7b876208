"""The paper's 4-step alternating training (section 3.2): the steps as a table, and what carries them out."""

import dataclasses
import gc
import hashlib
import math
import pathlib
import shutil
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from keras_frcnn.config import DetectorConfig, config_to_dict
from keras_frcnn.data.example import Dataset
from keras_frcnn.data.pipeline import naming_undecodable, training_batches, training_items
from keras_frcnn.data.sources import describe_problems, load_dataset
from keras_frcnn.data.stored_features import FeatureFiles
from keras_frcnn.errors import InputError
from keras_frcnn.evaluation.recall import COUNTS
from keras_frcnn.evaluation.tables import ap_to_json, format_ap_table, format_recall_table, recall_to_json
from keras_frcnn.evaluation.voc_ap import evaluate_voc
from keras_frcnn.model import FasterRCNN
from keras_frcnn.weights import load_pretrained
from training.evaluate import detect_dataset, measure_recall, write_pictures
from training.feature_cache import FeatureCache
from training.loop import NonFiniteLoss, Trainer, train
from training.proposal_store import are_made, make_proposals, proposal_paths
from training.run_folder import load_part, open_run, read_json, save_parts, weights_path, write_atomically, write_json
from training.schedules import step_decay
from training.steps import head_losses, rpn_losses


class Step(NamedTuple):
    """One of the four steps.  A part starts "pretrained", "new", or as the step of that number left it."""

    number: int
    network: str
    trains: tuple[str, ...]
    backbone_from: str | int
    rpn_from: str | int | None  # None: the step has no use for that part
    head_from: str | int | None
    losses: Callable
    proposals_from: int | None  # the step whose RPN made the proposals that this one trains on


# Steps 3 and 4 leave the convolutions of step 2 as they are, so that both networks share them.  What the RPN's own
# layers start from in step 3 the paper leaves open: here they go on from step 1.
STEPS = (
    Step(1, "RPN", ("backbone", "rpn"), backbone_from="pretrained", rpn_from="new", head_from=None,
         losses=rpn_losses, proposals_from=None),
    Step(2, "detector", ("backbone", "head"), backbone_from="pretrained", rpn_from=None, head_from="pretrained",
         losses=head_losses, proposals_from=1),
    Step(3, "RPN", ("rpn",), backbone_from=2, rpn_from=1, head_from=None,
         losses=rpn_losses, proposals_from=None),
    Step(4, "detector", ("head",), backbone_from=2, rpn_from=3, head_from=2,
         losses=head_losses, proposals_from=3),
)  # fmt: skip
CHANGEABLE = ("run", "feature_cache_gib", "feature_cache_folder")  # options that change no result
PICTURES = 12  # drawn after the last step
PICTURE_THRESHOLD = 0.5


class Run(NamedTuple):
    """What stays the same through the four steps."""

    folder: pathlib.Path
    options: object  # argparse.Namespace of training.alternate
    config: DetectorConfig
    train_set: Dataset
    val_set: Dataset


def run_four_steps(options) -> int:
    """Carry out all steps that the run folder does not hold yet, and print the results.

    Returns the exit status: 0, or 130 where the user interrupted it, 1 where the loss was no finite number.  Raises
    InputError.
    """
    _check_numbers(options)
    pretrained = load_pretrained(options.weights)  # before the run folder is made: it may be given wrongly
    run = _open(options)
    model = FasterRCNN(run.config, run.train_set.class_names, seed=options.seed, dtype=options.precision)
    results = []
    for step in STEPS:
        try:
            with naming_undecodable(run.train_set, run.val_set):
                results.append(_carry_out(step, run, model, pretrained))
        except KeyboardInterrupt:
            done = ", ".join(str(result["step"]) for result in results) or "none"
            print(
                f"\ninterrupted in step {step.number}; finished steps kept: {done}. The same command goes on from "
                f"step {step.number}.",
                file=sys.stderr,
            )
            return 130
        except NonFiniteLoss as error:
            path = run.folder / "weights" / f"step{step.number}.last_good.npz"
            save_parts(path, model, step.trains)
            print(
                f"error: step {step.number}: {error}; the last good weights are in {path}; lower --learning-rate and "
                "start another run",
                file=sys.stderr,
            )
            return 1

    _finish(run, model)
    print(_summary_table(results))
    print(f"model:    {run.folder / 'model.keras'}\npictures: {run.folder / 'evaluation' / 'pictures'}")
    return 0


def _check_numbers(options):
    """Raise InputError for the first option whose numbers make no sense; a number that is no number never does."""
    positive = (lambda x: 0 < x < math.inf, "numbers over 0")
    share = (lambda x: 0 <= x < 1, "a number from 0, under 1")
    rules = {
        **dict.fromkeys(("steps", "rpn_images", "head_images", "rois", "fc_units"), positive),
        **dict.fromkeys(("short_side", "long_side", "min_size", "anchor_scales", "anchor_ratios"), positive),
        "learning_rate": positive,
        "momentum": share,
        "dropout": share,
        "nms_iou": (lambda x: 0 < x <= 1, "a number over 0, at most 1"),
        "drop_at": (lambda x: 0 < x <= 1, "a number over 0, at most 1"),
        **dict.fromkeys(("weight_decay", "feature_cache_gib"), (lambda x: 0 <= x < math.inf, "a number from 0")),
        "seed": (lambda x: 0 <= x < 2**28, "a whole number from 0, under 2**28"),
    }
    for name, (holds, wanted) in rules.items():
        value = getattr(options, name)
        numbers = value if isinstance(value, list | tuple) else [] if value is None else [value]
        if not all(holds(number) for number in numbers):
            raise InputError(f"--{name.replace('_', '-')} {value}", "makes no sense", f"give {wanted}")


def _open(options) -> Run:
    train_set = load_dataset(options.data, options.train, options.class_names, options.strict)
    val_set = load_dataset(options.data, options.val, train_set.class_names, options.strict)
    for line in describe_problems(train_set) + describe_problems(val_set):
        print(line)
    config = detector_config(options)
    plain = {name: value for name, value in vars(options).items() if name not in CHANGEABLE}
    folder = open_run(options.run, {"options": plain, "detector": config_to_dict(config)}, train_set.class_names)
    print(
        f"{len(train_set.examples)} pictures to train on, {len(val_set.examples)} to measure on, "
        f"{len(train_set.class_names)} classes: {', '.join(train_set.class_names)}"
    )
    return Run(folder, options, config, train_set, val_set)


def detector_config(options) -> DetectorConfig:
    """The paper's configuration with what the options change."""
    given = {
        "image": {"short_side": options.short_side, "long_side": options.long_side},
        "anchors": {"scales": options.anchor_scales, "ratios": options.anchor_ratios},
        "rpn": {"min_size": options.min_size},
        "head": {"batch_size": options.rois, "fc_units": options.fc_units, "dropout": options.dropout},
        "test": {"nms_iou": options.nms_iou},
    }
    paper = DetectorConfig()
    sections = {}
    for section, fields in given.items():
        changed = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in fields.items()
            if value is not None
        }
        sections[section] = dataclasses.replace(getattr(paper, section), **changed)
    return dataclasses.replace(paper, **sections)


def _carry_out(step: Step, run: Run, model: FasterRCNN, pretrained) -> dict:
    """Bring the model to the state after `step`, training only if the run folder does not hold it, and measure it."""
    done = weights_path(run.folder, step.number)
    sources = {"backbone": step.backbone_from, "rpn": step.rpn_from, "head": step.head_from}
    if done.is_file():
        sources.update({part: step.number for part in step.trains})
    _start(model, sources, run, pretrained)
    cache = None
    if "backbone" not in step.trains and run.options.feature_cache_gib > 0:
        budget = int(run.options.feature_cache_gib * 2**30)
        cache = FeatureCache(_feature_folder(run), model, budget, run.options.feature_cache_dtype)
    if not done.is_file():
        _train(step, run, model, cache)
    measure = _measure_rpn if "rpn" in step.trains else _measure_detector
    return measure(step, run, model, cache)


def _start(model: FasterRCNN, sources: dict, run: Run, pretrained):
    """Give each part its starting weights: those a step left, or new ones, the same whatever was trained before."""
    if not all(isinstance(source, int) for source in sources.values() if source is not None):
        fresh = FasterRCNN(run.config, model.class_names, seed=run.options.seed)
        if pretrained is not None:
            apply_pretrained(fresh, pretrained)
    for part, source in sources.items():
        if isinstance(source, int):
            load_part(weights_path(run.folder, source), model, part)
        elif source is not None:
            getattr(model, part).set_weights(getattr(fresh, part).get_weights())


def apply_pretrained(model: FasterRCNN, pretrained):
    """Give the backbone its ImageNet convolutions, and the head its fc6 and fc7 where the source has them."""
    for convolution in model.backbone.convolutions:
        convolution.set_weights(pretrained.layers[convolution.name])
    for layer, name in ((model.head.fc6, "fc1"), (model.head.fc7, "fc2")):
        if name in pretrained.layers:
            kernel, bias = pretrained.layers[name]
            if layer.kernel.shape != kernel.shape:
                raise InputError(
                    f"--weights {pretrained.source}, layer {name}",
                    f"has shape {kernel.shape}, the detector's {layer.name} {tuple(layer.kernel.shape)}",
                    "leave --fc-units at 4096, or give weights without fc layers",
                )
            layer.set_weights([kernel, bias])


def _feature_folder(run: Run) -> pathlib.Path:
    """In the run folder, or a folder of this run's own in the one given."""
    given = run.options.feature_cache_folder
    if given is None:
        return run.folder / "features"
    stamp = hashlib.sha256(str(run.folder.resolve()).encode()).hexdigest()[:8]
    return pathlib.Path(given) / f"{run.folder.resolve().name}-{stamp}"


def _stored_features(cache: FeatureCache | None, dataset: Dataset, items, title: str) -> FeatureFiles | None:
    """Store the features of `items`, (example index, flip or not); None where nothing is to be stored."""
    if cache is None:
        return None
    cache.fill(dataset, items, title)
    return cache.files(dataset)


def _upright(dataset: Dataset):
    return [(index, False) for index in range(len(dataset.examples))]


def _train(step: Step, run: Run, model: FasterRCNN, cache: FeatureCache | None):
    options, number = run.options, step.number
    steps = options.steps[number - 1]
    images = options.rpn_images if "rpn" in step.trains else options.head_images
    stored = None
    if step.proposals_from is not None:
        stored = proposal_paths(_proposal_directory(run, step.proposals_from, "train"), run.train_set)
    # Each step has its own order of pictures and its own random choices.
    seed = options.seed * len(STEPS) + number
    items = training_items(len(run.train_set.examples), seed, steps * images)
    features = _stored_features(cache, run.train_set, items, f"step {number} features, train")
    batches = training_batches(run.train_set, run.config.image, images, seed, stored, features)
    schedule = step_decay(options.learning_rate[number - 1], steps, options.drop_at)
    trainer = Trainer(model, step.losses, step.trains, batches, schedule, options.momentum, options.weight_decay)
    logs = run.folder / "logs"
    logs.mkdir(exist_ok=True)
    started = time.perf_counter()
    with open(logs / "train.log", "a", encoding="utf-8") as log_file:
        train(trainer, steps, logs / f"step{number}", log_file, f"step {number} {step.network}")
    minutes = (time.perf_counter() - started) / 60
    write_json(logs / f"step{number}.json", {"steps": steps, "images": steps * images, "minutes": minutes})
    save_parts(weights_path(run.folder, number), model, step.trains)  # last: they say that the step is done
    del trainer, batches
    gc.collect()  # the optimiser's slots are as large as the model


def _proposal_directory(run: Run, step: int, split: str) -> pathlib.Path:
    return run.folder / "proposals" / f"step{step}" / split


def _measure_rpn(step: Step, run: Run, model: FasterRCNN, cache: FeatureCache | None) -> dict:
    """Make the proposals of this step's RPN, for the detector to train on and to measure recall, and print it."""
    rpn, test = run.config.rpn, run.config.test
    for dataset, split, pre_nms_topk, post_nms_topk in (
        (run.train_set, "train", rpn.train_pre_nms_topk, rpn.train_post_nms_topk),
        (run.val_set, "val", test.pre_nms_topk, max(COUNTS)),
    ):
        directory = _proposal_directory(run, step.number, split)
        if not are_made(directory):
            features = _stored_features(cache, dataset, _upright(dataset), f"step {step.number} features, {split}")
            title = f"step {step.number} proposals, {split}"
            make_proposals(model, dataset, directory, pre_nms_topk, post_nms_topk, title, features)

    def measure():
        directory = _proposal_directory(run, step.number, "val")
        recall = measure_recall(directory, run.val_set, run.config.image)
        return format_recall_table(recall), {"recall": recall_to_json(recall)}

    return _measured(step, run, measure)


def _measure_detector(step: Step, run: Run, model: FasterRCNN, cache: FeatureCache | None) -> dict:
    """Measure the mAP of this step's detector and print it; after the last step the model proposes for itself."""
    shared = step is STEPS[-1]
    directory = None if shared else _proposal_directory(run, step.proposals_from, "val")

    def measure():
        features = _stored_features(cache, run.val_set, _upright(run.val_set), f"step {step.number} features, val")
        detections = detect_dataset(model, run.val_set, f"step {step.number} detections", directory, features)
        result = evaluate_voc(run.val_set.examples, detections, run.val_set.class_names)
        if shared:
            pictures = run.folder / "evaluation" / "pictures"
            write_pictures(run.val_set, detections, pictures, PICTURES, PICTURE_THRESHOLD)
        return format_ap_table(result), {"ap": ap_to_json(result)}

    return _measured(step, run, measure)


def _measured(step: Step, run: Run, measure) -> dict:
    """The evaluation of a step, from the run folder if it is there; printed as a table."""
    path = run.folder / "evaluation" / f"step{step.number}.json"
    if not path.is_file():
        table, result = measure()
        training = read_json(run.folder / "logs" / f"step{step.number}.json")
        write_json(path, {"step": step.number, "training": training, **result, "table": table})
    result = read_json(path)
    print(f"\nafter step {step.number}, {step.network}, on {run.options.val}:\n{result['table']}\n", flush=True)
    return result


def _finish(run: Run, model: FasterRCNN):
    """Write the detector, in float32 whatever it was trained in, after proving that it shares one backbone."""
    check_shared_backbone(run, model)
    path = run.folder / "model.keras"
    if not path.is_file():
        final = FasterRCNN(run.config, model.class_names, seed=run.options.seed)
        final.set_weights(model.get_weights())
        write_atomically(path, final.save)
    shutil.rmtree(_feature_folder(run), ignore_errors=True)  # of no more use


def check_shared_backbone(run: Run, model: FasterRCNN):
    """Prove that RPN and head use the same convolutions, and that these are, bit for bit, those of step 2."""
    features = model.get_layer("backbone").output
    if model.get_layer("rpn").input is not features or model.get_layer("roi_pooling").input[0] is not features:
        raise AssertionError("RPN and head do not read the features of one backbone")
    now = [variable.numpy() for variable in model.backbone.variables]
    load_part(weights_path(run.folder, 2), model, "backbone")
    after_step_2 = [variable.numpy() for variable in model.backbone.variables]
    if not all(np.array_equal(a, b) for a, b in zip(now, after_step_2, strict=True)):
        raise AssertionError("the convolutions changed after step 2")
    print(f"check: RPN and head share one backbone of {len(now)} variables, unchanged since step 2")


def _summary_table(results) -> str:
    """The four steps in a row: what was trained, for how long, and what came of it."""
    rows = [("step", "network", "batches", "images", "minutes", "recall@300", "mAP 11-point", "mAP area")]
    for step, result in zip(STEPS, results, strict=True):
        recall = mean_11point = mean_area = ""
        if "recall" in result:
            entry = next(entry for entry in result["recall"]["proposals"] if entry["count"] == 300)
            recall = _number(entry["recall"]["0.50"])
        else:
            mean_11point, mean_area = (_number(result["ap"][key]) for key in ("mean_ap_11point", "mean_ap_area"))
        training = result["training"]
        counts = (str(step.number), step.network, str(training["steps"]), str(training["images"]))
        rows.append((*counts, f"{training['minutes']:.1f}", recall, mean_11point, mean_area))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def _number(value) -> str:
    return "-" if value is None else f"{value:.3f}"
