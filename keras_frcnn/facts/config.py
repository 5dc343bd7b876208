"""What a detector is made of, as plain frozen data.

Every default is the paper's (arXiv 1506.01497v3), with its source.

A `DetectorConfig` travels with the model: it is stored inside `model.keras` and in the run folder.  Lengths are in
pixels of the resized image.
"""

import dataclasses
import json
from dataclasses import dataclass, field

from keras_frcnn.facts.errors import InputError


@dataclass(frozen=True)
class AnchorConfig:
    """Reference boxes of the RPN (section 3.1.1)."""

    scales: tuple[float, ...] = (128.0, 256.0, 512.0)  # square roots of the anchors' areas
    ratios: tuple[float, ...] = (0.5, 1.0, 2.0)  # height / width


@dataclass(frozen=True)
class ImageConfig:
    """Single-scale input (section 3.3)."""

    short_side: int = 600
    long_side: int = 1000  # at most; wins over short_side


@dataclass(frozen=True)
class RPNConfig:
    """Region proposal network: layer, targets (section 3.1.2), proposals (section 3.3)."""

    channels: int = 512
    positive_iou: float = 0.7
    negative_iou: float = 0.3
    batch_size: int = 256  # anchors sampled from one image
    positive_fraction: float = 0.5
    # Released Python code: weight 1 over the sampled anchors and sigma 3, the balance of lambda 10 over 2400 positions.
    box_loss_weight: float = 1.0
    smooth_l1_sigma: float = 3.0
    min_size: float = 16.0  # proposals with a shorter side are dropped
    nms_iou: float = 0.7
    # The authors' alternating training puts no cut before NMS; 0 says so.
    train_pre_nms_topk: int = 0
    train_post_nms_topk: int = 2000
    joint_pre_nms_topk: int = 12000  # approximate joint training, as released


@dataclass(frozen=True)
class HeadConfig:
    """Fast R-CNN detector: layers and targets (Girshick 2015, section 2.3)."""

    pool_size: int = 7
    fc_units: int = 4096
    dropout: float = 0.5
    batch_size: int = 64  # RoIs sampled from one image; 2 images make the paper's 128
    foreground_fraction: float = 0.25
    foreground_iou: float = 0.5
    background_iou: float = 0.0  # least IoU of a background RoI: 0 as released in Python, 0.1 in the paper
    box_loss_weight: float = 1.0
    smooth_l1_sigma: float = 1.0
    delta_std: tuple[float, float, float, float] = (0.1, 0.1, 0.2, 0.2)  # of ty, tx, th, tw


@dataclass(frozen=True)
class TestConfig:
    """Detection (section 3.3 and the released test configuration)."""

    pre_nms_topk: int = 6000
    post_nms_topk: int = 300
    score_threshold: float = 0.05
    nms_iou: float = 0.3
    max_detections: int = 100

    __test__ = False  # the name is not a test's


@dataclass(frozen=True)
class DetectorConfig:
    """The whole detector but its class names."""

    anchors: AnchorConfig = field(default_factory=AnchorConfig)
    image: ImageConfig = field(default_factory=ImageConfig)
    rpn: RPNConfig = field(default_factory=RPNConfig)
    head: HeadConfig = field(default_factory=HeadConfig)
    test: TestConfig = field(default_factory=TestConfig)


SECTIONS = {
    "anchors": AnchorConfig,
    "image": ImageConfig,
    "rpn": RPNConfig,
    "head": HeadConfig,
    "test": TestConfig,
}


def config_to_dict(config: DetectorConfig) -> dict:
    """Plain dicts, lists and numbers, ready for JSON."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def config_from_dict(values: dict, where="configuration") -> DetectorConfig:
    """The inverse of `config_to_dict`.  A missing field takes its default.

    Raises InputError for a section or field that does not exist or has another type, naming `where`.
    """
    if not isinstance(values, dict) or not all(isinstance(fields, dict) for fields in values.values()):
        raise InputError(where, "is not an object of sections", "write each section as an object of fields")
    sections = {}
    for name, fields in values.items():
        if name not in SECTIONS:
            raise InputError(f"{where}, field {name}", "no such section", f"use one of {', '.join(SECTIONS)}")
        defaults = dataclasses.asdict(SECTIONS[name]())
        plain = {key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}
        for key, value in plain.items():
            place = f"{where}, field {name}.{key}"
            if key not in defaults:
                raise InputError(place, "no such field", f"use one of {', '.join(sorted(defaults))}")
            wanted = "a list of numbers" if isinstance(defaults[key], tuple) else "a number"
            numbers = value if isinstance(defaults[key], tuple) else (value,)
            if not isinstance(numbers, tuple) or not all(type(number) in (int, float) for number in numbers):
                raise InputError(place, f"{value!r} is not {wanted}", f"give {wanted}")
        sections[name] = SECTIONS[name](**plain)
    return DetectorConfig(**sections)
