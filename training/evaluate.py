"""Measure a detector: average precision of its detections as VOC and COCO define it, and recall of its proposals.

    python -m training.evaluate --model runs/synthetic --data synthetic --split test
    python -m training.evaluate --detections results.json --data voc:PATH --split test

prints the figures with their confidence intervals, and the errors and what they cost.  The second command needs no
model: it scores the detections of any tool.  With --out, it also writes the figures as JSON, a page of the errors, the
detections as COCO and VOC result files, and pictures.
"""

import argparse
from collections.abc import Sequence

from keras_frcnn.facts.errors import exit_on_input_error
from keras_frcnn.facts.logs import quiet_tensorflow
from keras_frcnn.facts.options import add_options, from_options
from keras_frcnn.facts.settings import settings_of
from training.run.options.evaluation import EvaluationOptions


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluate",
        description="Measure a trained detector, or the detections of any tool: average precision, recall and errors.",
        usage="%(prog)s (--model MODEL | --detections PATH) --data DATA [OPTION ...]",
    )
    add_options(parser, settings_of(EvaluationOptions))
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    parsed = parse_arguments(arguments)
    quiet_tensorflow()
    with exit_on_input_error(extra="train"):
        options = from_options(EvaluationOptions, parsed)
        options.check()
        from training.run.evaluation import evaluate  # heavy; --help must answer at once

        evaluate(options)


if __name__ == "__main__":
    main()
