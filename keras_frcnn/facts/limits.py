"""How large a picture and a number may be.

A file of a few kilobytes can decode to more pixels than fit in memory, so each reader compares the size in the header
with a limit before it decodes.  The option `--max-pixels` sets the limit.
"""

import argparse
import os

from keras_frcnn.facts.errors import InputError

# A decoded picture takes 3 bytes a pixel, and 3 more while it is turned.  A progressive JPEG takes 6 more while it is
# decoded: 600 MB at this limit.
MOST_PIXELS = 2**26
PILLOW_LIMIT = 178_956_970  # Pillow, which reads the headers of training pictures, refuses more
# The first layers have 64 numbers for each pixel of the network's input, and TensorFlow counts them with 32 bits.
MOST_INPUT_PIXELS = 2**25
MOST_WHOLE = 2**31 - 1  # of a whole number: TensorFlow counts with 32 bits
MAX_PIXELS_HELP = "refuse pictures with more pixels than this, before they are decoded"


def add_max_pixels(parser: argparse.ArgumentParser, of_what: str = "") -> None:
    """Add the option `--max-pixels`; `of_what` begins its help."""
    about = f"{of_what}{MAX_PIXELS_HELP} (default: {MOST_PIXELS})"
    parser.add_argument("--max-pixels", type=int, default=MOST_PIXELS, metavar="N", help=about)


def check_pixels(name: str | os.PathLike[str], height: int, width: int, most: int) -> None:
    """Raise InputError, with the `name` of the picture, if it has more than `most` pixels."""
    if height * width > most:
        fix = "give a smaller picture, or raise the limit with --max-pixels (max_pixels in Python)"
        raise InputError(name, f"{height} x {width} pixels are over the limit of {most} in all", fix)
