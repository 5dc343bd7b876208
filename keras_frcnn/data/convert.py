"""Write a data set in another format.

    python -m keras_frcnn.data.convert voc:/data/VOC2007 --to coco /data/VOC2007-coco

The command prints what was repaired in the data, and what the new format cannot hold.  Pictures are copied with all
their bytes.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from keras_frcnn.data.sources.spec import ALL, DataSpec
from keras_frcnn.data.sources.table import DATA_HELP
from keras_frcnn.data.writers.table import WRITERS
from keras_frcnn.facts.config import ImageConfig
from keras_frcnn.facts.errors import exit_on_input_error
from keras_frcnn.facts.files import refuse_content
from keras_frcnn.facts.options import add_options, from_options, given_options
from keras_frcnn.facts.settings import settings_of

_EXIF = [one for one in settings_of(ImageConfig) if one.name == "exif"]


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m keras_frcnn.data.convert",
        description="Write a data set in another format.  What the format cannot hold is counted and printed.",
    )
    parser.add_argument("data", metavar="SPEC", help=f"the data: {DATA_HELP}; join several with +")
    parser.add_argument("out", metavar="OUT", type=Path, help="folder to write; it must be new or empty")
    formats = "; ".join(f"{name}: {writer.help}" for name, writer in WRITERS.items())
    parser.add_argument("--to", required=True, choices=WRITERS, help=f"the format ({formats})")
    parser.add_argument("--split", nargs="+", metavar="NAME", help="splits to write (default: all that the data has)")
    parser.add_argument("--link", action="store_true", help="make hard links to the pictures instead of copies")
    add_options(parser, [one for one in settings_of(DataSpec) if one.key != "data"])
    add_options(parser, _EXIF)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; see the top of this file."""
    options = parse_arguments(arguments)
    # Deferred: --help needs neither NumPy nor OpenCV.
    from keras_frcnn.data.sources.loading import dataset_splits, describe_problems, divide_data, load_dataset
    from keras_frcnn.data.writers.writing import write_dataset

    with exit_on_input_error():
        spec = from_options(DataSpec, options)
        refuse_content(options.out)
        splits = options.split or dataset_splits(spec) or (ALL,)
        exif = given_options(options, _EXIF).get("exif", "auto")
        divided = None if spec.split_by is None else divide_data(spec)
        datasets = {split: load_dataset(spec, split, exif, divided) for split in splits}
        for dataset in datasets.values():
            for line in describe_problems(dataset):
                print(f"warning: {line}")
        losses = write_dataset(options.to, datasets, options.out, options.link)
        for split, dataset in datasets.items():
            objects = sum(len(example.boxes) for example in dataset.examples)
            print(f"{options.out}: wrote {len(dataset.examples)} pictures with {objects} objects ({split})")
        for loss in losses:
            print(f"{options.to} cannot hold {loss.what} ({loss.times})")
        if not losses:
            print("Nothing is lost.")
        print(f"To use them: --data {options.to}:{options.out}")


if __name__ == "__main__":
    main()
