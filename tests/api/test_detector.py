"""Three lines find objects in any form of picture, and the form, the order and the batch change nothing."""

import dataclasses
import io
import os
import re

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

import keras_frcnn
from keras_frcnn.api import detector as api_detector
from keras_frcnn.api.finding import streaming
from keras_frcnn.api.finding.reading_ahead import READ_AHEAD
from keras_frcnn.api.pictures import detect_pixels, to_pixels
from keras_frcnn.data.pictures.files import Reading
from keras_frcnn.data.pictures.images import decode_image, prepare
from keras_frcnn.facts.errors import InputError

SCORE = 0.311  # between the scores of the small model's detections
# The 1st, 3rd, 4th, 6th and 7th are resized to one size.
SIZES = ((64, 96), (50, 90), (128, 192), (64, 96), (70, 70), (32, 48), (64, 96))


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture(scope="module")
def pictures():
    return [noise(*size, seed) for seed, size in enumerate(SIZES)]


@pytest.fixture(scope="module")
def detector(make_model, tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "model.keras"
    model = make_model(seed=0)
    kernel = model.head.class_logits.kernel
    kernel.assign(kernel * 20.0)  # pictures of noise look alike: without this, their scores lie close together
    model.save(path)
    return keras_frcnn.load(path.parent)


@pytest.fixture(scope="module")
def alone(detector, pictures):
    return [detector.detect(picture, score=SCORE) for picture in pictures]


def assert_same(found, expected):
    assert len(found) == len(expected) > 0
    np.testing.assert_array_equal(found.class_ids, expected.class_ids)
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-4)
    np.testing.assert_allclose(found.boxes, expected.boxes, rtol=1e-4, atol=1e-3)
    assert (found.height, found.width, found.error) == (expected.height, expected.width, None)


# One picture.


def test_an_array_gives_what_the_keras_model_finds(detector, alone, pictures):
    assert detector.class_names == ("cat", "dog", "hen") and detector.config == detector.model.config
    for picture, result in zip(pictures, alone, strict=True):
        height, width = picture.shape[:2]
        resized = prepare(picture, 64, 128)
        found = detector.model((resized[None], tf.constant([resized.shape[:2]])))
        shown = found.valid[0].numpy() & (found.scores[0].numpy() >= SCORE)
        assert 0 < shown.sum() == len(result)
        factor = np.tile([height / resized.shape[0], width / resized.shape[1]], 2)
        np.testing.assert_allclose(result.boxes, found.boxes[0].numpy()[shown] * factor, rtol=1e-4, atol=1e-3)
        np.testing.assert_array_equal(result.class_ids, found.classes[0].numpy()[shown])
        np.testing.assert_allclose(result.scores, found.scores[0].numpy()[shown], rtol=1e-4)
        assert (result.boxes.dtype, result.scores.dtype, result.class_ids.dtype) == (np.float32, np.float32, np.int32)
        assert (result.height, result.width, result.source, result.error) == (height, width, None, None)
        assert result.names == tuple(detector.class_names[index - 1] for index in result.class_ids)
        assert result.draw().size[0] * height == result.draw().size[1] * width


def test_a_path_and_a_pil_image_give_the_same(detector, alone, pictures, tmp_path):
    path = tmp_path / "picture.png"
    Image.fromarray(pictures[1]).save(path)
    for given in (path, str(path)):
        result = detector.detect(given, score=SCORE)
        assert_same(result, alone[1])
        assert result.source == str(path)
    from_pil = detector.detect(Image.fromarray(pictures[1]), score=SCORE)
    assert_same(from_pil, alone[1])
    np.testing.assert_array_equal(result.draw(), from_pil.draw())
    np.testing.assert_array_equal(result.draw(), alone[1].draw())


def test_detect_pixels_finds_all_that_detect_shows(detector, alone, pictures):
    boxes, class_ids, scores = detect_pixels(detector.model, pictures[0])
    shown = scores >= SCORE
    assert 0 < shown.sum() < len(scores)
    np.testing.assert_allclose(boxes[shown], alone[0].boxes, rtol=1e-4, atol=1e-3)
    np.testing.assert_array_equal(class_ids[shown], alone[0].class_ids)
    assert len(detector.detect(pictures[0], score=0)) == len(scores)


@pytest.mark.parametrize("score", [-0.1, 1, 1.0, 50, float("nan"), float("inf"), True, "0.5", None])
def test_a_score_out_of_range_is_an_error(detector, pictures, score):
    rule = r"score must be at least 0 and less than 1 \(got |score: .* is not a number; give a number from 0 to below 1"
    with pytest.raises(InputError, match=f"^({rule})"):
        detector.detect(pictures[0], score=score)


@pytest.mark.parametrize("batch_size", [0, -1, 1.5, True, None])
def test_a_batch_size_out_of_range_is_an_error(detector, pictures, batch_size):
    with pytest.raises(InputError, match="^batch_size: "):
        detector.detect(pictures, batch_size=batch_size)


# Several pictures.


@pytest.mark.parametrize("batch_size", [1, 2, 3, 100])
def test_a_list_gives_the_same_in_the_same_order(detector, alone, pictures, batch_size):
    results = detector.detect(pictures, score=SCORE, batch_size=batch_size)
    assert len(results) == len(alone)
    for result, expected in zip(results, alone, strict=True):
        assert_same(result, expected)


def test_pictures_of_one_resized_size_run_together(detector, pictures, monkeypatch):
    counts = []
    compile_ = detector._compile
    monkeypatch.setattr(detector, "_compile", lambda count: counts.append(count) or compile_(count))
    detector.detect(pictures, batch_size=2)
    assert sorted(counts) == [1, 1, 1, 2, 2]  # five of one size, and two others


def test_only_the_pictures_of_one_batch_are_resized_before_it_runs(detector, pictures, monkeypatch):
    resized = []
    prepare_, compile_ = api_detector.prepare_picture, detector._compile
    monkeypatch.setattr(api_detector, "prepare_picture", lambda *given: resized.append(1) or prepare_(*given))
    monkeypatch.setattr(detector, "_compile", lambda count: before.append(len(resized)) or compile_(count))
    before = []
    detector.detect(pictures, batch_size=2)
    assert before == [2, 4, 5, 6, 7]


@pytest.mark.parametrize(("most_bytes", "windows"), [(10**9, [8, 2]), (70_000, [3, 3, 3, 1]), (1, [1] * 10)])
def test_large_pictures_make_fewer_in_memory(monkeypatch, most_bytes, windows):
    class Counting:
        class_names, turns, nms_iou = ("cat",), False, 0.3

        def find(self, given, _):
            sizes.append(len(given))
            return [streaming._NOTHING] * len(given)

    sizes = []
    monkeypatch.setattr(streaming, "_BYTES_READ_AHEAD", most_bytes)
    monkeypatch.setattr(streaming, "_BATCHES_READ_AHEAD", 4)
    assert len(list(streaming.stream(Counting(), [noise(100, 100)] * 10, SCORE, 2))) == 10  # 30000 bytes each
    assert sizes == windows


def test_a_stream_of_sizes_is_traced_once(make_model, pictures):
    detector = keras_frcnn.Detector(make_model(seed=0))
    detector.detect([*pictures, noise(33, 71), noise(200, 90)])
    traces = {count: function.experimental_get_tracing_count() for count, function in detector._compiled.items()}
    assert traces == {1: 1}


def test_any_collection_of_mixed_forms(detector, alone, pictures, tmp_path):
    path = tmp_path / "picture.png"
    Image.fromarray(pictures[0]).save(path)
    mixed = [str(path), pictures[1], Image.fromarray(pictures[2]), tf.constant(pictures[3])]
    for given in (mixed, tuple(mixed), (image for image in mixed), iter(mixed)):
        results = detector.detect(given, score=SCORE)
        assert isinstance(results, list) and [result.source for result in results] == [str(path), None, None, None]
        for result, expected in zip(results, alone[:4], strict=True):
            assert_same(result, expected)
    (one,) = detector.detect([pictures[0]], score=SCORE)
    assert_same(one, alone[0])
    assert detector.detect([]) == []


def test_only_some_pictures_of_a_stream_are_read_ahead(detector, pictures, monkeypatch):
    read, before_batches = [], []
    compile_ = detector._compile
    monkeypatch.setattr(detector, "_compile", lambda count: before_batches.append(len(read)) or compile_(count))
    detector.detect(picture for picture in pictures if not read.append(picture))
    assert before_batches == [min(len(pictures), number + READ_AHEAD) for number in range(1, len(pictures) + 1)]


def test_results_of_a_stream_come_while_it_is_read(detector, alone, pictures):
    def endless():
        while True:
            yield from pictures

    results = detector.stream(endless(), score=SCORE)
    for _ in range(2):
        for expected in alone:
            assert_same(next(results), expected)
    results.close()


def test_a_stream_checks_its_arguments_before_it_reads(detector):
    with pytest.raises(InputError, match="^score must be"):
        detector.stream([], score=2)
    with pytest.raises(InputError, match="^batch_size: 0 is not"):
        detector.stream([], batch_size=0)


# Pictures that cannot be used.


@pytest.fixture
def broken(tmp_path):
    """Paths that cannot be read, each with the beginning of its error message."""
    text, empty, cut = tmp_path / "text.jpg", tmp_path / "empty.png", tmp_path / "cut.jpg"
    text.write_text("no picture")
    empty.write_bytes(b"")
    Image.fromarray(noise(60, 90)).save(cut)
    cut.write_bytes(cut.read_bytes()[:-200])
    return {
        tmp_path / "gone.jpg": "no such file; give the path of a picture",
        tmp_path: "is a folder; give the path of a picture",
        text: "not a readable picture (Unknown image file format",
        empty: "not a readable picture (",
        cut: "not a readable picture (",
    }


def test_a_broken_file_is_an_error_that_names_it(detector, broken):
    for path, problem in broken.items():
        with pytest.raises(InputError) as caught:
            detector.detect(path)
        message = str(caught.value)
        assert message.startswith(f"{path}: {problem}")
        assert "{{" not in message and "[Op:" not in message and "\n" not in message


def test_a_broken_file_in_a_list_leaves_the_others(detector, alone, pictures, broken):
    given = [pictures[0], *broken, pictures[1], None]
    assert len(broken) == 5
    for batch_size in (1, 4):
        first, *failed, second, nothing = detector.detect(given, score=SCORE, batch_size=batch_size)
        assert_same(first, alone[0])
        assert_same(second, alone[1])
        assert nothing.error.startswith("images[7]: NoneType is not a picture; give a path")
        for result, (path, problem) in zip(failed, broken.items(), strict=True):
            assert result.error.startswith(f"{path}: {problem}") and result.source == str(path)
            assert len(result) == 0 and result.boxes.shape == (0, 4) and (result.height, result.width) == (0, 0)
            assert result.class_names == detector.class_names


@pytest.mark.parametrize(
    ("image", "problem"),
    [
        (np.zeros((4, 5, 3), np.float32), "an array of dtype float32 and shape (4, 5, 3) is not a picture; convert it"),
        (np.zeros((2, 4, 5, 3), np.uint8), "an array of dtype uint8 and shape (2, 4, 5, 3) is not a picture; give one"),
        (np.zeros((3, 40, 50), np.uint8), "an array of dtype uint8 and shape (3, 40, 50) is not a picture; give one"),
        (np.zeros((4, 5, 2), np.uint8), "an array of dtype uint8 and shape (4, 5, 2) is not a picture"),
        (np.zeros((0, 5, 3), np.uint8), "an array of dtype uint8 and shape (0, 5, 3) is not a picture"),
        (np.zeros(3, np.uint8), "an array of dtype uint8 and shape (3,) is not a picture"),
        (np.array(["a.jpg"]), "an array of dtype <U5 and shape (1,) is not a picture"),
        (Image.new("RGB", (0, 4)), "a PIL image of 0 x 4 pixels is not a picture; give one with at least one pixel"),
        (Image.new("I;16", (5, 0)), "a PIL image of 5 x 0 pixels is not a picture"),
        (Image.new("F", (5, 4)), "a PIL image of mode F has no fixed range"),
        (Image.fromarray(np.full((4, 5), 70000, np.int32)), "a PIL image of mode I has values outside of 16 bits"),
        (7, "int is not a picture; give a path, the bytes of a file, a PIL image or a uint8 RGB array"),
        (None, "NoneType is not a picture"),
        (b"\xff\xd8\xff", "not a readable picture ("),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_is_not_a_picture_is_an_error(detector, image, problem):
    with pytest.raises(InputError, match=f"^image: {re.escape(problem)}"):
        detector.detect(image)


# Every form of picture becomes what the decoder makes of the file.


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def tags(orientation):
    """EXIF data with this orientation."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


GREY = np.arange(0, 240, 4, np.uint8).reshape(6, 10)
RGBA = np.concatenate([noise(6, 10), np.full((6, 10, 1), 90, np.uint8)], axis=-1)
WORDS = np.random.default_rng(3).integers(0, 65536, (6, 10), np.uint16)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("image", "kind", "options"),
    [
        (Image.fromarray(noise(6, 10)), "PNG", {}),
        (Image.fromarray(GREY), "PNG", {}),
        (Image.fromarray(GREY > 100), "PNG", {}),
        (Image.fromarray(RGBA), "PNG", {}),
        (Image.fromarray(RGBA).convert("LA"), "PNG", {}),
        (Image.fromarray(noise(6, 10)).quantize(16), "PNG", {}),
        (Image.fromarray(noise(6, 10)).quantize(16), "PNG", {"transparency": bytes(range(16))}),
        (Image.fromarray(noise(6, 10)).quantize(16), "GIF", {}),
        (Image.fromarray(WORDS), "PNG", {}),
        (Image.fromarray(noise(48, 64)), "JPEG", {"quality": 90}),
        (Image.fromarray(noise(48, 64)), "JPEG", {"quality": 90, "exif": tags(6)}),
        (Image.fromarray(noise(48, 64)).convert("L"), "JPEG", {}),
        (Image.fromarray(noise(48, 64)).convert("CMYK"), "JPEG", {"quality": 90}),
    ],
    ids=lambda value: value.mode if isinstance(value, Image.Image) else "-".join(value),
)
def test_a_pil_image_is_what_the_decoder_makes_of_the_file(image, kind, options):
    content = encoded(image, kind, **options)
    opened = Image.open(io.BytesIO(content))
    pixels, expected = to_pixels(opened, Reading(turned=False)), decode_image(content).numpy()
    assert pixels.dtype == np.uint8 and pixels.shape == expected.shape == (image.height, image.width, 3)
    assert np.ptp(expected) > 100
    # The two libraries round the product of a CMYK picture's inks in different ways.
    np.testing.assert_allclose(pixels.astype(int), expected, atol=1 if image.mode == "CMYK" else 0)


@pytest.mark.parametrize("kind", ["WEBP", "TIFF"])
def test_formats_that_only_pillow_reads_give_the_pixels_of_the_file(detector, tmp_path, kind):
    path, plain = tmp_path / "picture.any", tmp_path / "picture.png"
    image = Image.fromarray(noise(40, 60))
    image.save(path, kind, lossless=True)
    image.save(plain)
    np.testing.assert_array_equal(to_pixels(path, Reading(turned=False)), np.asarray(image))
    result = detector.detect(path, score=SCORE)
    assert_same(result, detector.detect(plain, score=SCORE))
    np.testing.assert_array_equal(result.draw(), detector.detect(plain, score=SCORE).draw())
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(InputError, match=f"^{path}: not a readable picture"):
        detector.detect(path)


def test_a_webp_is_turned_as_its_orientation_says(tmp_path):
    path = tmp_path / "turned.webp"
    image = Image.fromarray(noise(40, 60))
    image.save(path, lossless=True, exif=tags(6))
    np.testing.assert_array_equal(to_pixels(path, Reading(turned=False)), np.asarray(image))
    np.testing.assert_array_equal(
        to_pixels(path, Reading(turned=True)), np.asarray(image.transpose(Image.Transpose.ROTATE_270))
    )


def test_a_pipe_is_refused_and_not_waited_for(detector, tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(InputError, match="pipe.jpg: is not a regular file; give the path of a picture"):
        detector.detect(tmp_path / "pipe.jpg")


@pytest.mark.parametrize("name", ["a\udcff.png", "a\udcff.webp"])
def test_the_name_of_a_file_need_not_be_utf_8(detector, tmp_path, name):
    path = tmp_path / name
    Image.fromarray(noise(40, 60)).save(path, lossless=True)
    (entry,) = os.scandir(tmp_path)
    for image in (path, str(path), entry):
        result = detector.detect(image)
        assert result.source == str(path) and (result.height, result.width) == (40, 60)
        assert result.draw().size[0] >= 60


def test_a_name_with_a_null_character_is_an_input_error(detector):
    with pytest.raises(InputError, match=r"'a\\x00b.jpg': is not the name of a file"):
        detector.detect("a\0b.jpg")


def test_sixteen_bits_keep_the_upper_byte():
    for dtype in (np.uint16, np.int32):
        values = np.array([[0, 0x12FF], [0x8000, 0xFFFF]], dtype)
        np.testing.assert_array_equal(
            to_pixels(Image.fromarray(values), Reading(turned=False))[..., 1], [[0, 0x12], [0x80, 0xFF]]
        )


def test_premultiplied_alpha_is_undone():
    image = Image.fromarray(np.full((2, 3, 4), [200, 100, 50, 255], np.uint8)).convert("RGBa")
    np.testing.assert_array_equal(
        to_pixels(image, Reading(turned=False)), np.broadcast_to(np.uint8([200, 100, 50]), (2, 3, 3))
    )


def test_grey_and_rgba_arrays_are_read_as_such_files_are():
    grey = np.repeat(GREY[:, :, None], 3, axis=2)
    np.testing.assert_array_equal(to_pixels(GREY, Reading(turned=False)), grey)
    np.testing.assert_array_equal(to_pixels(GREY[:, :, None], Reading(turned=False)), grey)
    np.testing.assert_array_equal(to_pixels(RGBA, Reading(turned=False)), RGBA[..., :3])


@pytest.fixture(scope="module")
def turning(make_model, detector):
    """The detector with the policy to apply the EXIF orientation."""
    config = dataclasses.replace(detector.config, image=dataclasses.replace(detector.config.image, exif="apply"))
    model = make_model(config=config)
    model.set_weights(detector.model.get_weights())
    return keras_frcnn.Detector(model)


@pytest.mark.parametrize("exif", ["auto", "ignore"])
def test_a_model_that_ignores_the_orientation_sees_the_pixels_as_stored(make_model, detector, tmp_path, exif):
    plain, turned = tmp_path / "plain.jpg", tmp_path / "turned.jpg"
    image = Image.fromarray(noise(50, 90))
    image.save(plain)
    image.save(turned, exif=tags(6))
    config = dataclasses.replace(detector.config, image=dataclasses.replace(detector.config.image, exif=exif))
    model = make_model(config=config)
    model.set_weights(detector.model.get_weights())
    ignoring = keras_frcnn.Detector(model)
    expected = detector.detect(plain, score=SCORE)
    assert_same(ignoring.detect(turned, score=SCORE), expected)
    with Image.open(turned) as opened:
        assert_same(ignoring.detect(opened, score=SCORE), expected)
    assert ignoring.detect(turned, score=SCORE).draw().tobytes() == expected.draw().tobytes()


@pytest.mark.parametrize("kind", ["jpg", "png"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 7])
def test_a_model_that_applies_the_orientation_sees_the_turned_picture(
    turning, detector, stored_turned, tmp_path, kind, orientation
):
    shown = Image.fromarray(noise(50, 90))
    stored, exif = stored_turned(shown, orientation)
    path = tmp_path / f"turned.{kind}"
    stored.save(path, exif=exif, **({"quality": 100} if kind == "jpg" else {}))
    with Image.open(path) as opened:
        pixels = np.asarray(ImageOps.exif_transpose(opened))
        assert pixels.shape == (50, 90, 3)
        expected = detector.detect(pixels, score=SCORE)  # arrays are taken as they are
        results = turning.detect([path, opened, pixels], score=SCORE)
        results.append(turning.detect(path, score=SCORE))
        results.append(turning.detect(ImageOps.exif_transpose(opened), score=SCORE))  # turned by the caller: once
    for result in results:
        assert_same(result, expected)
        assert (result.height, result.width) == (50, 90)
        assert result.draw().tobytes() == expected.draw().tobytes()


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("exif", [b"", b"Exif\0\0damaged", b"Exif\0\0II*\0\xff\xff\xff\xff"])
def test_damaged_exif_data_turn_nothing(turning, detector, tmp_path, exif):
    path = tmp_path / "a.jpg"
    Image.fromarray(noise(50, 90)).save(path, exif=exif)
    with Image.open(path) as opened:
        for image in (path, opened):
            assert_same(turning.detect(image, score=SCORE), detector.detect(path, score=SCORE))


def test_a_truncated_pil_image_is_an_error_that_names_its_file(detector, tmp_path):
    path = tmp_path / "cut.jpg"
    Image.fromarray(noise(60, 90)).save(path)
    path.write_bytes(path.read_bytes()[:-200])
    with Image.open(path) as opened, pytest.raises(InputError, match=rf"^{path}: not a readable picture \(image file"):
        detector.detect(opened)
