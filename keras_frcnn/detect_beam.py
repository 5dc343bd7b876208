"""Detect objects in any number of pictures on any number of machines, with Apache Beam.

    python -m keras_frcnn.detect_beam --model models/detector/1 --out found 'photos/**'
    python -m keras_frcnn.detect_beam --model models/detector/1 --out found --tfrecord 'pictures-*.tfrecord'

found/detections-*.jsonl has one JSON line for each picture, as keras_frcnn.detect writes them, in any order;
found/errors-*.jsonl has one for each picture that could not be read.  Options after -- go to Beam: by default it runs
here; with -- --runner FlinkRunner, SparkRunner or DataflowRunner, and their options, it runs on a cluster.  All
machines must be able to read the model and the pictures.

Needs the extra: pip install 'keras-frcnn[beam]'.

Exit status: 0 if all pictures have their detections, 1 if some could not be read, 2 for bad input, 74 if a file cannot
be written, 75 if the pipeline failed and may succeed when it runs again, 130 after Ctrl-C.
"""

import argparse
import sys
from collections.abc import Sequence

from keras_frcnn.facts.errors import exit_on_input_error
from keras_frcnn.facts.limits import add_max_pixels
from keras_frcnn.facts.logs import quiet_tensorflow


def parse_arguments(arguments: Sequence[str] | None = None) -> tuple[argparse.Namespace, list[str]]:
    """The options of this command, and those of Beam, which stand after "--"."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    at = words.index("--") if "--" in words else len(words)
    parser = argparse.ArgumentParser(
        prog="python -m keras_frcnn.detect_beam",
        usage="%(prog)s --model MODEL --out OUT [OPTION ...] [PATTERN ...] [-- OPTION_OF_BEAM ...]",
        description="Detect objects in any number of pictures with Apache Beam. Options after --, such as --runner, "
        "go to Beam.",
    )
    parser.add_argument(
        "pictures", nargs="*", metavar="PATTERN", help="pictures, such as 'photos/**' or 'gs://bucket/photos/*.jpg'"
    )
    parser.add_argument(
        "--tfrecord",
        action="append",
        default=[],
        metavar="PATTERN",
        help="record files of tf.train.Example with image/encoded and image/source_id; may be given several times",
    )
    parser.add_argument(
        "--model", required=True, help="the folder of a SavedModel, a .tflite file, a run folder or a .keras file"
    )
    parser.add_argument("--out", required=True, help="folder for the detections and the errors")
    parser.add_argument("--coco", action="store_true", help="also write a COCO results file, on one machine")
    parser.add_argument("--score", type=float, default=0.5, help="detections from this score on (default: 0.5)")
    parser.add_argument(
        "--batch-size", type=int, default=8, metavar="N", help="most pictures that run together (default: 8)"
    )
    add_max_pixels(parser)
    return parser.parse_args(words[:at]), words[at + 1 :]


def main(arguments: Sequence[str] | None = None) -> None:
    options, of_beam = parse_arguments(arguments)
    quiet_tensorflow()
    with exit_on_input_error(extra="beam"):
        from keras_frcnn.api.beam.run import run_beam  # heavy; --help must answer at once

        status = run_beam(options, of_beam)
    if status:
        raise SystemExit(status)


if __name__ == "__main__":
    main()
