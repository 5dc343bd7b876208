"""Train Faster R-CNN by the paper's 4-step alternation (section 3.2).

    python -m training.alternate --data synthetic --weights torchvision --run runs/synthetic

leaves the detector in runs/synthetic/model.keras and prints how good it is after each step.  A run that was stopped,
however it was, goes on from its newest checkpoint: give the same command again.  The steps themselves stand in
training/four_steps.py.
"""

import argparse

from training.run.options import add_common_options, exit_with


def parse_arguments(arguments=None):
    parser = argparse.ArgumentParser(
        prog="python -m training.alternate",
        description="Train Faster R-CNN by the paper's four steps. Defaults are the paper's.",
    )
    add_common_options(parser)
    schedule = parser.add_argument_group("the four steps")
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
    schedule.add_argument("--rpn-images", type=int, default=1, help="images a mini-batch, steps 1 and 3 (default: 1)")
    schedule.add_argument("--head-images", type=int, default=2, help="images a mini-batch, steps 2 and 4 (default: 2)")
    return parser.parse_args(arguments)


def main(arguments=None):
    def load_command():
        from training.four_steps import run_four_steps

        return run_four_steps

    exit_with(parse_arguments(arguments), load_command)


if __name__ == "__main__":
    main()
