"""Detect objects in pictures.

    python -m keras_frcnn.detect --model runs/synthetic photo.jpg more/*.png

writes photo.detections.png with labelled boxes beside each picture (or into --out) and prints one JSON line a
picture, with boxes as [ymin, xmin, ymax, xmax] in pixels of that picture, continuous corners.
"""

import argparse
import json
import os


def parse_arguments(arguments=None):
    parser = argparse.ArgumentParser(
        prog="python -m keras_frcnn.detect",
        description="Detect objects in pictures: a drawn picture and a JSON line each.",
    )
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="JPEG, PNG, GIF or BMP files")
    parser.add_argument("--model", required=True, help="a run folder, or a .keras file")
    parser.add_argument("--out", help="folder for the drawn pictures (default: beside each picture)")
    parser.add_argument("--score", type=float, default=0.5, help="show detections from this score on (default: 0.5)")
    return parser.parse_args(arguments)


def read_image(path):
    """(H, W, 3) uint8 RGB of a picture file.  Raises InputError where it cannot be read as one."""
    import tensorflow as tf

    from keras_frcnn.facts.errors import InputError
    from keras_frcnn.data.images import decode_image

    try:
        return decode_image(tf.io.read_file(str(path)))
    except tf.errors.OpError as error:
        raise InputError(
            path, f"not a readable picture ({error.message[:120]})", "give a JPEG, PNG, GIF or BMP"
        ) from None


def detect_image(model, image):
    """Detections of one (H, W, 3) uint8 RGB picture: boxes (D, 4) in its pixels, classes (D,), scores (D,) as numpy."""
    import tensorflow as tf

    from keras_frcnn.geometry.boxes import to_original_pixels
    from keras_frcnn.data.images import prepare

    resized = prepare(image, model.config.image.short_side, model.config.image.long_side)[None]
    sizes = tf.shape(resized)[None, 1:3]
    detections = model((resized, sizes))
    boxes = to_original_pixels(detections.boxes, sizes, tf.shape(image)[None, :2])
    valid = detections.valid[0].numpy()
    return tuple(field[0].numpy()[valid] for field in (boxes, detections.classes, detections.scores))


def output_path(image_path, out):
    """Where the drawn picture goes: NAME.detections.png, beside the picture or in the folder `out`."""
    import pathlib

    image_path = pathlib.Path(image_path)
    folder = image_path.parent if out is None else pathlib.Path(out)
    return folder / f"{image_path.stem}.detections.png"


def main(arguments=None):
    options = parse_arguments(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # read by TensorFlow as it is imported: warnings of its own code
    # Heavy packages only from here on, so that --help answers at once.
    import cv2

    from keras_frcnn.facts.errors import InputError, exit_on_input_error
    from keras_frcnn.facts.settings import Limits, check_number
    from keras_frcnn.network.model import load_model
    from keras_frcnn.api.drawing import draw_detections

    with exit_on_input_error():
        check_number(options.score, Limits(at_least=0, at_most=1), "--score")
        targets = [output_path(path, options.out) for path in options.images]
        for path, target in zip(options.images, targets, strict=True):
            if targets.count(target) > 1:
                raise InputError(
                    target, "two pictures would be written here", "give them in two calls, with other --out"
                )
            if not os.path.isfile(path):
                raise InputError(path, "no such file", "give the path of a picture")
        model = load_model(options.model)
        for path, target in zip(options.images, targets, strict=True):
            image = read_image(path)
            boxes, classes, scores = detect_image(model, image)
            shown = scores >= options.score
            boxes, classes, scores = boxes[shown], classes[shown], scores[shown]
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise InputError(target.parent, f"is no folder to write to ({error})", "give another --out") from error
            drawn = draw_detections(image.numpy(), boxes, classes, scores, model.class_names)
            if not cv2.imwrite(str(target), drawn[..., ::-1]):
                raise InputError(target, "cannot be written", "give a writable folder with --out")
            detections = [
                {
                    "class": model.class_names[c - 1],
                    "score": round(float(s), 4),
                    "box": [round(float(x), 2) for x in box],
                }
                for box, c, s in zip(boxes, classes, scores, strict=True)
            ]
            height, width = image.shape[:2]
            print(
                json.dumps(
                    {"image": path, "height": height, "width": width, "detections": detections, "picture": str(target)}
                )
            )


if __name__ == "__main__":
    main()
