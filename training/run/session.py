"""Carry a run out from its options to the finished model, its report and the table of results."""

import contextlib
import os
import pathlib
import sys
from collections.abc import Callable

import tensorflow as tf

from keras_frcnn.data.pipeline import naming_undecodable
from keras_frcnn.evaluation.voc_ap import evaluate_voc
from keras_frcnn.facts.files import write_atomically
from keras_frcnn.network.model import FasterRCNN
from keras_frcnn.network.weights.warm_start import TrainedDetector, new_layers
from training.engine.distribution import is_chief, make_strategy
from training.evaluate import detect_dataset
from training.stores.features import delete_features
from training.engine.interruption import stop_if_asked
from training.engine.loop import NonFiniteLoss
from training.reporting.report import write_report
from training.run.options import TrainingOptions
from training.run.start import Run, Start, feature_folder, load_start, locked, open_run, read_data, say
from training.reporting.summary import summary_table

WORKER_LOST = 75  # the exit status: EX_TEMPFAIL, try again


def conduct(options: TrainingOptions, work: Callable[[Run, FasterRCNN, Start], list[dict]]) -> int:
    """Open the run, call `work(run, model, start)`, which gives its evaluations, and write the finished model.

    Returns the exit status: 0; 1 where a loss was no finite number, 75 where another machine was lost.  Raises
    InputError, and KeyboardInterrupt where it was interrupted.
    """
    # Check user input first, before touching devices or the run folder.
    start = load_start(options.weights)
    train_set, val_set = read_data(options)
    stop_if_asked()
    with make_strategy().scope(), contextlib.ExitStack() as stack:
        if not is_chief():
            stack.enter_context(contextlib.redirect_stdout(stack.enter_context(open(os.devnull, "w"))))
        run = open_run(options, train_set, val_set)
        stack.enter_context(locked(run.folder))
        stack.enter_context(naming_undecodable(run.train_set, run.val_set))
        model = FasterRCNN(run.config, run.train_set.class_names, seed=options.seed, dtype=options.precision)
        if isinstance(start, TrainedDetector):
            new = (f"{name} ({reason})" for name, reason in new_layers(model, start).items())
            say(run.folder, f"warm start from {start.source}: layers kept but for {', '.join(new) or 'none'}")
        try:
            results = work(run, model, start)
        except NonFiniteLoss as error:
            print(
                f"error: {error}; the last good weights are in {run.folder / 'checkpoints'}; "
                "start another run with a lower --learning-rate, --warmup or --clip-norm",
                file=sys.stderr,
            )
            return 1
        except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.DeadlineExceededError) as error:
            print(
                f"error: lost another worker ({type(error).__name__}); start all workers again with "
                "the same command: training goes on from the newest checkpoint",
                file=sys.stderr,
            )
            return WORKER_LOST
        chief = is_chief()
    # Outside of the strategy: to make variables there is to wait for the other machines.
    if chief:
        _write_model(run, model)
        report = _write_report(run, model, results)
        print(summary_table(results))
        print(f"model:    {run.folder / 'model.keras'}")
        print(f"pictures: {run.folder / 'evaluation' / 'pictures'}\nreport:   {report}")
    return 0


def _write_report(run: Run, model: FasterRCNN, results: list[dict]) -> pathlib.Path:
    path = run.folder / "report.html"
    if not path.is_file():
        stored = run.folder / "detections" / results[-1]["name"]
        detections = detect_dataset(model, run.val_set, stored, "detections")
        ap = evaluate_voc(run.val_set.examples, detections, run.val_set.class_names)
        write_report(run.folder, results, run.val_set, detections, ap)
    return path


def _write_model(run: Run, model: FasterRCNN):
    """Write the finished detector, in float32 whatever it was trained in, and delete the stored features."""
    path = run.folder / "model.keras"
    if not path.is_file():
        final = FasterRCNN(run.config, model.class_names, seed=run.options.seed)
        final.set_weights(model.get_weights())
        write_atomically(path, final.save)
    with contextlib.suppress(OSError):  # the detector is finished: features that stay only take up space
        delete_features(feature_folder(run))
