"""What the signatures do with pictures of all kinds: bad ones are refused, good ones are seen as in training."""

import io
import random
import re
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from export import client
from export.shared.pictures import synthetic_images
from export.shared.reference import reference_detections
from keras_frcnn.api.exports.answers import DETECTION_OUTPUTS
from keras_frcnn.data.pictures.images import decode_image


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def black_png(height, width):
    """A grey PNG of one bit a pixel.  Its pixels are never in memory all at once."""
    pack = zlib.compressobj(1)
    line = bytes(1 + (width + 7) // 8)
    body = b"".join([*(pack.compress(line * 100) for _ in range(height // 100)), pack.compress(line * (height % 100)),
                     pack.flush()])  # fmt: skip
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def turned():
    """EXIF data that ask to show the picture turned by 90 degrees."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


@pytest.fixture(scope="module")
def scene():
    return Image.fromarray(synthetic_images(1, (96, 128))[0])


BAD = {
    "nothing": (lambda scene: b"", b"no bytes"),
    "text": (lambda scene: b"this is no picture", b"neither JPEG nor PNG"),
    "gif": (lambda scene: encoded(scene, "GIF"), b"neither JPEG nor PNG"),
    "bmp": (lambda scene: encoded(scene, "BMP"), b"neither JPEG nor PNG"),
    "jpeg start alone": (lambda scene: b"\xff\xd8\xff\xe0 and no more", b"damaged: cannot be decoded"),
    "cut png": (lambda scene: encoded(scene, "PNG")[:3000], b"damaged: cannot be decoded"),
    "cut jpeg": (lambda scene: encoded(scene, "JPEG")[:2000], b"damaged: cannot be decoded"),
    "png header alone": (lambda scene: encoded(scene, "PNG")[:33], b"damaged: cannot be decoded"),
    "no columns": (lambda scene: encoded(scene, "PNG")[:16] + bytes(17), b"neither JPEG nor PNG"),
    "large png": (
        lambda scene: black_png(20000, 20000), b"20000 x 20000 pixels are over the limit of 67108864 in all"
    ),
    "large jpeg": (
        lambda scene: encoded(scene, "JPEG").replace(
            struct.pack(">HH", 96, 128), struct.pack(">HH", 65000, 64000), 1
        ),
        b"65000 x 64000 pixels are over the limit of 67108864 in all",
    ),
    "claims 2**32": (
        lambda scene: b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", b"\xff" * 8 + b"\x08\x02\0\0\0"),
        b"4294967295 x 4294967295 pixels are over the limit of 67108864 in all",
    ),
}  # fmt: skip
FINE = {
    "grey": lambda scene: encoded(scene.convert("L"), "PNG"),
    "grey jpeg": lambda scene: encoded(scene.convert("L"), "JPEG"),
    "palette": lambda scene: encoded(scene.convert("P"), "PNG"),
    "alpha": lambda scene: encoded(scene.convert("RGBA"), "PNG"),
    "grey and alpha": lambda scene: encoded(scene.convert("LA"), "PNG"),
    "cmyk": lambda scene: encoded(scene.convert("CMYK"), "JPEG"),
    "16 bit": lambda scene: encoded(Image.fromarray(np.asarray(scene.convert("L")).astype(np.uint16) * 257), "PNG"),
    "one bit": lambda scene: encoded(scene.convert("1"), "PNG"),
    "progressive": lambda scene: encoded(scene, "JPEG", progressive=True),
    "turned by exif": lambda scene: encoded(scene, "JPEG", exif=turned()),
    "one pixel": lambda scene: encoded(Image.new("RGB", (1, 1)), "PNG"),
    "one row": lambda scene: black_png(1, 20000),
    "one column": lambda scene: black_png(20000, 1),
}  # fmt: skip


def test_one_bad_picture_does_not_cost_the_others(loaded, scene):
    contents = [encoded(scene, "PNG"), *(make(scene) for make, _ in BAD.values()), encoded(scene, "PNG")]
    answer = {name: value.numpy() for name, value in loaded.signatures["image_bytes"](
        image_bytes=tf.constant(contents)).items()}  # fmt: skip
    assert dict(zip(BAD, answer["image_errors"][1:-1], strict=True)) == {name: why for name, (_, why) in BAD.items()}
    assert answer["image_errors"][0] == answer["image_errors"][-1] == b""
    for name in DETECTION_OUTPUTS:
        assert not answer[name][1:-1].any()
    alone = loaded.signatures["image_bytes"](image_bytes=tf.constant(contents[:1]))
    assert alone["num_detections"].numpy().all()
    for row in (0, -1):
        for name in DETECTION_OUTPUTS:
            np.testing.assert_allclose(answer[name][row], alone[name][0], rtol=1e-4, atol=1e-5)


def test_every_kind_of_picture_is_seen_as_in_training(detector, loaded, scene, rows, assert_parity):
    model, _ = detector
    contents = [make(scene) for make in FINE.values()]
    answer = loaded.signatures["image_bytes"](image_bytes=tf.constant(contents))
    assert dict(zip(FINE, answer["image_errors"].numpy(), strict=True)) == dict.fromkeys(FINE, b"")
    images = [decode_image(content).numpy() for content in contents]
    answers = [rows(answer, row) for row in range(len(contents))]
    assert_parity(model, reference_detections(model, images), answers)
    assert sum(len(scores) > 0 for *_, scores in answers) >= 10


MEMORY = """
import re, sys
import tensorflow as tf
signature = tf.saved_model.load(sys.argv[1]).signatures["image_bytes"]
small, *large = (open(path, "rb").read() for path in sys.argv[2:])
for content in (small, *large):
    print(signature(image_bytes=tf.constant([content, small]))["image_errors"].numpy()[0].decode())
    print(re.search(r"VmHWM:\\s*(\\d+) kB", open("/proc/self/status").read())[1])  # the peak
"""


@pytest.mark.slow
def test_large_pictures_take_bounded_memory(exported, scene, tmp_path):
    contents = [encoded(scene, "PNG"), black_png(20000, 20000), black_png(8192, 8192)]
    paths = [tmp_path / str(index) for index in range(3)]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    done = subprocess.run([sys.executable, "-I", "-c", MEMORY, exported[0], *paths], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    before, refused, decoded = (int(line) / 2**10 for line in done.stdout.splitlines()[1::2])  # MiB
    assert done.stdout.splitlines()[::2] == ["", "20000 x 20000 pixels are over the limit of 67108864 in all", ""]
    assert refused - before < 100 < decoded - before < 400  # 1200 MB of pixels; 201 MB


@pytest.mark.parametrize("shape", [(0, 8, 8, 3), (1, 0, 8, 3), (1, 8, 0, 3)])
@pytest.mark.parametrize("signature", ["serving_default", "proposals"])
def test_no_pixels_are_a_clear_error(loaded, signature, shape):
    with pytest.raises(tf.errors.InvalidArgumentError, match="images holds no pixels: give at least one picture"):
        loaded.signatures[signature](images=tf.zeros(shape, tf.uint8))


def test_no_picture_is_a_clear_error(loaded):
    with pytest.raises(tf.errors.InvalidArgumentError, match="image_bytes is empty: give at least one picture"):
        loaded.signatures["image_bytes"](image_bytes=tf.constant([], tf.string))


SERVER = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("serving_server", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
with module.ServingServer({"detector": sys.argv[2]}) as server:
    print(server.rest_address, flush=True)
    sys.stdin.read()
"""
REQUESTS = 2000


@pytest.mark.slow
def test_a_server_answers_good_and_hostile_pictures_in_constant_memory(exported, loaded, scene):
    contents = {name: make(scene) for name, make in FINE.items()}
    contents |= {f"bad: {name}": make(scene) for name, (make, _) in BAD.items()}
    answer = loaded.signatures["image_bytes"](image_bytes=tf.constant(list(contents.values())))
    rows = (dict(zip(answer, row, strict=True)) for row in zip(*(a.numpy() for a in answer.values()), strict=True))
    expected = dict(zip(contents, rows, strict=True))
    place = Path(__file__).parents[1] / "serving_server.py"
    command = [sys.executable, "-c", SERVER, str(place), str(exported[0].parent)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        address, chance, memory = process.stdout.readline().strip(), random.Random(0), []
        for _ in range(REQUESTS):
            names = chance.choices(list(contents), k=chance.randint(1, 3))
            found = client.detect([contents[name] for name in names], server=address, model="detector")
            for name, one in zip(names, found, strict=True):
                row = expected[name]
                count = int(row["num_detections"])
                assert one.error == row["image_errors"].decode() and len(one.scores) == count, name
                assert one.classes == row["detection_classes"][:count].tolist()
                np.testing.assert_allclose(one.scores, row["detection_scores"][:count], atol=1e-4)
                np.testing.assert_allclose(np.reshape(one.boxes, (-1, 4)), row["detection_boxes"][:count], atol=1e-4)
            status = Path(f"/proc/{process.pid}/status").read_text()
            memory.append(int(re.search(r"VmRSS:\s*(\d+) kB", status)[1]))
        process.stdin.close()
        assert process.wait(30) == 0
    second, last = (np.mean(memory[start : start + REQUESTS // 4]) for start in (REQUESTS // 4, 3 * REQUESTS // 4))
    assert last <= 1.05 * second, f"{second / 1024:.0f} MiB, later {last / 1024:.0f} MiB"
