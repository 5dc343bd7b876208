"""Pictures: sizes by hand, channels against Keras, and what the decoder makes of every kind of file."""

import io
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_frcnn.data.pictures.images import (
    CHANNEL_MEANS_BGR,
    decode_image,
    encoded_size,
    normalise,
    prepare,
    resize,
    resized_size,
)


@pytest.mark.parametrize(
    ("original", "expected"),
    [
        ((375, 500), (600, 800)),  # 600 / 375 = 1.6
        ((500, 375), (800, 600)),
        ((333, 500), (600, 901)),  # 600 / 333 = 1.8018: 900.9
        ((300, 500), (600, 1000)),  # both limits at once
        ((299, 500), (598, 1000)),  # 1000 / 500 = 2: the long side wins
        ((600, 800), (600, 800)),
        ((1200, 1600), (600, 800)),  # made smaller
        ((100, 1000), (100, 1000)),
        ((50, 5000), (16, 1000)),  # 10 would leave no row of features
        ((5000, 3), (1000, 16)),
        ((1, 100000), (16, 1000)),
        ((1, 1), (600, 600)),
    ],
)
def test_resized_size_by_hand(original, expected):
    size = resized_size(tf.constant(original), 600, 1000)
    assert size.dtype == tf.int32
    assert tuple(size.numpy()) == expected


def test_sides_are_never_over_their_limits():
    for height in range(1, 1300, 97):
        for width in range(1, 1300, 89):
            size = resized_size(tf.constant([height, width]), 600, 1000).numpy()
            assert min(size) == 600 or max(size) == 1000
            assert 1 <= min(size) <= 600 and max(size) <= 1000


def test_channel_means_are_oxfords():
    assert CHANNEL_MEANS_BGR == (103.939, 116.779, 123.68)


def test_normalise_by_hand():
    # Red 10, green 20, blue 30: blue comes first, less its mean.
    result = normalise(tf.constant([[[10, 20, 30]]], tf.uint8))
    assert result.dtype == tf.float32
    np.testing.assert_allclose(result, [[[30 - 103.939, 20 - 116.779, 10 - 123.68]]], rtol=1e-6)


def test_normalise_equals_keras():
    image = np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3)).astype(np.float32)
    expected = keras.applications.vgg16.preprocess_input(image.copy())
    np.testing.assert_allclose(normalise(tf.constant(image)), expected, atol=1e-4)


def test_resize_has_half_pixel_centres():
    image = tf.tile(tf.constant([[0], [10]], tf.uint8)[None, :, :], [1, 1, 3])  # one row: 0, 10
    result = resize(image, [1, 4])
    assert result.dtype == tf.float32
    # The middles of four columns are at 0.25, 0.75, 1.25, 1.75, those of the two at 0.5 and 1.5.
    np.testing.assert_allclose(result[0, :, 0], [0, 2.5, 7.5, 10])


def test_a_batch_is_prepared_as_its_pictures_are():
    images = np.random.default_rng(3).integers(0, 256, (3, 20, 31, 3)).astype(np.uint8)
    batch = prepare(tf.constant(images), 40, 90)
    assert batch.shape == (3, 40, 62, 3)
    np.testing.assert_array_equal(batch, [prepare(tf.constant(image), 40, 90) for image in images])


def test_prepare():
    image = tf.fill([30, 50, 3], tf.constant(100, tf.uint8))
    result = prepare(image, 60, 90)
    assert result.shape == (54, 90, 3) and result.dtype == tf.float32
    expected = 100 - np.array(CHANNEL_MEANS_BGR)
    np.testing.assert_allclose(result, np.broadcast_to(expected, (54, 90, 3)), rtol=1e-5)


# --- decoding


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def picture():
    """Red, green and blue in the first row; black, grey and white in the second."""
    rows = [[(255, 0, 0), (0, 255, 0), (0, 0, 255)], [(0, 0, 0), (128, 128, 128), (255, 255, 255)]]
    return np.array(rows, np.uint8)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF"])
def test_lossless_files(kind):
    image = decode_image(encoded(Image.fromarray(picture()), kind))
    assert image.dtype == tf.uint8
    np.testing.assert_array_equal(image, picture())


def test_jpeg():
    blocks = picture().repeat(16, axis=0).repeat(16, axis=1)
    image = decode_image(encoded(Image.fromarray(blocks), "JPEG", quality=95, subsampling=0))
    np.testing.assert_allclose(image.numpy()[8::16, 8::16].astype(int), picture(), atol=4)


def test_grey_files_get_three_channels():
    grey = np.arange(0, 240, 10, np.uint8).reshape(4, 6)
    for kind in ("PNG", "JPEG"):
        image = decode_image(encoded(Image.fromarray(grey.repeat(8, 0).repeat(8, 1)), kind))
        assert image.shape == (32, 48, 3)
        np.testing.assert_array_equal(image[..., 0], image[..., 1])
        np.testing.assert_array_equal(image[..., 0], image[..., 2])
        np.testing.assert_allclose(image.numpy()[4::8, 4::8, 0].astype(int), grey, atol=3)


def test_an_alpha_channel_is_left_out():
    alpha = np.full([2, 3, 1], 7, np.uint8)
    image = decode_image(encoded(Image.fromarray(np.concatenate([picture(), alpha], axis=-1)), "PNG"))
    np.testing.assert_array_equal(image, picture())


def test_a_palette_is_resolved():
    image = decode_image(encoded(Image.fromarray(picture()).convert("P", palette=Image.Palette.ADAPTIVE), "PNG"))
    np.testing.assert_allclose(image.numpy().astype(int), picture(), atol=1)


def test_sixteen_bits_become_eight():
    values = np.array([[0, 257 * 100], [257 * 200, 65535]], np.uint16)
    image = decode_image(encoded(Image.fromarray(values), "PNG"))
    np.testing.assert_array_equal(image[..., 0], [[0, 100], [200, 255]])


def test_a_cmyk_jpeg_becomes_rgb():
    blocks = picture().repeat(16, axis=0).repeat(16, axis=1)
    image = decode_image(encoded(Image.fromarray(blocks).convert("CMYK"), "JPEG", quality=95))
    assert image.shape == (32, 48, 3)
    np.testing.assert_allclose(image.numpy()[8::16, 8::16].astype(int), picture(), atol=10)


def test_the_first_frame_of_an_animation():
    frames = [Image.new("RGB", (4, 3), colour) for colour in ("red", "blue")]
    image = decode_image(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    np.testing.assert_array_equal(image, np.broadcast_to(np.uint8([255, 0, 0]), (3, 4, 3)))


def test_decoding_gives_the_pixels_as_stored():
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees
    image = decode_image(encoded(Image.new("RGB", (40, 20)), "JPEG", exif=exif))
    assert image.shape == (20, 40, 3)


def pillow_pixels(content):
    """(H, W, 3) RGB as Pillow decodes it."""
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def opencv_pixels(content):
    """(H, W, 3) RGB as OpenCV decodes it."""
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    return cv2.imdecode(np.frombuffer(content, np.uint8), flags)[..., ::-1]


def assert_pixels_of_other_decoders(content):
    pixels = decode_image(content).numpy()
    np.testing.assert_array_equal(pixels, pillow_pixels(content))
    np.testing.assert_array_equal(pixels, opencv_pixels(content))


@pytest.mark.parametrize("size", [(96, 128), (67, 101), (1, 1), (17, 8)])
@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("RGB", {"subsampling": "4:2:0", "quality": 75}),
        ("RGB", {"subsampling": "4:2:0", "quality": 20}),
        ("RGB", {"subsampling": "4:2:2"}),
        ("RGB", {"subsampling": "4:4:4", "quality": 95}),
        ("RGB", {"progressive": True}),
        ("L", {}),
    ],
)
def test_a_jpeg_has_the_pixels_of_other_decoders(size, mode, options):
    # Colours that change fast over the picture, and noise: smooth pictures hide how the decoder rounds.
    rng = np.random.default_rng(4)
    smooth = cv2.resize(rng.integers(0, 256, (9, 11, 3)).astype(np.uint8), size[::-1], interpolation=cv2.INTER_CUBIC)
    pixels = np.clip(smooth + rng.integers(-20, 20, (*size, 3)), 0, 255).astype(np.uint8)
    assert_pixels_of_other_decoders(encoded(Image.fromarray(pixels).convert(mode), "JPEG", **options))


def test_real_jpegs_have_the_pixels_of_other_decoders():
    data = Path(__file__).resolve().parents[4] / "shared" / "data" / "voc"
    paths = sorted(data.rglob("*.jpg"))[::50]
    if not paths:
        pytest.skip("no VOC pictures beside the project in ../shared/data")
    for path in paths:
        assert_pixels_of_other_decoders(path.read_bytes())


def test_a_graph_decodes_every_kind_of_picture():
    image = Image.fromarray(picture().repeat(16, axis=0).repeat(16, axis=1))
    contents = [encoded(image, kind) for kind in ("JPEG", "PNG", "GIF", "BMP")]
    decoded = tf.data.Dataset.from_tensor_slices(contents).map(decode_image)
    for content, pixels in zip(contents, decoded, strict=True):
        np.testing.assert_array_equal(pixels, pillow_pixels(content))


@pytest.mark.parametrize(
    "content", [b"", b"not a picture at all", b"\xff\xd8\xff\xe0 and no more", b"\x89PNG\r\n\x1a\n"]
)
def test_other_bytes_are_an_error(content):
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode_image(content)


def test_a_file_cut_short_is_an_error():
    noise = np.random.default_rng(2).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    for kind in ("PNG", "JPEG"):
        content = encoded(Image.fromarray(noise), kind)
        with pytest.raises(tf.errors.InvalidArgumentError):
            decode_image(content[: len(content) // 2])


def test_the_shape_is_known_in_a_dataset():
    dataset = tf.data.Dataset.from_tensors(encoded(Image.fromarray(picture()), "PNG")).map(decode_image)
    assert dataset.element_spec.shape.as_list() == [None, None, 3]


# --- the header alone


@pytest.mark.parametrize(("kind", "mode"), [(kind, mode) for kind in ("PNG", "JPEG") for mode in ("RGB", "L")])
def test_the_size_stands_in_the_header(kind, mode):
    content = encoded(Image.new(mode, (700, 3)), kind)
    size = encoded_size(content)
    assert size.dtype == tf.int64 and size.numpy().tolist() == [3, 700]
    assert encoded_size(content[: len(content) - 20]).numpy().tolist() == [3, 700]  # without the last pixels


def test_all_four_bytes_of_a_png_side_count():
    start = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
    assert encoded_size(start + bytes([1, 2, 3, 4, 5, 6, 7, 8])).numpy().tolist() == [0x05060708, 0x01020304]
    assert encoded_size(start + b"\xff" * 8).numpy().tolist() == [2**32 - 1] * 2
    assert encoded_size(start).numpy().tolist() == [0, 0]


def test_a_png_that_does_not_begin_with_its_size_has_none():
    content = encoded(Image.new("RGB", (7, 3)), "PNG")
    other_chunk_first = content[:8] + b"\0\0\0\x08tEST" + bytes([0, 0, 0, 1] * 2) + bytes(4) + content[8:]
    assert encoded_size(other_chunk_first).numpy().tolist() == [0, 0]


@pytest.mark.parametrize("content", [b"", b"\x89PNG", b"not a picture", encoded(Image.new("RGB", (7, 3)), "BMP")])
def test_other_bytes_have_no_size(content):
    assert encoded_size(content).numpy().tolist() == [0, 0]


def test_a_damaged_jpeg_header_is_an_error():
    with pytest.raises(tf.errors.InvalidArgumentError):
        encoded_size(b"\xff\xd8\xff\xe0 and no more")


def test_another_number_of_channels_is_refused_when_a_graph_runs():
    """A graph whose caller hides the number of channels, as that of a server may."""
    graph = tf.function(normalise, input_signature=[tf.TensorSpec([None, None, None], tf.uint8)])
    assert graph(np.zeros((2, 2, 3), np.uint8)).shape == (2, 2, 3)
    for channels in (1, 2, 4):
        with pytest.raises(tf.errors.InvalidArgumentError):
            graph(np.zeros((2, 2, channels), np.uint8))
