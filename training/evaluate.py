"""Measure a detector: VOC average precision of its detections, and recall of its proposals.

    python -m training.evaluate --model runs/synthetic --data synthetic --split test

prints both tables.  With --out, it also writes them as JSON, with pictures and the official VOC result files.
"""

import argparse
import os
from collections.abc import Sequence

from keras_frcnn.data.sources.spec import DataSpec
from keras_frcnn.facts.errors import exit_on_input_error
from keras_frcnn.facts.options import add_options, from_options
from keras_frcnn.facts.settings import Limits, check_number, settings_of


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluate", description="Measure a trained detector: VOC AP and proposal recall."
    )
    parser.add_argument("--model", required=True, help="a run folder, or a .keras file")
    parser.add_argument("--split", default="test", help="splits, joined with +, e.g. VOC2007/test (default: test)")
    parser.add_argument("--iou", type=float, default=0.5, help="IoU that a detection needs (default: 0.5)")
    parser.add_argument("--out", help="a folder for evaluation.json, pictures and official VOC result files")
    add_options(parser, settings_of(DataSpec))
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse_arguments(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow reads it when it is imported: hide its own warnings
    with exit_on_input_error(extra="train"):
        check_number(options.iou, Limits(at_least=0, less_than=1), "--iou")
        spec = from_options(DataSpec, options)
        from training.run.evaluation import evaluate  # heavy; --help must answer at once

        evaluate(options.model, spec, options.split, options.iou, options.out)


if __name__ == "__main__":
    main()
