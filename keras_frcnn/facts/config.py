"""The configuration of a detector, as frozen dataclasses.

Every field is declared once, with its default, range and source (see `settings.py`).  The defaults are the paper's
(Ren et al. 2015, arXiv 1506.01497v3), or those of the authors' released code where a source says so.

A `DetectorConfig` is stored inside `model.keras` and in the run folder.  Lengths are in pixels of the resized image.
"""

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

from keras_frcnn.facts.settings import SettingError, changed, read, setting, settings_of


@dataclass(frozen=True)
class AnchorConfig:
    """Anchors: the reference boxes of the RPN (section 3.1.1).

    Every position of the feature map has one anchor for each pair of a scale and a ratio.
    """

    scales: tuple[float, ...] = setting(
        (128.0, 256.0, 512.0), "square roots of the anchors' areas, in pixels of the resized image",
        source="section 3.3", option="--anchor-scales", more_than=0,
    )  # fmt: skip
    ratios: tuple[float, ...] = setting(
        (0.5, 1.0, 2.0), "height / width of the anchors", source="section 3.3", option="--anchor-ratios", more_than=0
    )
    shapes: str = setting(
        "exact",
        "exact gives all ratios of a scale the same area, so that several of them can tie for the best IoU with an "
        "object; released rounds the sides as the authors' code does",
        source="section 3.3", option="--anchor-shapes", choices=("exact", "released"),
    )  # fmt: skip


@dataclass(frozen=True)
class ImageConfig:
    """Images: how they are read, and the size to which they are resized, at one scale (section 3.3)."""

    short_side: int = setting(
        600, "shorter side of the resized image, in pixels", source="section 3.3", option="--short-side",
        more_than=0, at_most=5792,
    )  # fmt: skip
    long_side: int = setting(
        1000, "most pixels of the longer side; where both cannot hold, this one does",
        source="Girshick 2015, released code", option="--long-side", more_than=0, at_most=32768,
    )  # fmt: skip
    exif: str = setting(
        "auto",
        "EXIF orientation of the pictures: apply turns them as it says, and boxes are in pixels of the turned "
        "picture; ignore takes the pixels as stored; auto decides by the training data",
        source="the Exif standard, tag 274", option="--exif", choices=("auto", "apply", "ignore"),
    )  # fmt: skip

    @property
    def exif_of_model(self) -> str:
        """What a model with this configuration does with the EXIF orientation: "apply" or "ignore".

        Training replaces "auto" by what it decides.  A model that still says "auto" was trained before this setting
        existed, or not at all, and takes the pixels as stored.
        """
        return "ignore" if self.exif == "auto" else self.exif

    @property
    def applies_exif(self) -> bool:
        """Whether a model with this configuration turns pictures as their EXIF orientation says."""
        return self.exif_of_model == "apply"


@dataclass(frozen=True)
class RPNConfig:
    """Region proposal network: layer, targets and loss (section 3.1.2), proposals (section 3.3).

    The released code balances the two losses with weight 1 over the sampled anchors and sigma 3.  This is about the
    paper's lambda of 10 over 2400 positions.
    """

    channels: int = setting(512, "channels of the 3x3 convolution", source="section 3.1", more_than=0, at_most=65536)
    positive_iou: float = setting(
        0.7, "an anchor with at least this IoU with an object is positive", source="section 3.1.2",
        more_than=0, at_most=1,
    )  # fmt: skip
    negative_iou: float = setting(
        0.3, "an anchor with less than this IoU with every object is negative", source="section 3.1.2",
        at_least=0, at_most=1,
    )  # fmt: skip
    batch_size: int = setting(
        256, "anchors sampled from one image", source="section 3.1.3", more_than=0, at_most=100000
    )
    positive_fraction: float = setting(
        0.5, "largest share of positive anchors among them", source="section 3.1.3", more_than=0, at_most=1
    )
    balanced_positives: bool = setting(
        False, "take the positive anchors in turn from the objects, so that small objects with few of them are seen",
        source="section 3.1.3: at random",
    )  # fmt: skip
    box_loss_weight: float = setting(
        1.0, "weight of the box loss beside the objectness loss", source="released Python code", at_least=0
    )
    smooth_l1_sigma: float = setting(
        3.0, "the smooth L1 loss is quadratic below 1 / sigma^2", source="released Python code", more_than=0
    )
    min_size: float = setting(
        16.0, "proposals with a shorter side are dropped, in pixels of the resized image",
        source="released Python code, which multiplies it by the factor of the resizing", option="--min-size",
        more_than=0,
    )  # fmt: skip
    nms_iou: float = setting(
        0.7, "IoU over which the lower-scored of two proposals is dropped", source="section 3.3", more_than=0, at_most=1
    )
    train_pre_nms_topk: int = setting(
        0, "proposals kept before NMS to train the detector; 0 keeps all", source="released alternating training",
        at_least=0,
    )  # fmt: skip
    train_post_nms_topk: int = setting(
        2000, "proposals kept after NMS to train the detector", source="section 3.3", more_than=0, at_most=100000
    )
    joint_pre_nms_topk: int = setting(
        12000, "proposals kept before NMS in joint training; 0 keeps all", source="released joint training", at_least=0
    )


@dataclass(frozen=True)
class HeadConfig:
    """Detector head: layers and targets of Fast R-CNN (Girshick 2015, section 2)."""

    pool_size: int = setting(
        7, "RoI pooling gives this many rows and columns", source="Girshick 2015, section 2.1", more_than=0, at_most=64
    )
    fc_units: int = setting(
        4096, "units of fc6 and fc7", source="VGG16", option="--fc-units", more_than=0, at_most=65536
    )
    dropout: float = setting(
        0.5, "share of the units of fc6 and fc7 dropped in training", source="VGG16", option="--dropout",
        at_least=0, less_than=1,
    )  # fmt: skip
    batch_size: int = setting(
        64, "RoIs sampled from one image to train the detector; 2 images make the paper's 128",
        source="Girshick 2015, section 2.3", option="--rois", more_than=0, at_most=20000,
    )  # fmt: skip
    foreground_fraction: float = setting(
        0.25, "largest share of foreground RoIs among them", source="Girshick 2015, section 2.3", more_than=0, at_most=1
    )
    balanced_foreground: bool = setting(
        False, "take the foreground RoIs in turn from the objects, so that objects with few of them are seen",
        source="Girshick 2015, section 2.3: at random",
    )  # fmt: skip
    foreground_iou: float = setting(
        0.5, "a RoI with at least this IoU with an object is foreground", source="Girshick 2015, section 2.3",
        more_than=0, at_most=1,
    )  # fmt: skip
    background_iou: float = setting(
        0.0, "least IoU of a background RoI, below that of a foreground RoI; the Fast R-CNN paper has 0.1",
        source="released Python code", at_least=0, less_than=1,
    )  # fmt: skip
    box_loss_weight: float = setting(
        1.0, "weight of the box loss beside the class loss", source="Girshick 2015, section 2.3", at_least=0
    )
    smooth_l1_sigma: float = setting(
        1.0, "the smooth L1 loss is quadratic below 1 / sigma^2", source="Girshick 2015, equation 3", more_than=0
    )
    delta_std: tuple[float, float, float, float] = setting(
        (0.1, 0.1, 0.2, 0.2), "the box targets ty, tx, th, tw are divided by these", source="released Python code",
        more_than=0,
    )  # fmt: skip

    def __post_init__(self) -> None:
        """Raise SettingError, which names the option, if no RoI could be background."""
        _check_background(self.background_iou, self.foreground_iou, "--head-background-iou")


@dataclass(frozen=True)
class TestConfig:
    """Detection: from proposals to final boxes (section 3.3, released test configuration)."""

    pre_nms_topk: int = setting(
        6000, "proposals kept before NMS; 0 keeps all", source="released test configuration", at_least=0
    )
    post_nms_topk: int = setting(300, "proposals kept after NMS", source="section 4.1", more_than=0, at_most=20000)
    score_threshold: float = setting(
        0.05, "detections score more than this", source="released test configuration", at_least=0, less_than=1
    )
    nms_iou: float = setting(
        0.3, "IoU over which the lower-scored of two detections of one class is dropped",
        source="released test configuration", option="--nms-iou", more_than=0, at_most=1,
    )  # fmt: skip
    max_detections: int = setting(
        100, "detections kept in one image", source="released test configuration", more_than=0, at_most=100000
    )

    __test__ = False  # pytest must not collect this class


@dataclass(frozen=True)
class DetectorConfig:
    """The whole detector except its class names."""

    anchors: AnchorConfig = field(default_factory=AnchorConfig)
    image: ImageConfig = field(default_factory=ImageConfig)
    rpn: RPNConfig = field(default_factory=RPNConfig)
    head: HeadConfig = field(default_factory=HeadConfig)
    test: TestConfig = field(default_factory=TestConfig)


def config_to_dict(config: DetectorConfig) -> dict[str, dict[str, Any]]:
    """Plain dicts, lists and numbers, ready for JSON."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def config_from_dict(values: dict[str, Any], where: str = "configuration") -> DetectorConfig:
    """The inverse of `config_to_dict`.  A missing field has its default.

    Raises InputError for a section or field that does not exist, and for a value of another type or out of range.  The
    message names `where` and the field.
    """
    found = read(values, settings_of(DetectorConfig), where)
    background, foreground = (
        found.get(f"head.{name}", getattr(HeadConfig, name)) for name in ("background_iou", "foreground_iou")
    )
    _check_background(background, foreground, f"{where}, field head.background_iou")
    return changed(DetectorConfig(), found)


def _check_background(background_iou: float, foreground_iou: float, where: str) -> None:
    """Raise SettingError, which names `where`, unless a RoI can be background and not foreground."""
    if background_iou >= foreground_iou:
        raise SettingError(where, f"be less than the least IoU of the foreground, {foreground_iou:g}", background_iou)
