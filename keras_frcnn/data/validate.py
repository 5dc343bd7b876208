"""Examine a data set before training: faults in its annotations and pictures, and how well the anchors fit.

    python -m keras_frcnn.data.validate voc:DIR --out report

prints counts, the coverage of the anchors and one line for each finding, with its fix.  It reads every picture once.
With --out it also writes a page with plots and pictures.  The exit status is 1 if there are errors, and 2 for an input
that cannot be read.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from keras_frcnn.data.sources.spec import DataSpec
from keras_frcnn.data.sources.table import DATA_HELP
from keras_frcnn.facts.config import DetectorConfig
from keras_frcnn.facts.errors import exit_on_input_error
from keras_frcnn.facts.logs import quiet_tensorflow
from keras_frcnn.facts.options import add_options, from_options, given_options
from keras_frcnn.facts.settings import Limits, Setting, changed, check_number, settings_of


def _detector_settings() -> list[Setting]:
    """The settings of a detector on which the findings depend: anchors, image sizes and the smallest proposal."""
    settings = settings_of(DetectorConfig)
    return [one for one in settings if one.section in ("anchors", "image") or one.key == "rpn.min_size"]


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m keras_frcnn.data.validate", description="Examine a data set before training."
    )
    parser.add_argument("data", metavar="SPEC", help=f"the data: {DATA_HELP}; join several with +")
    parser.add_argument(
        "--split", nargs="+", metavar="SPLIT",
        help="splits to examine, the one to train on first (default: all that the data set has)",
    )  # fmt: skip
    parser.add_argument("--out", metavar="DIR", help="folder for a page with plots and pictures, data-doctor.html")
    parser.add_argument("--json", metavar="FILE", help="file for all findings as JSON")
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, metavar="N",
        help="threads that read pictures (default: one for each processor)",
    )  # fmt: skip
    parser.add_argument("--quiet", action="store_true", help="show no progress bar")
    add_options(parser, [one for one in settings_of(DataSpec) if one.key != "data"])
    add_options(parser, _detector_settings())
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; see the top of this file."""
    options = parse_arguments(arguments)
    quiet_tensorflow()
    with exit_on_input_error(extra="data"):
        check_number(options.jobs, Limits(at_least=1), "--jobs")
        spec = from_options(DataSpec, options)
        config = changed(DetectorConfig(), given_options(options, _detector_settings()))
        from keras_frcnn.data.doctor.run import run_doctor  # heavy; --help must answer at once

        status = run_doctor(spec, config, options)
    sys.exit(status)


if __name__ == "__main__":
    main()
