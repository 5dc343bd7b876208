"""Export a detector as one TFLite file, from pixels to boxes, that needs only TFLite's builtin operations.

    python -m export.tflite --model runs/synthetic --size 240x320 --out detector.tflite
    python -m export.tflite --model runs/synthetic --size 240x320 --out small.tflite --quantize int8 --calibrate *.jpg

This prints the size of the file and how much its answers differ from those of the Keras model.  It takes a minute, and
a few seconds more for each picture that calibrates or is compared.  A file that differs too much is not written, and
the exit status is 1.  `export/tflite_sample.py` shows how to use the file.

The file does not resize.  SIZE is the size at which the network runs, and the app resizes its pictures to it.
`keras_frcnn.data.pictures.images.resized_size` is the rule of training.  If all pictures of a data set have one size,
this rule gives one SIZE for all of them.
"""

import argparse
from collections.abc import Sequence

from export.shared.options import add_model_options, add_parity_options, add_svd_option, add_tflite_options
from keras_frcnn.facts.errors import exit_on_input_error
from keras_frcnn.facts.logs import quiet_tensorflow


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the options; `None` takes those of the process."""
    parser = argparse.ArgumentParser(
        prog="python -m export.tflite", description="Export a detector as one TFLite file of builtin operations."
    )
    add_model_options(parser)
    parser.add_argument("--out", required=True, metavar="FILE.tflite", help="the file to write")
    add_tflite_options(parser, None, "none")
    parser.set_defaults(quantize="none")
    add_svd_option(parser)
    add_parity_options(parser)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    options = parse_arguments(arguments)
    quiet_tensorflow()
    with exit_on_input_error(extra="export"):
        # Imported here because TensorFlow takes seconds to import, and --help must answer at once.
        from export.litemodel.export import run

        run(options)


if __name__ == "__main__":
    main()
