"""Export a detector as a SavedModel, for TensorFlow Serving and for every program that has TensorFlow.

    python -m export.saved_model --model runs/synthetic --out served/detector/1

writes served/detector/1 and prints its size and how far its answers lie from the Keras model's; half a minute, and a
second or two more for each picture that is compared.  An export that answers otherwise is not put in place: exit
status 1.
"""

import argparse

from export.shared.options import DETECTION_OUTPUTS, add_model_options, add_parity_options, run_export

# Of weights and layers, each with how far its answers may lie from those of the Keras model in float32: a coordinate,
# as a share of the picture's side, a score, and the share of the detections within both (`parity.Tolerance`).
PRECISIONS = {"float32": (1e-3, 1e-4, 1.0), "bfloat16": (2e-2, 5e-2, 0.85), "float16": (1e-2, 1e-2, 0.95)}
PROPOSAL_OUTPUTS = ("proposal_boxes", "proposal_scores", "num_proposals")


def parse_arguments(arguments=None):
    parser = argparse.ArgumentParser(
        prog="python -m export.saved_model", description="Export a detector as a SavedModel, for TensorFlow Serving."
    )
    add_model_options(parser)
    parser.add_argument("--out", required=True, metavar="DIR/VERSION", help="the folder to write; VERSION is a number")
    parser.add_argument(
        "--precision", choices=PRECISIONS, default="float32", help="of weights and layers (default: float32)"
    )
    parser.add_argument(
        "--svd", nargs="*", type=int, metavar="RANK",
        help="replace fc6 and fc7 by two smaller layers each, of these two ranks (default: 1536 1024)",
    )  # fmt: skip
    parser.add_argument(
        "--calibrate", nargs="+", metavar="PICTURE",
        help="cut to what is said of the regions in these, not to what the weights are: some dozens of real pictures",
    )  # fmt: skip
    add_parity_options(parser)
    return parser.parse_args(arguments)


def main(arguments=None):
    run_export(parse_arguments(arguments), export)


def export(options, say):
    """Write and compare as `options` say, telling `say`; raises InputError, and ParityError where it is not good."""
    import tensorflow as tf

    from export.shared.options import in_precision, load_for_export
    from export.shared.parity import detect_with_keras, images_to_compare, mean_average_precision, read_dataset
    from export.savedmodel.signatures import save
    from export.savedmodel.svd import factorised_head, multiply_out, truncate_head
    from export.savedmodel.warmup import write_warmup
    from keras_frcnn.facts.config import config_to_dict
    from keras_frcnn.facts.files import write_atomically

    target, ranks = _target(options), _ranks(options)
    model = load_for_export(options)
    dataset, images = read_dataset(options, model.class_names), images_to_compare(options)
    say(f"loaded {options.model}: {len(model.class_names)} classes, {model.count_params() / 1e6:.1f} million weights")
    if dataset:
        keras_ap = mean_average_precision(lambda image: detect_with_keras(model, image), dataset, "Keras model")

    exported = in_precision(model, options.precision)
    head = exported.head
    if ranks:
        say("cutting fc6 and fc7: some minutes where they have 4096 units")
        factors = truncate_head(model.head, ranks, _moments(options, model, ranks))
        head = factorised_head(exported.head, factors)
        # The gate is about the graph, so that it compares with the same cut; mAP is what says what the cut costs.
        multiply_out(model.head, factors)
        say(f"fc6 and fc7 cut to the ranks {ranks[0]} and {ranks[1]}")

    settings = {"detector": config_to_dict(exported.config), "precision": options.precision, "svd": ranks}

    def write(directory):
        save(exported, head, settings, directory)
        requests = write_warmup(directory, target.parent.name)
        size = sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
        say(f"written: {size / 1e6:.1f} MB, {requests} warm-up requests in it")
        signatures = tf.saved_model.load(str(directory)).signatures
        say("loaded again; comparing with the Keras model")
        _compare(model, signatures, images, options.precision, say)
        if dataset:
            exported_ap = mean_average_precision(lambda image: detect(signatures, image), dataset, "SavedModel")
            say(f"mAP 11-point on {dataset.name}: Keras model {keras_ap:.4f}, SavedModel {exported_ap:.4f}")

    write_atomically(target, write)
    say(f"SavedModel: {target}")


def _target(options):
    """The folder to write; raises InputError where it cannot be one."""
    import pathlib

    from export.shared.options import check_free
    from keras_frcnn.facts.errors import InputError

    target = pathlib.Path(options.out)
    if not (target.name.isascii() and target.name.isdigit()):
        mend = f"give {target}/1: TensorFlow Serving takes the highest number in a folder"
        raise InputError(f"--out {target}", "does not end in a version number", mend)
    if target.exists() and options.force and not (target / "saved_model.pb").is_file():
        raise InputError(target, "is no SavedModel, and is not replaced", "give another --out")
    check_free(target, options.force)
    return target


def _ranks(options) -> list[int] | None:
    """The ranks of fc6 and fc7, or None where `--svd` is not given; raises InputError."""
    from export.savedmodel.svd import DEFAULT_RANKS
    from keras_frcnn.facts.errors import InputError

    if options.svd is None:
        if options.calibrate:
            raise InputError("--calibrate", "has no use without --svd", "leave it out, or ask for --svd")
        return None
    if len(options.svd) not in (0, len(DEFAULT_RANKS)):
        raise InputError("--svd", f"{len(options.svd)} ranks", "give two, of fc6 and of fc7, or none for the default")
    return options.svd or list(DEFAULT_RANKS)


def _moments(options, model, ranks) -> tuple:
    """What fc6 and fc7 are cut to on the pictures of `--calibrate`, None where none are given; raises InputError."""
    from export.shared.parity import given_images
    from export.savedmodel.svd import measure_moments
    from keras_frcnn.facts.errors import InputError

    if not options.calibrate:
        return (None, None)
    moments, regions = measure_moments(model, given_images(options.calibrate))
    if regions < max(ranks):
        raise InputError("--calibrate", f"has {regions} regions for a rank of {max(ranks)}", "give more pictures")
    return moments


def detect(signatures, image):
    """Detections of one (H, W, 3) uint8 picture by `serving_default`, in the form that `parity` compares."""
    return _rows(signatures["serving_default"](images=image[None]), *DETECTION_OUTPUTS)


def detect_in_file(signatures, encoded):
    """Detections of one JPEG or PNG by `image_bytes`; raises ParityError where it is refused."""
    from export.shared.parity import ParityError

    outputs = signatures["image_bytes"](image_bytes=encoded[None])
    error = outputs["image_errors"].numpy()[0].decode()
    if error:
        raise ParityError(f"image_bytes refuses a picture: {error}")
    return _rows(outputs, *DETECTION_OUTPUTS)


def propose(signatures, image):
    """Proposals for one picture by `proposals`, all as of one class."""
    boxes, scores = _rows(signatures["proposals"](images=image[None]), *PROPOSAL_OUTPUTS)
    return boxes, scores * 0, scores


def _rows(outputs, *names):
    """The rows that are real, of the first picture; the last name is of their number."""
    count = int(outputs[names[-1]][0])
    return tuple(outputs[name][0, :count].numpy() for name in names[:-1])


def _compare(model, signatures, images, precision: str, say):
    """Compare all signatures with the Keras model; raises ParityError beyond the tolerance."""
    import dataclasses

    import tensorflow as tf

    from export.shared.parity import Tolerance, check, compare, format_parity, reference_detections, reference_proposals

    def detect_in_png(signatures, image):
        return detect_in_file(signatures, tf.io.encode_png(image))

    tolerance, test = Tolerance(*PRECISIONS[precision]), model.config.test
    all_proposals = dataclasses.replace(test, score_threshold=0.0, max_detections=test.post_nms_topk)
    detections = reference_detections(model, images)
    for name, reference, answer, config in (
        ("serving_default", detections, detect, test),
        ("image_bytes", detections, detect_in_png, test),
        ("proposals", reference_proposals(model, images), propose, all_proposals),
    ):
        parity = compare(reference, [answer(signatures, image) for image in images], tolerance, config)
        say(f"{name}: {format_parity(parity)}")
        check(parity, tolerance)


if __name__ == "__main__":
    main()
