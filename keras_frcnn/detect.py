"""Detect objects in pictures.

    python -m keras_frcnn.detect --model runs/synthetic photo.jpg more/*.png

For each picture, this writes photo.detections.png with labelled boxes beside it (or into --out) and prints one JSON
line.  Boxes are [ymin, xmin, ymax, xmax] in pixels of that picture, continuous corners.  A model that was trained with
turned pictures turns each picture as its EXIF orientation says; boxes and the drawing are then those of the turned one.
"""

import argparse
import json
import os
import pathlib
from collections.abc import Sequence

from keras_frcnn.facts.errors import InputError, exit_on_input_error


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m keras_frcnn.detect",
        description="Detect objects in pictures: a drawn picture and a JSON line each.",
    )
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="JPEG, PNG, GIF or BMP files")
    parser.add_argument("--model", required=True, help="a run folder, or a .keras file")
    parser.add_argument("--out", help="folder for the drawn pictures (default: beside each picture)")
    parser.add_argument("--score", type=float, default=0.5, help="show detections from this score on (default: 0.5)")
    return parser.parse_args(arguments)


def output_path(image_path: str, out: str | None) -> pathlib.Path:
    """Where the drawn picture goes: NAME.detections.png, beside the picture or in the folder `out`."""
    path = pathlib.Path(image_path)
    folder = path.parent if out is None else pathlib.Path(out)
    return folder / f"{path.stem}.detections.png"


def check_paths(images: Sequence[str], targets: Sequence[pathlib.Path]) -> None:
    """Raise InputError for a picture that does not exist, and for two pictures with one output file."""
    for path, target in zip(images, targets, strict=True):
        if targets.count(target) > 1:
            raise InputError(
                target, "two pictures would be written here", "run the command twice, with different --out folders"
            )
        if not os.path.isfile(path):
            raise InputError(path, "no such file", "give the path of a picture")


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse_arguments(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow reads it when it is imported
    # Imported here because TensorFlow takes seconds to import, and --help must answer at once.
    from keras_frcnn.api.detector import check_score, load

    with exit_on_input_error():
        targets = [output_path(path, options.out) for path in options.images]
        check_score(options.score, "--score")
        check_paths(options.images, targets)
        detector = load(options.model)
        for path, target in zip(options.images, targets, strict=True):
            result = detector.detect(path, options.score)
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                result.draw().save(target)
            except OSError as error:
                raise InputError(target, f"cannot be written ({error})", "give a writable folder with --out") from error
            print(json.dumps({**result.to_dict(), "picture": str(target)}))


if __name__ == "__main__":
    main()
