"""The rules that all sources share: classes, picture sizes and boxes, repaired and counted, or rejected."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from keras_frcnn.data.sources.shared.annotations import (
    CLIPPED,
    EXIF_APPLIED,
    EXIF_IGNORED,
    NO_AREA,
    OUTSIDE,
    WRONG_SIZE,
    AnnotatedObject,
    AnnotatedPicture,
    Problems,
    exif_policy,
    fit_box,
    make_dataset,
)
from keras_frcnn.data.sources.shared.picture_header import PictureHeader
from keras_frcnn.facts.errors import InputError

HEIGHT, WIDTH = 40, 60


@pytest.fixture
def make(tmp_path):
    """A function that makes the data set of one picture; objects are (class name, corners[, other fields])."""

    def make_one(
        *objects, class_names=None, strict=False, size=(HEIGHT, WIDTH), exif=None, policy="auto", in_fractions=False
    ):
        path = tmp_path / "a.png"
        Image.new("RGB", (WIDTH, HEIGHT)).save(path, exif=exif)
        annotated = tuple(
            AnnotatedObject(f"object {i}", name, corners, False, **(rest[0] if rest else {}))
            for i, (name, corners, *rest) in enumerate(objects, start=1)
        )
        picture = AnnotatedPicture("a", path, "/d/a.xml", size, annotated, in_fractions)
        return make_dataset("data", [picture], class_names, Problems(strict), policy)

    return make_one


@pytest.mark.parametrize(
    ("corners", "kind", "kept"),
    [
        ((20, 10, 40, 30), None, [[20, 10, 40, 30]]),
        ((0, 0, HEIGHT, WIDTH), None, [[0, 0, HEIGHT, WIDTH]]),
        ((-1, -1, 40, 30), CLIPPED, [[0, 0, 40, 30]]),
        ((29, 49, HEIGHT, WIDTH + 1), CLIPPED, [[29, 49, HEIGHT, WIDTH]]),
        ((29, 49, HEIGHT + 9, WIDTH), CLIPPED, [[29, 49, HEIGHT, WIDTH]]),
        (None, NO_AREA, []),
        ((6, 4, 6, 8), NO_AREA, []),
        ((6, 4, 9, 3), NO_AREA, []),
        ((0, WIDTH, 9, WIDTH + 9), OUTSIDE, []),  # x0 is exactly the right edge
        ((-10, 0, 0, 9), OUTSIDE, []),  # y1 is exactly the upper edge
        ((0, -1, 9, 1e-300), NO_AREA, []),  # float32 rounds its x1 to 0
    ],
)
def test_a_faulty_box_is_repaired_and_counted_or_rejected(make, corners, kind, kept):
    dataset = make(("cat", corners), class_names=["cat"])
    np.testing.assert_array_equal(dataset.examples[0].boxes, np.reshape(kept, (-1, 4)))
    assert len(dataset.examples[0].classes) == len(dataset.examples[0].difficult) == len(kept)
    assert dataset.problems == ({} if kind is None else {kind: ("/d/a.xml",)})
    if kind is not None:
        with pytest.raises(InputError, match=r"^/d/a\.xml, object 1: box .*; correct the box or .* without --strict$"):
            make(("cat", corners), class_names=["cat"], strict=True)


coordinates = st.one_of(
    st.integers(-5, WIDTH + 5).map(float),
    st.floats(-2.0, WIDTH + 2.0),
    st.floats(allow_nan=False, allow_infinity=False),
)


@settings(deadline=None)  # a busy machine must not fail the test
@given(coordinates, coordinates, coordinates, coordinates)
@example(0.0, -1.0, 5.0, 1e-300)
@example(0.0, WIDTH - 1e-9, 5.0, WIDTH + 9.0)  # float32 rounds its x0 to the right edge
@example(-1e308, -1e308, 1e308, 1e308)
def test_any_box_ends_inside_the_picture_or_is_dropped_and_counted(y0, x0, y1, x1):
    box, kind = fit_box((y0, x0, y1, x1), HEIGHT, WIDTH)
    if box is None:
        assert kind in (NO_AREA, OUTSIDE)
        return
    top, left, bottom, right = box
    assert box.dtype == np.float32 and 0 <= top < bottom <= HEIGHT and 0 <= left < right <= WIDTH
    inside = y0 >= 0 and x0 >= 0 and y1 <= HEIGHT and x1 <= WIDTH
    assert kind == (None if inside else CLIPPED)
    if inside:
        np.testing.assert_allclose(box, [y0, x0, y1, x1], rtol=1e-6, atol=1e-30)  # float32 keeps few digits near 0


def test_minus_zero_becomes_zero():
    """Else the same box from two formats would differ in a bit."""
    box, kind = fit_box((-0.0, -0.0, 5.0, 9.0), HEIGHT, WIDTH)
    assert kind is None and not np.signbit(box).any()


@pytest.mark.parametrize("in_fractions", [False, True])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_box_that_is_not_finite_is_named(make, value, in_fractions):
    """Clipping would turn NaN into a box that looks right."""
    with pytest.raises(InputError, match=r"^/d/a\.xml, object 1: the box .* is not finite; correct the box"):
        make(("cat", (value, 0.1, 0.5, 0.9)), in_fractions=in_fractions)


def test_each_fault_is_counted_once_per_object(make):
    dataset = make(("cat", None), ("cat", None), ("cat", (0, -1, 9, 9)), ("dog", (1, 1, 9, 9)))
    assert dataset.problems == {NO_AREA: ("/d/a.xml", "/d/a.xml"), CLIPPED: ("/d/a.xml",)}
    assert dataset.examples[0].classes.tolist() == [1, 2]


def test_types_are_those_of_an_example_with_and_without_objects(make):
    for objects in ((), [("cat", (1, 2, 3, 4))]):
        (picture,) = make(*objects, class_names=["cat"]).examples
        assert picture.boxes.shape == (len(objects), 4) and picture.boxes.dtype == np.float32
        assert picture.classes.shape == (len(objects),) and picture.classes.dtype == np.int32
        assert picture.difficult.shape == (len(objects),) and picture.difficult.dtype == bool


def test_the_size_of_the_file_is_used(make):
    dataset = make(("cat", (0, 0, HEIGHT, WIDTH)), size=(WIDTH, HEIGHT))
    assert (dataset.examples[0].height, dataset.examples[0].width) == (HEIGHT, WIDTH)
    assert dataset.problems == {WRONG_SIZE: ("/d/a.xml",)}
    with pytest.raises(InputError, match=rf"^/d/a\.xml, size: .*; write width {WIDTH} and height {HEIGHT}"):
        make(("cat", (0, 0, HEIGHT, WIDTH)), size=(WIDTH, HEIGHT), strict=True)


def exif_tags(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


@pytest.mark.parametrize("strict", [False, True])
def test_boxes_of_turned_pictures_are_recognised_by_the_stated_size(make, tmp_path, strict):
    box = ("cat", (20, 10, 40, 30))
    turned = make(box, exif=exif_tags(6), strict=strict, size=(WIDTH, HEIGHT))
    assert turned.exif == "apply" and turned.problems == {EXIF_APPLIED: (str(tmp_path / "a.png"),)}
    (picture,) = turned.examples
    assert (picture.height, picture.width, picture.orientation) == (WIDTH, HEIGHT, 6)
    np.testing.assert_array_equal(picture.boxes, [[20, 10, 40, 30]])

    stored = make(box, exif=exif_tags(6), strict=strict, size=(HEIGHT, WIDTH))
    assert stored.exif == "ignore" and stored.problems == {EXIF_IGNORED: (str(tmp_path / "a.png"),)}
    (picture,) = stored.examples
    assert (picture.height, picture.width, picture.orientation) == (HEIGHT, WIDTH, 1)


def test_without_a_stated_size_the_orientation_is_applied(make):
    for orientation, size in ((6, (WIDTH, HEIGHT)), (3, (HEIGHT, WIDTH)), (1, (HEIGHT, WIDTH))):
        dataset = make(("cat", (20, 10, 40, 30)), exif=exif_tags(orientation), size=None)
        (picture,) = dataset.examples
        assert dataset.exif == "apply" and picture.orientation == orientation
        assert (picture.height, picture.width) == size
        assert list(dataset.problems) == ([] if orientation == 1 else [EXIF_APPLIED])


def test_the_policy_can_be_forced(make):
    dataset = make(("cat", (20, 10, 40, 30)), exif=exif_tags(6), size=(WIDTH, HEIGHT), policy="ignore")
    assert dataset.exif == "ignore" and dataset.examples[0].orientation == 1
    assert set(dataset.problems) == {EXIF_IGNORED, WRONG_SIZE}


@pytest.mark.parametrize(
    ("stored", "turned", "policy"), [(0, 0, "apply"), (1, 2, "apply"), (2, 2, "ignore"), (3, 1, "ignore")]
)
def test_the_majority_of_swapped_pictures_decides(stored, turned, policy):
    header = PictureHeader(HEIGHT, WIDTH, 8)
    sizes = [(HEIGHT, WIDTH)] * stored + [(WIDTH, HEIGHT)] * turned
    pictures = [(AnnotatedPicture("a", None, "", size, ()), header) for size in sizes]
    upright = (AnnotatedPicture("b", None, "", (HEIGHT, WIDTH), ()), PictureHeader(HEIGHT, WIDTH, 1))
    assert exif_policy([upright] * 9 + pictures) == policy


def test_boxes_in_fractions_are_scaled_and_rounded(make):
    fractions = tuple(np.float32(np.array([7, 11, 23, 49.5]) / [HEIGHT, WIDTH, HEIGHT, WIDTH]).tolist())
    dataset = make(("cat", fractions), in_fractions=True)
    assert dataset.examples[0].boxes.tolist() == [[7, 11, 23, 49.5]]  # exact, though float32 cannot hold the fractions


def test_crowd_regions_are_difficult_and_areas_are_kept(make):
    plain = make(("cat", (1, 2, 5, 9)))
    assert plain.examples[0].crowd is None and plain.examples[0].areas is None
    objects = [("cat", (1, 2, 5, 9)), ("cat", (0, 0, 3, 2), {"crowd": True, "area": 4.5}), ("cat", None, {"area": 7.0})]
    (picture,) = make(*objects).examples
    assert picture.crowd.tolist() == picture.difficult.tolist() == [False, True]
    assert picture.areas.tolist() == [28, 4.5]


def test_unusable_pictures_can_be_collected(tmp_path):
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"no picture")
    pictures = [
        AnnotatedPicture(
            name, tmp_path / f"{name}.png", "/d/a.xml", None, (AnnotatedObject("object 1", kind, (1, 2, 3, 4), False),)
        )
        for name, kind in (("bad", "cat"), ("good", "cow"), ("good", "cat"))
    ]
    problems = Problems(keep_going=True)
    dataset = make_dataset("data", pictures, ("cat",), problems)
    assert [example.image_id for example in dataset.examples] == ["good"]
    assert [str(error).split(":")[0] for error in problems.errors] == [f"{tmp_path}/bad.png", "/d/a.xml, object 1"]
    with pytest.raises(InputError, match="bad.png: cannot be read as a picture"):
        make_dataset("data", pictures, ("cat",), Problems())


def test_a_name_that_is_not_utf8_is_named(tmp_path):
    path = tmp_path / "a\udcff.png"
    Image.new("RGB", (WIDTH, HEIGHT)).save(path)
    picture = AnnotatedPicture("a", path, "/d/a.xml", None, (AnnotatedObject("object 1", "cat", (1, 2, 3, 4), False),))
    with pytest.raises(InputError) as caught:
        make_dataset("data", [picture], None, Problems())
    assert str(caught.value) == f"{path}: its name is not UTF-8; rename the file or its folder"


def test_classes_are_sorted_or_keep_the_order_of_the_class_names(make):
    objects = [(name, (1, 2, 3, 4)) for name in ("dog", "ant", "cat")]
    dataset = make(*objects)
    assert dataset.class_names == ("ant", "cat", "dog") and dataset.examples[0].classes.tolist() == [3, 1, 2]
    dataset = make(*objects, class_names=["dog", "cat", "eel", "ant"])
    assert dataset.class_names == ("dog", "cat", "eel", "ant") and dataset.examples[0].classes.tolist() == [1, 4, 2]


def test_an_unknown_class_is_named(make):
    message = r"^/d/a\.xml, object 2: class 'cow' is not one of the classes cat, dog; correct the name, or add"
    with pytest.raises(InputError, match=message):
        make(("cat", (1, 2, 3, 4)), ("cow", (1, 2, 3, 4)), class_names=["cat", "dog"])


def test_a_split_without_objects_needs_class_names(make):
    with pytest.raises(InputError, match="^data: there are no objects to take the class names from; specify"):
        make()
    assert make(class_names=["cat"]).class_names == ("cat",)
