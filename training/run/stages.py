"""What a run is made of: parts of the model are trained, their proposals made, and both networks measured.

What the run folder holds already is not computed again.  On several machines every process calls the same functions in
the same order; the chief alone writes and prints.
"""

import gc
import math
import os
import shutil
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from keras_frcnn.data.example import Dataset
from keras_frcnn.data.order import training_items
from keras_frcnn.data.pipeline import training_batches
from keras_frcnn.evaluation.recall import COUNTS
from keras_frcnn.evaluation.tables import ap_to_json, format_ap_table, format_recall_table, recall_to_json
from keras_frcnn.evaluation.voc_ap import evaluate_voc
from keras_frcnn.facts.files import read_json, write_json
from keras_frcnn.network.forward import Counts, detector_training_counts, detection_counts
from keras_frcnn.network.model import FasterRCNN
from training.engine.checkpoints import Checkpoints
from training.engine.distribution import is_chief, spread, wait_for_all
from training.evaluate import detect_dataset, measure_recall, write_pictures
from training.stores.features import FeatureCache, stored_features
from training.reporting.tensorboard_pictures import picture_writer
from training.engine.loop import Optimisation, Overall, Trainer, train
from training.stores.proposals import store_proposals
from training.stores.rows import is_complete, row_paths
from training.run.start import Run, proposal_directory, say
from training.run.folder import save_parts, weights_path
from training.engine.schedules import StepDecay
from training.reporting.summary import headlines

PICTURES = 12  # drawn of the finished detector


class Training(NamedTuple):
    """What is trained from one start to one end."""

    name: str  # of its files in the run folder
    title: str
    parts: tuple[str, ...]
    losses: Callable
    batches: int  # mini-batches of `images` pictures
    images: int
    learning_rate: float
    seed: int


class Trained(NamedTuple):
    """The model as the training of that name left it."""

    run: Run
    model: FasterRCNN
    name: str
    title: str
    cache: FeatureCache | None = None  # of the features of its backbone


def train_parts(
    run: Run,
    model: FasterRCNN,
    training: Training,
    overall: Overall,
    proposals_from: str | None = None,
    cache: FeatureCache | None = None,
):
    """Train as `training` says, from the newest checkpoint on, and leave the parts in `weights_path(name)`.

    `proposals_from` names the training whose RPN made those that a detector takes; without it, it takes its own.
    """
    options, images = run.options, training.images
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    # A change of the weights takes this many mini-batches: fewer changes, and a learning rate that grows with them
    # (Goyal et al. 2017, section 2.1).
    together = replicas * options.accumulate
    steps = math.ceil(training.batches / together)
    warmup = options.warmup if options.warmup is not None else 0 if together == 1 else min(500, steps // 10)
    schedule = StepDecay(training.learning_rate * together, steps, options.drop_at, warmup)
    say(
        run.folder,
        f"{training.title}: {steps} steps of {images * together} pictures ({replicas} replicas x {images} x "
        f"{options.accumulate} accumulated), learning rate {schedule.learning_rate:g}, warmed up over {warmup} steps",
    )
    items = training_items(run.train_set, training.seed, images * replicas, steps * images * together)
    features = stored_features(cache, run.train_set, items, f"{training.title}: features, train")
    paths = shown_proposals = None
    if proposals_from is not None:
        paths = row_paths(proposal_directory(run, proposals_from, "train"), run.train_set)
    if proposals_from is not None and "backbone" in training.parts:  # the RPN in the model knows other features
        shown_proposals = proposal_directory(run, proposals_from, "val")

    optimisation = Optimisation(options.momentum, options.weight_decay, options.clip_norm, options.accumulate)
    trainer = Trainer(model, training.losses, training.parts, schedule, optimisation)
    folder = run.folder / "checkpoints" / training.name
    checkpoints = Checkpoints(
        trainer, folder, options.checkpoint_iterations, 60.0 * options.checkpoint_minutes, options.checkpoints
    )
    done = checkpoints.restore()
    if done:
        say(run.folder, f"{training.title}: goes on from step {done}")

    def batches(share):
        return training_batches(
            run.train_set, run.config.image, images, training.seed, paths, features, done * images * together, share
        )

    trainer.feed(spread(batches))
    overall.skip(done * together)
    logs = run.folder / "logs"
    # Line by line: who reads along sees each record as it comes, and a kill loses none.
    with open(logs / "train.log" if is_chief() else os.devnull, "a", buffering=1, encoding="utf-8") as log_file:
        train(
            trainer,
            steps,
            checkpoints,
            logs / training.name,
            log_file,
            training.title,
            lambda steps: overall.advance(steps * together),
            picture_writer(model, training.parts, run.val_set, shown_proposals),
        )
    if is_chief():
        minutes = float(trainer.seconds.numpy()) / 60
        summary = {"iterations": steps, "images": steps * images * together, "minutes": minutes}
        write_json(logs / f"{training.name}.json", summary)
        save_parts(weights_path(run.folder, training.name), model, training.parts)  # last: it says that all is done
        shutil.rmtree(folder, ignore_errors=True)
    wait_for_all()
    del trainer, checkpoints
    gc.collect()  # the optimiser's slots are as large as the model


def propose_for_training(trained: Trained):
    """Make the proposals that a detector is to train on."""
    run = trained.run
    _propose(trained, run.train_set, "train", detector_training_counts(run.config))


def _propose(trained: Trained, dataset: Dataset, split: str, counts: Counts):
    directory = proposal_directory(trained.run, trained.name, split)
    if not is_complete(directory):
        features = _features(trained, dataset, split)
        title = f"{trained.title}: proposals, {split}"
        store_proposals(trained.model, dataset, directory, counts, title, features)


def _features(trained: Trained, dataset: Dataset, split: str):
    upright = [(index, False) for index in range(len(dataset.examples))]
    return stored_features(trained.cache, dataset, upright, f"{trained.title}: features, {split}")


def measure_rpn(trained: Trained) -> dict:
    """Recall of the proposals for the validation set, printed as a table."""
    run = trained.run

    def measure():
        _propose(trained, run.val_set, "val", detection_counts(run.config)._replace(after_nms=max(COUNTS)))
        recall = measure_recall(proposal_directory(run, trained.name, "val"), run.val_set)
        return format_recall_table(recall), {"recall": recall_to_json(recall)}

    return _measured(trained, "rpn", measure)


def measure_detector(trained: Trained, proposals_from: str | None = None) -> dict:
    """AP of the detector on the validation set, printed as a table, with the proposals of the training of that name.

    Without it the detector proposes for itself: it is the finished one, and is shown in pictures.
    """
    run = trained.run

    def measure():
        features = _features(trained, run.val_set, "val")
        directory = run.folder / "detections" / trained.name
        proposals = None if proposals_from is None else proposal_directory(run, proposals_from, "val")
        title = f"{trained.title}: detections"
        detections = detect_dataset(trained.model, run.val_set, directory, title, proposals, features)
        result = evaluate_voc(run.val_set.examples, detections, run.val_set.class_names)
        if proposals is None and is_chief():
            write_pictures(run.val_set, detections, run.folder / "evaluation" / "pictures", PICTURES)
        return format_ap_table(result), {"ap": ap_to_json(result)}

    return _measured(trained, "detector", measure)


def _measured(trained: Trained, network: str, measure) -> dict:
    """The evaluation of a network, from the run folder if it is there; printed as a table."""
    run, name, title = trained.run, trained.name, trained.title
    path = run.folder / "evaluation" / f"{name}.{network}.json"
    is_there = path.is_file()
    wait_for_all()
    if not is_there:
        table, result = measure()
        if is_chief():
            training = read_json(run.folder / "logs" / f"{name}.json")
            write_json(path, {"name": name, "title": title, "training": training, **result, "table": table})
            with tf.summary.create_file_writer(str(run.folder / "logs" / name)).as_default(step=training["iterations"]):
                for tag, value in headlines(result).items():
                    tf.summary.scalar(f"evaluation/{tag}", value)
        wait_for_all()
    result = read_json(path)
    table = f"\nafter {title}, on {run.options.val}:\n{result['table']}\n"
    if is_there:
        print(table, flush=True)
    else:
        say(run.folder, table)
    return result
