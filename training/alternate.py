"""Train Faster R-CNN by the paper's 4-step alternation (section 3.2).

    python -m training.alternate --data synthetic --weights torchvision --run runs/synthetic

leaves the detector in runs/synthetic/model.keras and prints how good it is after each step.  A run folder with
finished steps goes on from the first unfinished one: give the same command again.  The steps themselves stand in
training/four_steps.py.
"""

import argparse
import os


def parse_arguments(arguments=None):
    parser = argparse.ArgumentParser(
        prog="python -m training.alternate",
        description="Train Faster R-CNN by the paper's four steps. Defaults are the paper's.",
    )
    data = parser.add_argument_group("data")
    data.add_argument("--data", required=True, help="voc:PATH, a PASCAL VOC tree, or synthetic[:SEED]")
    data.add_argument("--train", default="train", help="image sets to train on, joined with + (default: train)")
    data.add_argument("--val", default="val", help="image sets to measure on after each step (default: val)")
    data.add_argument("--class-names", nargs="+", help="the classes (default: those found in the data)")
    data.add_argument("--strict", action="store_true", help="make annotation faults errors instead of repairing them")

    run = parser.add_argument_group("run")
    run.add_argument("--run", required=True, help="run folder; one with finished steps goes on")
    run.add_argument(
        "--weights",
        required=True,
        help="where VGG16 starts from: imagenet, imagenet-full, torchvision, none, or a .h5, .npz or .keras file",
    )
    run.add_argument("--seed", type=int, default=0)
    run.add_argument(
        "--precision",
        choices=("float32", "mixed_bfloat16"),
        default="float32",
        help="of the network's layers while they train; geometry and losses are float32 (default: float32)",
    )

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

    schedule = parser.add_argument_group("optimisation")
    schedule.add_argument(
        "--steps",
        type=int,
        nargs=4,
        default=(80000, 40000, 80000, 40000),
        metavar=("N1", "N2", "N3", "N4"),
        help="mini-batches of each step (default: 80000 40000 80000 40000)",
    )
    schedule.add_argument(
        "--learning-rate",
        type=float,
        nargs=4,
        default=(0.001,) * 4,
        metavar=("L1", "L2", "L3", "L4"),
        help="of each step (default: 0.001)",
    )
    schedule.add_argument("--drop-at", type=float, default=0.75, help="share of a step after which it is a tenth")
    schedule.add_argument("--rpn-images", type=int, default=1, help="images a mini-batch, steps 1 and 3 (default: 1)")
    schedule.add_argument("--head-images", type=int, default=2, help="images a mini-batch, steps 2 and 4 (default: 2)")
    schedule.add_argument("--momentum", type=float, default=0.9)
    schedule.add_argument("--weight-decay", type=float, default=0.0005)

    cache = parser.add_argument_group("stored features", "In steps 3 and 4 the convolutions do not change.")
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
    return parser.parse_args(arguments)


def main(arguments=None):
    options = parse_arguments(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # read by TensorFlow as it is imported: warnings of its own code
    # Heavy packages only from here on, so that --help answers at once.
    from keras_frcnn.errors import exit_on_input_error

    with exit_on_input_error():
        from training.four_steps import run_four_steps

        raise SystemExit(run_four_steps(options))


if __name__ == "__main__":
    main()
