"""See what a detector does in one picture, stage by stage, as a page that opens offline.

    python -m keras_frcnn.inspect photo.jpg --model runs/synthetic --out photo.html
    python -m keras_frcnn.inspect 000012 --model runs/voc --data voc:VOCdevkit/VOC2007 --split test --out 12.html

The page shows the anchors, the scores of the region proposal network, the proposals and detections with what
non-maximum suppression removed.  With --data, the picture is one of a data set, and the page shows for each object how
well anchors match it, and at which stage it is found or lost.
"""

import argparse
from collections.abc import Sequence

from keras_frcnn.data.sources.spec import DataSpec
from keras_frcnn.facts.errors import InputError, exit_on_input_error
from keras_frcnn.facts.logs import quiet_tensorflow
from keras_frcnn.facts.options import add_options
from keras_frcnn.facts.settings import settings_of


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m keras_frcnn.inspect", description="Show what a detector does in one picture, stage by stage."
    )
    parser.add_argument(
        "picture", metavar="PICTURE", help="a picture file; with --data, the id of a picture or its file"
    )
    parser.add_argument("--model", required=True, help="a run folder or a .keras file")
    parser.add_argument("--out", required=True, metavar="FILE", help="the page to write, an HTML file")
    parser.add_argument("--data", metavar="SPEC", help="the data set that the picture is from, to see its objects, too")
    parser.add_argument("--split", metavar="SPLIT", help="the split of the data set (with --data)")
    add_options(parser, [one for one in settings_of(DataSpec) if one.key != "data"])
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse_arguments(arguments)
    quiet_tensorflow()
    with exit_on_input_error(extra="data"):
        if (options.data is None) != (options.split is None):
            raise InputError("--data and --split", "only one of them is given", "give both or none")
        from keras_frcnn.api.inspection.run import run_inspection  # heavy; --help must answer at once

        run_inspection(options)


if __name__ == "__main__":
    main()
