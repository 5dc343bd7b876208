"""Configuration: the paper's numbers as literals, and the way to JSON and back."""

import dataclasses
import json

import pytest

from keras_frcnn.facts.config import (
    AnchorConfig,
    DetectorConfig,
    HeadConfig,
    ImageConfig,
    RPNConfig,
    TestConfig,
    config_from_dict,
    config_to_dict,
)
from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.settings import changed as change

PAPER = {
    "anchors": {"scales": [128.0, 256.0, 512.0], "ratios": [0.5, 1.0, 2.0], "shapes": "exact"},
    "image": {"short_side": 600, "long_side": 1000, "exif": "auto"},
    "rpn": {
        "channels": 512,
        "positive_iou": 0.7,
        "negative_iou": 0.3,
        "batch_size": 256,
        "positive_fraction": 0.5,
        "balanced_positives": False,
        "box_loss_weight": 1.0,
        "smooth_l1_sigma": 3.0,
        "min_size": 16.0,
        "nms_iou": 0.7,
        "train_pre_nms_topk": 0,
        "train_post_nms_topk": 2000,
        "joint_pre_nms_topk": 12000,
    },
    "head": {
        "pool_size": 7,
        "fc_units": 4096,
        "dropout": 0.5,
        "batch_size": 64,
        "foreground_fraction": 0.25,
        "balanced_foreground": False,
        "foreground_iou": 0.5,
        "background_iou": 0.0,
        "box_loss_weight": 1.0,
        "smooth_l1_sigma": 1.0,
        "delta_std": [0.1, 0.1, 0.2, 0.2],
    },
    "test": {
        "pre_nms_topk": 6000,
        "post_nms_topk": 300,
        "score_threshold": 0.05,
        "nms_iou": 0.3,
        "max_detections": 100,
    },
}


def test_the_defaults_are_the_papers():
    assert config_to_dict(DetectorConfig()) == PAPER


def changed():
    """A configuration in which no field has its default."""
    return DetectorConfig(
        anchors=AnchorConfig(scales=(64.0,), ratios=(1.0, 3.0), shapes="released"),
        image=ImageConfig(320, 480, "apply"),
        rpn=RPNConfig(64, 0.6, 0.2, 32, 0.25, True, 2.0, 1.0, 4.0, 0.8, 500, 100, 300),
        head=HeadConfig(3, 32, 0.1, 16, 0.5, True, 0.6, 0.1, 3.0, 2.0, (0.2, 0.3, 0.4, 0.5)),
        test=TestConfig(50, 20, 0.5, 0.4, 7),
    )


@pytest.mark.parametrize("config", [DetectorConfig(), changed()])
def test_json_and_back(config):
    back = config_from_dict(json.loads(json.dumps(config_to_dict(config))))
    assert back == config
    assert hash(back) == hash(config)  # lists have become tuples again


def test_every_field_was_changed():
    values = config_to_dict(changed())
    for section, fields in PAPER.items():
        for name, default in fields.items():
            assert values[section][name] != default, f"{section}.{name}"


def test_a_missing_field_takes_its_default():
    assert config_from_dict({}) == DetectorConfig()
    assert config_from_dict({"rpn": {"channels": 64}}) == DetectorConfig(rpn=RPNConfig(channels=64))


def test_a_model_turns_pictures_only_if_training_decided_so():
    of_old_file = config_from_dict({"image": {"short_side": 600, "long_side": 1000}}).image
    assert of_old_file.exif == "auto" and of_old_file.exif_of_model == "ignore" and not of_old_file.applies_exif
    assert [ImageConfig(exif=exif).applies_exif for exif in ("apply", "ignore")] == [True, False]
    with pytest.raises(InputError, match=r"^m, field image\.exif must be one of auto, apply, ignore \(got 'turn'\)\.$"):
        config_from_dict({"image": {"exif": "turn"}}, "m")


@pytest.mark.parametrize(("background", "foreground"), [(0.6, 0.5), (0.5, 0.5), (0.3, 0.2)])
def test_some_roi_can_be_background(background, foreground):
    rule = rf"must be less than the least IoU of the foreground, {foreground} \(got {background}\)\.$"
    fields = {"background_iou": background, "foreground_iou": foreground}
    with pytest.raises(InputError, match=f"^--head-background-iou {rule}"):
        HeadConfig(**fields)
    with pytest.raises(InputError, match=f"^--head-background-iou {rule}"):  # as from options
        change(DetectorConfig(), {f"head.{name}": value for name, value in fields.items()})
    with pytest.raises(InputError, match=f"^m, field head.background_iou {rule}"):
        config_from_dict({"head": fields}, "m")
    if foreground == HeadConfig().foreground_iou:
        with pytest.raises(InputError, match=f"^m, field head.background_iou {rule}"):
            config_from_dict({"head": {"background_iou": background}}, "m")
    assert config_from_dict({"head": {"background_iou": 0.6, "foreground_iou": 0.7}}).head.background_iou == 0.6


def test_an_unknown_section_is_named():
    with pytest.raises(InputError, match=r"^model\.keras, field optimiser: no such section; use one of anchors, image"):
        config_from_dict({"optimiser": {}}, where="model.keras")


def test_an_unknown_field_is_named():
    with pytest.raises(InputError, match=r"^run\.json, field rpn\.chanels: no such field; use one of .*channels"):
        config_from_dict({"rpn": {"channels": 64, "chanels": 64}}, where="run.json")
    with pytest.raises(InputError, match=r"^configuration, field head\.channels: "):
        config_from_dict({"head": {"channels": 64}})


PARTS = (AnchorConfig, ImageConfig, RPNConfig, HeadConfig, TestConfig)


@pytest.mark.parametrize("part", [DetectorConfig(), *(part() for part in PARTS)])
def test_frozen(part):
    name = dataclasses.fields(part)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(part, name, None)


@pytest.mark.parametrize(
    ("values", "place"),
    [
        ([], "configuration"),
        ({"rpn": None}, "configuration"),
        ({"rpn": {"channels": "x"}}, "rpn.channels"),
        ({"rpn": {"channels": True}}, "rpn.channels"),
        ({"anchors": {"scales": 5}}, "anchors.scales"),
        ({"anchors": {"scales": [5, "x"]}}, "anchors.scales"),
    ],
)
def test_a_value_of_another_type_is_an_input_error(values, place):
    with pytest.raises(InputError, match=place):
        config_from_dict(values)
