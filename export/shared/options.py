"""What every export begins with: the options that all share, and the detector loaded as they say.

No import of this project's at the top: the command lines take their options from here before they load TensorFlow.
"""

import argparse
import dataclasses
import os
import sys
import time

# What SavedModel and TFLite answer, by TensorFlow's names for detections.
DETECTION_OUTPUTS = ("detection_boxes", "detection_classes", "detection_scores", "num_detections")


def add_model_options(parser: argparse.ArgumentParser):
    """Add the options that `load_for_export` reads, and `--force`."""
    parser.add_argument("--model", required=True, help="a run folder, or a .keras file")
    parser.add_argument(
        "--score-threshold", type=float, metavar="S", help="detections score over this (default: as in the model)"
    )
    parser.add_argument(
        "--nms-iou", type=float, metavar="IOU",
        help="of two detections of one class that overlap more the better one stays (default: as in the model)",
    )  # fmt: skip
    parser.add_argument("--max-detections", type=int, metavar="N", help="rows of an answer (default: as in the model)")
    parser.add_argument("--force", action="store_true", help="replace what is there")


def add_parity_options(parser: argparse.ArgumentParser):
    """Add the options that say on which pictures the export is compared with the Keras model."""
    parser.add_argument(
        "--images", nargs="+", metavar="PICTURE", help="compare on these pictures (default: drawn scenes)"
    )
    parser.add_argument("--data", help="voc:PATH or synthetic[:SEED]: measure the mAP of both, too")
    parser.add_argument("--split", default="test", help="image sets of --data, joined with + (default: test)")


def run_export(options, export):
    """Call `export(options, say)`; `say(line)` prints a line after the seconds since the start.

    A bad input is one line and exit status 2; a ParityError, after which nothing is written, one line and status 1.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # read by TensorFlow as it is imported: warnings of its own code
    # Heavy packages only from here on, so that --help answers at once.
    import tensorflow as tf

    from export.shared.parity import ParityError
    from keras_frcnn.facts.errors import exit_on_input_error

    # The parity gate compares a GPU's answers with those of TFLite on the CPU, in full float32.
    tf.config.experimental.enable_tensor_float_32_execution(False)
    started = time.perf_counter()

    def say(line):
        print(f"{time.perf_counter() - started:6.1f} s  {line}", flush=True)

    with exit_on_input_error():
        try:
            export(options, say)
        except ParityError as error:
            print(f"error: {options.out}: not written: {error}", file=sys.stderr)
            raise SystemExit(1) from None


def check_free(path, force: bool):
    """Raise InputError where `path` must not be replaced, or where its folder, which is made, cannot be."""
    from keras_frcnn.facts.errors import InputError

    if path.exists() and not force:
        raise InputError(path, "is there already", "give another --out, or --force to replace it")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(path.parent, f"is no folder to write to ({error})", "give another --out") from error


def load_for_export(options):
    """The detector `options.model` in float32, whatever it was trained in, with the thresholds of `options`.

    Raises InputError where there is no model, or where a number is out of its range.
    """
    from keras_frcnn.api.model_file import load_model

    changes = _test_changes(options)
    model = load_model(options.model)
    config = dataclasses.replace(model.config, test=dataclasses.replace(model.config.test, **changes))
    return _rebuilt(model, config, "float32")


def in_precision(model, dtype: str):
    """The detector, its layers computing and its weights held as `dtype` says (a Keras dtype policy)."""
    return _rebuilt(model, model.config, dtype)


def _rebuilt(model, config, dtype: str):
    from keras_frcnn.network.model import FasterRCNN

    if config == model.config and dtype == model.precision:
        return model
    rebuilt = FasterRCNN(config, model.class_names, seed=model.seed, dtype=dtype)
    rebuilt.set_weights(model.get_weights())
    return rebuilt


def _test_changes(options: argparse.Namespace) -> dict[str, float]:
    """The fields of `TestConfig` that `options` change; raises InputError for a number out of its range."""
    from keras_frcnn.facts.config import TestConfig
    from keras_frcnn.facts.settings import check, settings_of

    return {
        setting.name: check(value, setting, f"--{setting.name.replace('_', '-')}")
        for setting in settings_of(TestConfig)
        if (value := getattr(options, setting.name, None)) is not None
    }
