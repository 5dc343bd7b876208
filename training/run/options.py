"""The options that all ways of training share.  Nothing heavy is imported here: --help answers at once."""

import argparse
import os
import sys
from collections.abc import Callable

from training.engine.interruption import deferred


def add_common_options(parser: argparse.ArgumentParser):
    data = parser.add_argument_group("data")
    data.add_argument("--data", required=True, help="voc:PATH, a PASCAL VOC tree, or synthetic[:SEED]")
    data.add_argument("--train", default="train", help="image sets to train on, joined with + (default: train)")
    data.add_argument("--val", default="val", help="image sets to measure on (default: val)")
    data.add_argument("--class-names", nargs="+", help="the classes (default: those found in the data)")
    data.add_argument("--strict", action="store_true", help="make annotation faults errors instead of repairing them")

    run = parser.add_argument_group("run")
    run.add_argument("--run", required=True, help="run folder; one that is there goes on from where it stands")
    run.add_argument(
        "--weights",
        required=True,
        help="where training starts from: imagenet, imagenet-full, torchvision, none, a VGG16 .h5, .npz or .keras "
        "file, or the folder of a finished run, whose layers are kept as far as they fit",
    )
    run.add_argument("--seed", type=int, default=0)
    run.add_argument(
        "--precision",
        choices=("float32", "mixed_bfloat16", "mixed_float16"),
        default="float32",
        help="of the network's layers while they train; geometry and losses are float32 (default: float32)",
    )
    run.add_argument("--deterministic", action="store_true", help="the same bits each time, at some cost in speed")
    run.add_argument("--checkpoint-steps", type=int, default=1000, help="steps between checkpoints (default: 1000)")
    run.add_argument("--checkpoint-minutes", type=float, default=10.0, help="or minutes, at most (default: 10)")
    run.add_argument("--checkpoints", type=int, default=2, help="how many are kept (default: 2)")
    run.add_argument("--quiet", action="store_true", help="no progress bars")

    network = parser.add_argument_group("detector")
    network.add_argument("--short-side", type=int, help="of the resized image, in pixels (default: 600)")
    network.add_argument("--long-side", type=int, help="at most (default: 1000)")
    network.add_argument("--anchor-scales", type=float, nargs="+", help="square roots of areas (default: 128 256 512)")
    network.add_argument("--anchor-ratios", type=float, nargs="+", help="height / width (default: 0.5 1 2)")
    network.add_argument("--min-size", type=float, help="shortest side of a proposal, in pixels (default: 16)")
    network.add_argument("--nms-iou", type=float, help="a detection over it falls to a better one (default: 0.3)")
    network.add_argument("--rois", type=int, help="RoIs sampled from an image to train the detector (default: 64)")
    network.add_argument("--dropout", type=float, help="share of fc6 and fc7 dropped in training (default: 0.5)")
    network.add_argument("--fc-units", type=int, help="of fc6 and fc7 (default: 4096)")

    solver = parser.add_argument_group("optimisation")
    solver.add_argument("--drop-at", type=float, default=0.75, help="share of a step after which it is a tenth")
    solver.add_argument("--momentum", type=float, default=0.9)
    solver.add_argument("--weight-decay", type=float, default=0.0005)
    solver.add_argument("--clip-norm", type=float, help="the most that a gradient's global norm may be (default: any)")
    solver.add_argument(
        "--accumulate",
        type=int,
        default=1,
        help="mini-batches to a change of the weights, as of more GPUs: fewer changes, a larger rate (default: 1)",
    )
    solver.add_argument(
        "--warmup",
        type=int,
        help="steps over which the learning rate rises (default: a tenth, at most 500, with more than one mini-batch a "
        "step, else 0)",
    )

    cache = parser.add_argument_group("stored features", "Of convolutions that do not change, in steps 3 and 4.")
    cache.add_argument(
        "--feature-cache-gib",
        type=float,
        default=8.0,
        help="room for their feature maps, computed once a picture; 0 stores none (default: 8)",
    )
    cache.add_argument(
        "--feature-cache-folder", help="where to store them; /dev/shm/NAME is memory (default: in the run folder)"
    )
    cache.add_argument(
        "--feature-cache-dtype", choices=("float32", "float16"), help="of the stored maps (default: as computed)"
    )


def exit_with(options: argparse.Namespace, load_command: Callable):
    """Import and run a training command, `load_command()(options)`, and exit with its status.

    A bad input is one line and status 2.  Ctrl-C is one line and status 130, and so is the SIGTERM that preempted
    machines get.
    """
    if options.quiet:
        os.environ["TQDM_DISABLE"] = "1"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # read by TensorFlow as it is imported: warnings of its own code
    try:
        with deferred():
            # Heavy packages only from here on, so that --help answers at once.
            from keras_frcnn.facts.errors import exit_on_input_error

            with exit_on_input_error(extra="train"):
                command = load_command()
                if options.deterministic:
                    import tensorflow as tf

                    tf.config.experimental.enable_op_determinism()
                status = command(options)
    except KeyboardInterrupt:
        print("\ninterrupted; what is done is kept. The same command goes on from here.", file=sys.stderr)
        status = 130
    raise SystemExit(status)
