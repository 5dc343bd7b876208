"""The fingerprint of a run's data: equal for equal data, and every change is named and counted."""

import json

import numpy as np
import pytest

from keras_frcnn.data.example import Dataset, Example
from training.run.data.fingerprint import describe_changes, fingerprint


def example(name: str, **changes) -> Example:
    values = {
        "image_path": f"/data/{name}.jpg",
        "height": 60,
        "width": 90,
        "boxes": np.float32([[1, 2, 30, 40], [5, 6, 50, 60]]),
        "classes": np.int32([1, 2]),
        "difficult": np.array([False, True]),
    }
    return Example(name, **{**values, **changes})


def dataset(*examples: Example, class_names: tuple[str, ...] = ("cat", "dog")) -> Dataset:
    return Dataset("voc:/data split", class_names, examples, {})


TRAIN = dataset(example("a"), example("b"), example("c"))
VAL = dataset(example("v"))


def changes(train_set: Dataset, val_set: Dataset = VAL) -> list[str]:
    """What `describe_changes` finds against TRAIN and VAL, which come back from JSON as from a file."""
    old = json.loads(json.dumps(fingerprint(TRAIN, VAL)))
    return describe_changes(old, fingerprint(train_set, val_set))


def changed(**fields) -> Dataset:
    """TRAIN with other fields of its picture b."""
    return TRAIN._replace(examples=(example("a"), example("b", **fields), example("c")))


def test_the_fingerprint_holds_names_and_one_short_digest_a_picture_in_order():
    found = fingerprint(TRAIN, VAL)
    assert found["class_names"] == ["cat", "dog"]
    assert list(found["train"]) == ["a", "b", "c"] and list(found["val"]) == ["v"]
    digests = {*found["train"].values(), *found["val"].values()}
    assert len(digests) == 1  # the same annotation each time
    (digest,) = digests
    # Computed apart from the code: SHA-256 of "60 90 1 2\n", then little-endian boxes, classes and flags.
    assert digest == "bcc1436ea04dc074"


def test_a_picture_that_is_turned_in_another_way_is_named():
    assert changes(changed(orientation=3)) == ["the annotation of image b of the training set changed"]


def test_equal_data_has_no_changes_wherever_its_files_are():
    moved = tuple(one._replace(image_path=f"/elsewhere/{one.image_id}.png") for one in TRAIN.examples)
    assert changes(TRAIN._replace(name="voc:/elsewhere split", examples=moved)) == []
    wide = tuple(one._replace(boxes=one.boxes.astype(np.float64), classes=[1, 2]) for one in TRAIN.examples)
    assert changes(TRAIN._replace(examples=wide)) == []


def test_other_areas_and_other_crowd_regions_are_changes():
    flags, areas = np.array([False, True]), np.array([100.0, 200.0])
    before = fingerprint(changed(crowd=flags, areas=areas), VAL)
    assert describe_changes(before, fingerprint(changed(crowd=flags, areas=areas + 1), VAL))
    assert describe_changes(before, fingerprint(changed(crowd=~flags, areas=areas), VAL))


@pytest.mark.parametrize(
    "fields",
    [
        {"height": 61},
        {"width": 91},
        {"height": 90, "width": 60},
        {"boxes": np.float32([[1, 2, 30, 40], [5, 6, 50, 60.5]])},
        {"boxes": np.float32([[5, 6, 50, 60], [1, 2, 30, 40]])},
        {"classes": np.int32([2, 2])},
        {"difficult": np.array([True, True])},
        {"crowd": np.array([False, True])},
        {"areas": np.array([100.0, 200.0])},
        {"boxes": np.zeros((0, 4), np.float32), "classes": np.int32([]), "difficult": np.array([], bool)},
    ],
)
def test_each_change_of_an_annotation_is_found(fields):
    assert changes(changed(**fields)) == ["the annotation of image b of the training set changed"]


def test_a_renamed_class_is_named():
    names = ("cat", "puppy")
    assert changes(TRAIN._replace(class_names=names), VAL._replace(class_names=names)) == [
        "class 2 was 'dog', is now 'puppy'"
    ]


def test_added_and_removed_classes_are_named():
    assert changes(TRAIN._replace(class_names=("cat", "dog", "hen"))) == ["class 3 'hen' was added"]
    assert changes(TRAIN._replace(class_names=("cat",))) == ["class 2 'dog' was removed"]


def test_other_class_numbers_that_follow_from_a_new_class_are_not_listed_as_annotations():
    """A class before the others shifts the number of every object: the new class alone is worth reading."""
    shifted = changed(classes=np.int32([2, 3]))._replace(class_names=("ant", "cat", "dog"))
    assert changes(shifted) == [
        "class 1 was 'cat', is now 'ant'", "class 2 was 'dog', is now 'cat'", "class 3 'dog' was added"
    ]  # fmt: skip


def test_added_and_removed_pictures_are_named():
    assert changes(dataset(example("a"), example("c"), example("d"))) == [
        "image b of the training set was removed",
        "image d of the training set was added",
    ]
    assert changes(TRAIN, dataset(example("w"))) == [
        "image v of the validation set was removed",
        "image w of the validation set was added",
    ]


def test_another_order_is_found():
    order = dataset(example("a"), example("c"), example("b"))
    assert changes(order) == ["the order of the images of the training set changed: place 2 was b, is now c"]


def test_of_many_changes_three_are_named_and_the_others_counted():
    many = dataset(*TRAIN.examples, *(example(f"n{number:02}") for number in range(15)))
    assert changes(many) == [
        "image n00 of the training set was added",
        "image n01 of the training set was added",
        "image n02 of the training set was added and 12 more",
    ]


def test_a_split_without_pictures_has_no_digests():
    assert fingerprint(dataset(), dataset()) == {"class_names": ["cat", "dog"], "train": {}, "val": {}}
