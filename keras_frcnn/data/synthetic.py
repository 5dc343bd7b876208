"""Draw a data set and write it as a PASCAL VOC tree.

    python -m keras_frcnn.data.synthetic --out DIR --train 300 --val 60 --test 60

The command takes about 40 ms per picture.  It writes DIR/Annotations, DIR/JPEGImages and DIR/ImageSets/Main.  Train on
the result with `--data voc:DIR`.
"""

import argparse
from collections.abc import Sequence

from keras_frcnn.facts.errors import exit_on_input_error


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m keras_frcnn.data.synthetic",
        description="Draw pictures of shapes with exact boxes, and write them as a PASCAL VOC tree.",
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="folder to write; it must be new or empty")
    for split, count in (("train", 300), ("val", 60), ("test", 60)):
        text = f"number of pictures in the split {split}, 0 for no such split (default: {count})"
        parser.add_argument(f"--{split}", type=int, default=count, metavar="N", help=text)
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="each seed draws other pictures (default: 0)")
    for side, pixels in (("height", 240), ("width", 320)):
        text = f"{side} of the pictures (default: {pixels})"
        parser.add_argument(f"--{side}", type=int, default=pixels, metavar="PIXELS", help=text)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; see the top of this file."""
    options = parse_arguments(arguments)
    from keras_frcnn.data.sources.synthetic.drawn import (
        write_synthetic,  # deferred: --help needs neither NumPy nor OpenCV
    )

    counts = {"train": options.train, "val": options.val, "test": options.test}
    requested = {split: count for split, count in counts.items() if count != 0}
    with exit_on_input_error():
        write_synthetic(options.out, requested, options.seed, (options.height, options.width))
        print(f"{options.out}: wrote {sum(requested.values())} pictures ({', '.join(requested)})")
        print(f"To use them: --data voc:{options.out}")


if __name__ == "__main__":
    main()
