"""Measure a detector: VOC average precision of its detections, and recall of its proposals.

    python -m training.evaluate --model runs/synthetic --data synthetic --split test

prints both tables.  With --out, it also writes them as JSON, with pictures and the official VOC result files.
"""

import argparse
import os
from collections.abc import Sequence

from keras_frcnn.data.sources.table import DATA_HELP
from keras_frcnn.facts.errors import exit_on_input_error
from keras_frcnn.facts.settings import Limits, check_number


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluate", description="Measure a trained detector: VOC AP and proposal recall."
    )
    parser.add_argument("--model", required=True, help="a run folder, or a .keras file")
    parser.add_argument("--data", required=True, help=DATA_HELP)
    parser.add_argument("--split", default="test", help="image sets, joined with +, e.g. VOC2007/test (default: test)")
    parser.add_argument("--iou", type=float, default=0.5, help="IoU that a detection needs (default: 0.5)")
    parser.add_argument("--out", help="a folder for evaluation.json, pictures and official VOC result files")
    parser.add_argument("--strict", action="store_true", help="treat annotation faults as errors, do not repair them")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse_arguments(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow reads it when it is imported: hide its own warnings
    with exit_on_input_error(extra="train"):
        check_number(options.iou, Limits(at_least=0, less_than=1), "--iou")
        from training.run.evaluation import evaluate  # heavy; --help must answer at once

        evaluate(options.model, options.data, options.split, options.iou, options.out, options.strict)


if __name__ == "__main__":
    main()
