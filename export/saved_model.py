"""Export a detector as a SavedModel, for TensorFlow Serving and for any program with TensorFlow.

    python -m export.saved_model --model runs/synthetic --out served/detector/1

This writes served/detector/1 and prints its size and how much its answers differ from those of the Keras model.  It
takes half a minute, and one or two seconds more for each picture that is compared.  An export that differs too much is
not written, and the exit status is 1.
"""

import argparse
from collections.abc import Sequence

from export.shared.options import PRECISIONS, add_model_options, add_parity_options, add_svd_option
from keras_frcnn.facts.errors import exit_on_input_error
from keras_frcnn.facts.limits import add_max_pixels
from keras_frcnn.facts.logs import quiet_tensorflow


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the options; `None` takes those of the process."""
    parser = argparse.ArgumentParser(
        prog="python -m export.saved_model", description="Export a detector as a SavedModel, for TensorFlow Serving."
    )
    add_model_options(parser)
    parser.add_argument("--out", required=True, metavar="DIR/VERSION", help="the folder to write; VERSION is a number")
    parser.add_argument(
        "--precision", choices=PRECISIONS, default="float32", help="of weights and layers (default: float32)"
    )
    add_svd_option(parser)
    parser.add_argument(
        "--calibrate", nargs="+", metavar="PICTURE",
        help="choose the smaller layers of --svd by the responses to the regions in these pictures instead of by the "
        "weights; give some dozens of real pictures",
    )  # fmt: skip
    add_max_pixels(parser, "of image_bytes: ")
    add_parity_options(parser)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    options = parse_arguments(arguments)
    quiet_tensorflow()
    with exit_on_input_error(extra="export"):
        # Imported here because TensorFlow takes seconds to import, and --help must answer at once.
        from export.savedmodel.export import run

        run(options)


if __name__ == "__main__":
    main()
