"""Class names that look like one class, and which classes the splits have."""

import pytest

from keras_frcnn.data.doctor import findings
from keras_frcnn.data.doctor.checks.classes import class_findings, name_variants
from keras_frcnn.data.doctor.checks.counts import SplitCounts


@pytest.mark.parametrize(
    "names",
    [
        ("Car", "car"), ("traffic light", "traffic_light"), ("traffic-light", "trafficLight"), ("cat ", "cat"),
        ("cats", "cat"), ("cherry", "cherries"), ("bus", "buses"), ("box", "Boxes"), ("bench", "benches"),
    ],
)  # fmt: skip
def test_variants_of_one_name(names):
    assert name_variants(["zebra", *names, "person"]) == [names]


@pytest.mark.parametrize(
    "names", [("a", "as"), ("car", "cart"), ("glass", "glas"), ("c", "c#"), ("class1", "class11"), ("bus", "busy")]
)
def test_other_names(names):
    assert name_variants(names) == []


def counts(name, **objects):
    return SplitCounts(name, 10, 0, 0, 0, objects)


def test_the_first_split_is_compared_with_the_others():
    found = class_findings([counts("train", cat=20, dog=3, hen=0), counts("val", cat=5, hen=2), counts("test", dog=1)])
    assert [(finding.kind, finding.detail) for finding in found] == [
        (findings.ONLY_IN_LATER_SPLIT, "hen: in val, not in train"),
        (findings.ABSENT_CLASS, "dog: in train, not in val"),
        (findings.ABSENT_CLASS, "cat: in train, not in test"),
        (findings.RARE_CLASS, "dog 3, hen 0 in train"),
    ]


@pytest.mark.parametrize("name", ["background", "__background__", "BG", "Back-ground"])
def test_a_class_named_like_the_background_is_a_warning(name):
    (found,) = class_findings([counts("train", **{"cat": 20, name: 20})])
    assert found.kind is findings.BACKGROUND_CLASS and found.detail == repr(name)
    assert not class_findings([counts("train", cat=20, backgammon=20)])
