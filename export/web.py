"""Make a static web page that runs a detector in the browser: no server computes, and no picture leaves the tab.

    python -m export.web --model runs/synthetic --out site
    python -m http.server --directory site

Any static host can serve the folder over https.  The page takes a picture that is dropped on it, or the camera, and
works without a network after the first visit.  It runs a TFLite file with LiteRT.js, which npm fetches once: Node.js
must be installed.  --model takes a TFLite file of export.tflite, or a trained model, from which a TFLite file is made
first; the options --size, --quantize and those after them are for that.
"""

import argparse
from collections.abc import Sequence

from export.shared.options import (
    WEB_QUANTIZATION,
    add_model_options,
    add_parity_options,
    add_svd_option,
    add_tflite_options,
)
from keras_frcnn.facts.errors import exit_on_input_error
from keras_frcnn.facts.logs import quiet_tensorflow


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the options; `None` takes those of the process."""
    parser = argparse.ArgumentParser(
        prog="python -m export.web", description="Make a static web page that runs a detector in the browser."
    )
    add_model_options(parser, also="or a .tflite file")
    parser.add_argument("--out", required=True, metavar="FOLDER", help="the folder to write")
    parser.add_argument("--title", default="Object detector", help="heading of the page (default: Object detector)")
    add_tflite_options(parser, "that of a picture of 4:3 in training", WEB_QUANTIZATION)
    add_svd_option(parser)
    add_parity_options(parser)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    options = parse_arguments(arguments)
    quiet_tensorflow()
    with exit_on_input_error(extra="export"):
        # Imported here because TensorFlow takes seconds to import, and --help must answer at once.
        from export.website.build import run

        run(options)


if __name__ == "__main__":
    main()
