"""Detect objects in pictures and videos.

    python -m keras_frcnn.detect --model runs/synthetic photo.jpg more/*.png
    python -m keras_frcnn.detect --model runs/synthetic photos --out found --write pictures coco

For each picture, this prints one JSON line and writes photo.detections.png with labelled boxes, beside it or into
--out.  Boxes are [ymin, xmin, ymax, xmax] in pixels of that picture, continuous corners.  A model that was trained with
turned pictures turns each picture as its EXIF orientation says; boxes and the drawing are then those of the turned one.

With --out, the folder also holds detections.jsonl, with which --resume continues an interrupted command.

Exit status: 0 if all pictures have their detections, 1 if some could not be read, 2 for bad input, 74 if a file or a
device fails, such as standard output on a full disk, 130 after Ctrl-C.
"""

import argparse
import functools
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from keras_frcnn.facts.errors import InputError, exit_on_input_error
from keras_frcnn.facts.limits import add_max_pixels
from keras_frcnn.facts.logs import quiet_tensorflow

if TYPE_CHECKING:
    from keras_frcnn.api.bulk.run import Summary

FORMATS = ("pictures", "coco", "csv", "voc")


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m keras_frcnn.detect",
        description="Detect objects in pictures: a JSON line and a drawn picture each, and files for other tools.",
    )
    parser.add_argument(
        "pictures",
        nargs="*",
        metavar="PICTURE",
        help="a picture (JPEG, PNG, GIF, BMP, WebP or TIFF), a video, a folder, which is searched with its subfolders, "
        "a pattern such as 'photos/**/*.jpg', numbered pictures such as frames/%%04d.png, a camera such as camera:0, "
        "a URL (with --allow-network), or - for a picture on standard input",
    )
    parser.add_argument(
        "--model",
        required=True,
        help="a run folder, a .keras file, or an export: the folder of a SavedModel, or a .tflite file",
    )
    parser.add_argument(
        "--list", metavar="FILE", help="a text file with the path of a picture in each line; - for standard input"
    )
    parser.add_argument("--allow-network", action="store_true", help="fetch pictures whose names are URLs")
    parser.add_argument("--out", help="folder for everything that is written (default: beside each picture)")
    parser.add_argument(
        "--write",
        nargs="+",
        choices=(*FORMATS, "nothing"),
        default=["pictures"],
        metavar="FORMAT",
        help="what to write: pictures (drawn copies), coco (a results file), csv (a table), voc (annotations to "
        "correct by hand), or nothing besides detections.jsonl (default: pictures)",
    )
    parser.add_argument("--score", type=float, default=0.5, help="show detections from this score on (default: 0.5)")
    parser.add_argument(
        "--batch-size", type=int, default=1, metavar="N", help="pictures that run together (default: 1)"
    )
    parser.add_argument(
        "--slice-size",
        type=int,
        metavar="PIXELS",
        help="also look into overlapping slices of each picture, with this side: finds small objects in large pictures "
        "(a good side is the short side of the pictures of training)",
    )
    parser.add_argument(
        "--every", type=int, default=1, metavar="N", help="look into every Nth frame of a video (default: 1)"
    )
    parser.add_argument(
        "--all-frames", action="store_true", help="look into all frames of animated pictures, as in a video"
    )
    add_max_pixels(parser)
    parser.add_argument("--resume", action="store_true", help="continue the detections in --out")
    return parser.parse_args(arguments)


def check_options(options: argparse.Namespace) -> None:
    """Raise InputError for options that do not fit together."""
    if options.out is not None:
        return
    if options.resume:
        raise InputError("--resume", "given without --out", "give the folder of the detections with --out")
    if not {"pictures", "nothing"}.issuperset(options.write):
        raise InputError("--write", "given without --out", "give a folder for the detections with --out")
    if options.write == ["nothing"]:
        return
    fix = "give a folder for the detections with --out, or only print them with --write nothing"
    if options.list is not None:
        raise InputError("--list", "given without --out", fix)
    for name in options.pictures:
        if os.path.isdir(name):
            raise InputError(name, "is a folder, and there is no --out", fix)
        if name == "-" or "://" in name or name.startswith("camera:"):
            raise InputError(name, "is not a file, and there is no --out", fix)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse_arguments(arguments)
    quiet_tensorflow()
    hint = "" if options.out is None else "Run the same command with --resume to continue."
    with exit_on_input_error(interrupted=hint):
        status = detect(options)
    if status:
        raise SystemExit(status)


def detect(options: argparse.Namespace) -> int:
    """Run the command; returns its exit status."""
    # Imported here because TensorFlow takes seconds to import, and --help must answer at once.
    from tqdm import tqdm

    from keras_frcnn.api.bulk.inputs import find_pictures
    from keras_frcnn.api.bulk.model import load_finder
    from keras_frcnn.api.bulk.run import Wanted, detect_all
    from keras_frcnn.api.finding.slicing import check_side
    from keras_frcnn.api.finding.streaming import MOST_TOGETHER, check_count, check_score

    check_score(options.score, "--score")
    check_count(options.batch_size, "--batch-size", MOST_TOGETHER)
    check_count(options.every, "--every")
    check_count(options.max_pixels, "--max-pixels")
    check_side(options.slice_size, "--slice-size")
    check_options(options)
    out = None if options.out is None else Path(options.out)
    pictures = find_pictures(options.pictures, options.list, out is None, options.allow_network)
    formats = frozenset(options.write) - {"nothing"}
    wanted = Wanted(
        out=out,
        formats=formats,
        score=options.score,
        batch_size=options.batch_size,
        slice_size=options.slice_size,
        every=options.every,
        all_frames=options.all_frames,
        max_pixels=options.max_pixels,
        resume=options.resume,
    )
    progress = functools.partial(tqdm, unit="picture", leave=False, disable=None)  # hidden if there is no terminal
    finder = load_finder(options.model)
    return report(
        detect_all(finder, options.model, pictures, wanted, lambda results, count: progress(results, total=count), show)
    )


def show(line: str) -> None:
    """Print a line above the progress bar."""
    from tqdm import tqdm

    tqdm.write(line)
    sys.stdout.flush()


def report(found: "Summary") -> int:
    """Say what is missing; returns the exit status."""
    if found.done_before:
        print(f"{found.done_before} of {found.files} files were done before", file=sys.stderr)
    for loss in found.losses:
        print(f"warning: {loss.what}: {loss.times}", file=sys.stderr)
    if not found.errors:
        return 0
    print(f"{len(found.errors)} of {found.files} files could not be read:", file=sys.stderr)
    for error in found.errors:
        print(f"  {error}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    main()
