"""The options that the three exports share.

The command lines import this module at the top, so it imports no heavy package: `--help` must answer at once.
"""

import argparse

from keras_frcnn.data.sources.table import DATA_HELP

PRECISIONS = ("float32", "bfloat16", "float16")  # of a SavedModel's weights and layers
QUANTIZATIONS = ("none", "float16", "dynamic", "int8")  # of a TFLite file
WEB_QUANTIZATION = "dynamic"  # of the TFLite file of a web page, if no other is asked for


def add_model_options(parser: argparse.ArgumentParser, also: str = "") -> None:
    """Add the options that `loading.load_for_export` reads, and `--force`; `also` names other kinds of models."""
    kinds = f"a run folder, a .keras file, {also}" if also else "a run folder, or a .keras file"
    parser.add_argument("--model", required=True, help=kinds)
    parser.add_argument(
        "--score-threshold", type=float, metavar="S",
        help="drop detections whose score is not greater than this (default: the model's)",
    )  # fmt: skip
    parser.add_argument(
        "--nms-iou", type=float, metavar="IOU",
        help="of two detections of one class that overlap more than this, keep the one with the higher score "
        "(default: the model's)",
    )  # fmt: skip
    parser.add_argument(
        "--max-detections", type=int, metavar="N", help="rows of detections for each picture (default: the model's)"
    )
    parser.add_argument("--force", action="store_true", help="replace an existing export")


def add_svd_option(parser: argparse.ArgumentParser) -> None:
    """Add the option `--svd`, which `svd.wanted_ranks` reads."""
    parser.add_argument(
        "--svd", nargs="*", type=int, metavar="RANK",
        help="replace fc6 and fc7 by two smaller layers each, of these two ranks (default: 3/8 and 1/4 of their "
        "units, that is 1536 1024 of 4096)",
    )  # fmt: skip


def add_tflite_options(parser: argparse.ArgumentParser, size: str | None, quantize: str) -> None:
    """Add the options of a TFLite file alone: `--size`, `--quantize` and `--calibrate`, each `None` if not given.

    `size` and `quantize` tell the user what happens then.  Without `size`, that option is required.
    """
    default = f" (default: {size}); smaller is faster" if size else ", e.g. 480x640"
    parser.add_argument(
        "--size", required=not size, metavar="HxW", help=f"height and width at which the network runs{default}"
    )
    parser.add_argument(
        "--quantize", choices=QUANTIZATIONS,
        help="none: float32; float16: weights in float16; dynamic: weights in int8, and activations in int8 by the "
        f"ranges of each picture; int8: both in int8, by ranges measured beforehand (default: {quantize})",
    )  # fmt: skip
    parser.add_argument(
        "--calibrate", nargs="+", metavar="PICTURE",
        help="some dozens of real pictures: int8 measures the ranges of activations on them, and --svd the responses "
        "of fc6 and fc7",
    )  # fmt: skip


def add_parity_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose the pictures on which the export is compared with the Keras model."""
    parser.add_argument(
        "--images", nargs="+", metavar="PICTURE",
        help="compare on these pictures (default: the first eight of --calibrate or of --data, or else drawn scenes)",
    )  # fmt: skip
    parser.add_argument("--data", help=f"{DATA_HELP}: also measure the mAP of both")
    parser.add_argument("--split", help="image sets of --data, joined with + (default: test)")
