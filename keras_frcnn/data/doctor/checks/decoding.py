"""Reading every picture once: whether it can be decoded, and which pictures are copies of others."""

import hashlib
import itertools
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import tensorflow as tf

from keras_frcnn.data.pictures.images import JPEG_START, decode_image
from keras_frcnn.data.pictures.near_duplicates import picture_hash
from keras_frcnn.data.tensorflow_errors import reason_of

_JPEG_END, _PNG_END = b"\xff\xd9", b"IEND\xaeB`\x82"
_PADDING = b"\x00"  # that some cameras write after the end of a JPEG
_AT_ONCE = 1000  # files in the queue of the threads

Progress = Callable[[Iterable, int], Iterable]  # wraps an iterable of that many items, as tqdm does


class PictureFacts(NamedTuple):
    """What one picture file holds."""

    path: str
    digest: bytes  # of the bytes of the file; empty if it cannot be read
    hash: int | None  # of the pixels, see near_duplicates.py; None if it cannot be decoded
    fault: str  # why it cannot be decoded; empty if it can
    truncated: bool  # whether the end of the file is missing


def read_pictures(paths: Sequence[str], jobs: int, progress: Progress) -> list[PictureFacts]:
    """Decode the files with the project's decoder in `jobs` threads; returns what they hold, in order.

    Threads are enough: TensorFlow and OpenCV release Python's lock while they work.
    """

    def facts() -> Iterable[PictureFacts]:
        with ThreadPoolExecutor(jobs) as pool:
            for start in range(0, len(paths), _AT_ONCE):
                yield from pool.map(read_picture, itertools.islice(paths, start, start + _AT_ONCE))

    return list(progress(facts(), len(paths)))


def read_picture(path: str) -> PictureFacts:
    """Decode one file."""
    try:
        encoded = Path(path).read_bytes()
    except OSError as error:
        return PictureFacts(path, b"", None, f"cannot be read ({error.strerror})", False)
    digest = hashlib.blake2b(encoded, digest_size=16).digest()
    try:
        # Eager TensorFlow runs on a GPU if there is one; decoding has no GPU kernel.
        with tf.device("/CPU:0"):
            pixels = decode_image(tf.constant(encoded)).numpy()
    except tf.errors.OpError as error:
        truncated = _lacks_its_end(encoded)
        reason = "the end of the file is missing" if truncated else reason_of(error)
        return PictureFacts(path, digest, None, reason, truncated)
    return PictureFacts(path, digest, picture_hash(pixels), "", False)


def _lacks_its_end(encoded: bytes) -> bool:
    """Whether the bytes begin like a JPEG or PNG file but do not end like one."""
    if encoded.startswith(JPEG_START):
        return not encoded.rstrip(_PADDING).endswith(_JPEG_END)
    return encoded.startswith(b"\x89PNG") and not encoded.rstrip(_PADDING).endswith(_PNG_END)
