"""Compare runs on one page that opens offline.

    python -m training.report --compare runs/a runs/b --out compare.html

prints a table of the runs, and writes a page with their results, the average precision of each class, the options that
differ, and their curves.  TensorBoard shows the curves of all runs in a folder: tensorboard --logdir runs
"""

import argparse
from collections.abc import Sequence

from keras_frcnn.facts.errors import InputError, exit_on_input_error
from keras_frcnn.facts.logs import quiet_tensorflow


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m training.report", description="Compare runs on one page.")
    parser.add_argument("--compare", nargs="+", required=True, metavar="RUN", help="two or more run folders")
    parser.add_argument(
        "--out", default="compare.html", metavar="FILE", help="the page to write (default: compare.html)"
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse_arguments(arguments)
    quiet_tensorflow()
    with exit_on_input_error(extra="train"):
        if len(options.compare) < 2:
            raise InputError("--compare", "there is only one run", "give two or more run folders")
        from training.reporting.comparison import compare  # heavy; --help must answer at once

        compare(options.compare, options.out)


if __name__ == "__main__":
    main()
