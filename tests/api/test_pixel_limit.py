"""Pictures that are too large: refused by their header, before anything decodes them."""

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import keras_frcnn
from keras_frcnn.api.bulk.frames import Animation
from keras_frcnn.api.pictures import to_pixels
from keras_frcnn.data.pictures.files import Reading
from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.limits import MOST_PIXELS

ROOT = Path(__file__).resolve().parents[2]

HEIGHT, WIDTH = 12, 20
KINDS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")
REFUSED = f"{HEIGHT} x {WIDTH} pixels are over the limit of {HEIGHT * WIDTH - 1} in all; give a smaller picture, or "


def encoded(kind, size=(HEIGHT, WIDTH)):
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((*size, 3), np.uint8)).save(buffer, kind)
    return buffer.getvalue()


def reading(max_pixels):
    return Reading(turned=True, max_pixels=max_pixels)


def black_png(side):
    """A PNG of black pixels, compressed 1000 to 1."""

    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    compressor, row = zlib.compressobj(9), bytes(3 * side + 1)
    body = b"".join([*(compressor.compress(row) for _ in range(side)), compressor.flush()])
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_over_the_limit_is_refused(tmp_path, kind):
    path = tmp_path / "picture"
    path.write_bytes(encoded(kind))
    assert to_pixels(path, reading(HEIGHT * WIDTH)).shape == (HEIGHT, WIDTH, 3)
    with pytest.raises(InputError) as error:
        to_pixels(path, reading(HEIGHT * WIDTH - 1))
    assert str(error.value).startswith(f"{path}: {REFUSED}")


@pytest.mark.parametrize("kind", KINDS)
def test_so_are_the_bytes_of_one_and_an_image_of_pillow(kind):
    content = encoded(kind)
    for picture in (content, Image.open(io.BytesIO(content))):
        with pytest.raises(InputError) as error:
            to_pixels(picture, reading(HEIGHT * WIDTH - 1), "images[3]")
        assert str(error.value).startswith(f"images[3]: {REFUSED}")
        assert to_pixels(picture, reading(HEIGHT * WIDTH)).shape == (HEIGHT, WIDTH, 3)


def test_an_array_has_no_limit():
    array = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    assert to_pixels(array, reading(1)).shape == array.shape


def test_a_detector_has_the_limit_as_an_argument(model, tmp_path):
    path = tmp_path / "picture.png"
    path.write_bytes(encoded("PNG", (64, 96)))
    detector = keras_frcnn.Detector(model)
    within, over = (detector.detect([path], max_pixels=64 * 96 + change)[0] for change in (0, -1))
    assert within.error is None and within.draw().size
    assert over.error.startswith(f"{path}: 64 x 96 pixels are over the limit of 6143 in all")
    with pytest.raises(InputError, match="^max_pixels: 0 is not a whole number of at least 1"):
        detector.detect([], max_pixels=0)


@pytest.mark.slow
def test_a_large_picture_takes_no_memory(tmp_path):
    """The pixels of this file would take 1.2 GB."""
    path = tmp_path / "black.png"
    path.write_bytes(black_png(20000))
    assert path.stat().st_size < 2 * 10**6
    code = (
        "import sys\n"
        "from keras_frcnn.api.pictures import to_pixels\n"
        "from keras_frcnn.data.pictures.files import Reading\n"
        "def peak():\n"
        "    return int(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1])\n"
        "before = peak()\n"
        "try:\n    to_pixels(sys.argv[1], Reading(turned=True))\n"
        "except ValueError as error:\n    print(error)\n"
        "print(peak() - before)\n"
    )
    # In a process of its own.  `ru_maxrss` would begin with the peak of this process.
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, cwd=ROOT, check=True)
    message, kibibytes = done.stdout.splitlines()
    assert f"20000 x 20000 pixels are over the limit of {MOST_PIXELS} in all" in message
    assert int(kibibytes) < 10**5


def test_a_frame_of_an_animation_counts(tmp_path):
    path = tmp_path / "two.gif"
    frames = [Image.new("RGB", (WIDTH, HEIGHT), color) for color in ("red", "blue")]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    assert len(list(Animation(str(path), 1, Reading(False, HEIGHT * WIDTH)).frames())) == 2
    with pytest.raises(InputError, match="pixels are over the limit of 239 in all"):
        Animation(str(path), 1, Reading(False, HEIGHT * WIDTH - 1))


def test_of_a_gif_only_the_first_frame_is_decoded():
    """Behind it there may be any number of frames."""
    content = encoded("GIF")
    end = content[:-1] + b"\x2c\0\0\0\0\xff\xff\xff\xff\0\x08\0;"  # a frame of 65535 x 65535 without pixels
    assert to_pixels(end, Reading(turned=True)).shape == (HEIGHT, WIDTH, 3)
