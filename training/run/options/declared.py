"""The options of training, each declared once.

This module imports nothing heavy, so that `--help` stays fast.
"""

from dataclasses import dataclass, field

from keras_frcnn.data.augmentation.presets import PRESETS
from keras_frcnn.data.sources.spec import DataSpec
from keras_frcnn.evaluation.metrics.names import METRIC_HELP, METRICS
from keras_frcnn.facts.config import DetectorConfig, HeadConfig
from keras_frcnn.facts.settings import reference_markdown, setting, settings_of, with_default

PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
SECTION = "options"  # of the training options in config.json; the detector's section is named by its field


@dataclass(frozen=True, kw_only=True)
class DataOptions(DataSpec):
    """Splits: which pictures to train on, and which to measure on."""

    train: str = setting("train", "splits to train on, joined with +")
    val: str = setting("val", "splits to measure on, joined with +")
    val_images: int | None = setting(
        None, "measure on this many pictures of --val, chosen at random but the same for every run",
        none_text="all", more_than=0,
    )  # fmt: skip
    check_data: bool = setting(
        False, "decode every picture before training, even if that takes long beside the training", changeable=True
    )
    metric: str = setting(
        "voc07", f"{METRIC_HELP}; only coco also measures COCO's figures", choices=METRICS, changeable=True
    )


@dataclass(frozen=True, kw_only=True)
class AugmentationOptions:
    """Augmentation: random changes of the training pictures besides the flip."""

    augment: str = setting(
        "none", "preset of crop, zoom, colour and blur; with light and strong, no features are stored",
        source="section 3.3: flips alone", choices=tuple(PRESETS),
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Run: its folder, starting weights, precision and checkpoints."""

    run: str = setting(help="run folder; if it holds a run of the same options, that run is resumed", changeable=True)
    weights: str = setting(
        help="starting weights: imagenet, imagenet-full, torchvision, none, a VGG16 .h5, .npz or .keras file, or the "
        "folder of a finished run, from which every layer that fits is taken"
    )
    seed: int = setting(0, "seed of new weights, of the order of images and of sampling", at_least=0, less_than=2**28)
    precision: str = setting(
        "float32",
        "number format of the network's layers in training; geometry and losses are always float32",
        choices=PRECISIONS,
    )
    deterministic: bool = setting(False, "give the same bits in every run, which is slower")
    checkpoint_iterations: int = setting(
        1000, "iterations between two checkpoints", hidden_option="--checkpoint-steps", more_than=0, changeable=True
    )
    checkpoint_minutes: float = setting(10.0, "most minutes between two checkpoints", more_than=0, changeable=True)
    checkpoints: int = setting(2, "number of checkpoints that are kept", more_than=0, at_most=1000, changeable=True)
    quiet: bool = setting(False, "show no progress bars", changeable=True)


@dataclass(frozen=True, kw_only=True)
class ValidationOptions:
    """Validation while a step trains; the paper takes the last weights."""

    validate_every: int | None = setting(
        None, "measure the recall of an RPN, or --metric of a detector, each time after this many iterations",
        none_text="only after each step", more_than=0,
    )  # fmt: skip
    validate_images: int = setting(
        100, "most pictures of --val that such a measurement uses, chosen at random but always the same", more_than=0
    )
    keep: str = setting(
        "last", "the weights that are the result of a step: the last ones, or those with the best measurement",
        choices=("last", "best"),
    )  # fmt: skip
    patience: int | None = setting(
        None, "end a step after so many measurements in a row that are not better than an earlier one",
        none_text="train all iterations", more_than=0,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class PlanOptions:
    """Plan: options chosen from the data and the machine, and the time that the run may take."""

    plan: str = setting(
        "paper", "where options that are not given come from: the paper, or a plan for this data and this machine",
        choices=("paper", "auto"),
    )  # fmt: skip
    budget: str | None = setting(
        None, "the time that the run may take, such as 90s, 45m, 1.5h or 2d; needs --plan auto or a plan file",
        none_text="no limit",
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SolverOptions:
    """Optimisation: stochastic gradient descent with momentum."""

    momentum: float = setting(0.9, "momentum of the gradient descent", source="section 3.1.3", at_least=0, less_than=1)
    weight_decay: float = setting(0.0005, "weight decay", source="section 3.1.3", at_least=0)
    drop_at: tuple[float, ...] = setting(
        (0.75,), "share of the iterations after which the learning rate falls to a tenth; one value for all steps, or "
        "one for each",
        source="section 3.1.3", more_than=0, at_most=1,
    )  # fmt: skip
    bias_rate: float = setting(
        1.0, "learning rate of the biases, relative to that of the kernels; the released solver has 2", more_than=0
    )
    average_weights: float | None = setting(
        None, "decay of a moving average of the weights, such as 0.99, which becomes the result of each step",
        none_text="no average", more_than=0, less_than=1,
    )  # fmt: skip
    clip_norm: float | None = setting(None, "largest global norm of a gradient", none_text="no limit", more_than=0)
    accumulate: int = setting(
        1, "mini-batches per iteration, as if there were more GPUs: fewer iterations, a larger learning rate",
        source="Goyal et al. 2017, section 2.1", more_than=0, at_most=1000000,
    )  # fmt: skip
    warmup: int | None = setting(
        None, "iterations over which the learning rate rises",
        none_text="0 with one mini-batch per iteration, else a tenth of the iterations and at most 500",
        source="Goyal et al. 2017, section 2.2", at_least=0,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class CacheOptions:
    """Stored features of the convolutions, which do not change in steps 3 and 4."""

    feature_cache_gib: float = setting(8.0, "most GiB of features to store; 0 stores none", at_least=0, changeable=True)
    feature_cache_folder: str | None = setting(
        None, "where to store them; /dev/shm/NAME is memory", none_text="in the run folder", changeable=True
    )
    feature_cache_dtype: str | None = setting(
        None, "number format of the stored features", none_text="as computed", choices=("float32", "float16")
    )


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(SolverOptions, ValidationOptions, PlanOptions, RunOptions, AugmentationOptions, DataOptions):
    """What both ways of training share."""

    detector: DetectorConfig = field(default_factory=DetectorConfig)


@dataclass(frozen=True, kw_only=True)
class AlternationSchedule:
    """Schedule of the four steps (section 3.2)."""

    iterations: tuple[int, ...] | None = setting(
        None, "mini-batches of each step", none_text="80000 for an RPN step, 40000 for a detector step",
        source="section 3.1.3; released alternating training", hidden_option="--steps", more_than=0,
    )  # fmt: skip
    learning_rate: tuple[float, ...] | None = setting(
        None, "learning rate of each step", none_text="0.001 for every step", source="section 3.1.3", more_than=0
    )
    rpn_images: tuple[int, ...] = setting(
        (1,), "images in a mini-batch of an RPN step; one value, or one for each RPN step", source="section 3.1.3",
        more_than=0, at_most=1024,
    )  # fmt: skip
    head_images: tuple[int, ...] = setting(
        (2,), "images in a mini-batch of a detector step; one value, or one for each detector step",
        source="Girshick 2015, section 2.3", more_than=0, at_most=1024,
    )  # fmt: skip
    step2_backbone: str = setting(
        "pretrained",
        "where the convolutions of step 2 start: pretrained, as --weights says, or as step1 left them, which departs "
        "from the paper",
        source="section 3.2", choices=("pretrained", "step1"),
    )  # fmt: skip
    last_steps: str = setting(
        "separate",
        "steps 3 and 4 one after the other, or together: one step 3 trains RPN and head at once, which departs from "
        "the paper",
        source="section 3.2", choices=("separate", "together"),
    )  # fmt: skip
    mirrored_proposals: bool = setting(
        False, "make proposals on the mirrored training pictures, too, instead of mirroring those of the pictures"
    )


@dataclass(frozen=True, kw_only=True)
class JointSchedule:
    """Schedule of approximate joint training (section 3.2)."""

    iterations: int = setting(
        70000, "mini-batches", source="released joint training", hidden_option="--steps", more_than=0
    )
    learning_rate: float = setting(0.001, "learning rate", source="released joint training", more_than=0)
    images: int = setting(1, "images in a mini-batch", source="released joint training", more_than=0, at_most=1024)


@dataclass(frozen=True, kw_only=True)
class AlternationOptions(AlternationSchedule, CacheOptions, TrainingOptions):
    """All options of `training.alternate`."""

    @property
    def stores_features(self) -> bool:
        """Whether features are stored.  With augmentation none are: each picture is seen only once in the same form."""
        return self.feature_cache_gib > 0 and self.augment == "none"


@dataclass(frozen=True, kw_only=True)
class JointOptions(JointSchedule, TrainingOptions):
    """All options of `training.joint`, with the defaults that it has of its own."""

    # As released: 50k of the 70k iterations at the full rate, and 128 RoIs of one image instead of 64 of two.
    drop_at: tuple[float, ...] = with_default(SolverOptions, "drop_at", (50 / 70,))
    detector: DetectorConfig = field(default_factory=lambda: DetectorConfig(head=HeadConfig(batch_size=128)))


def reference() -> str:
    """All options of training and of the detector as Markdown, for the reference page."""
    own_defaults = ", ".join(
        f"`{joint.option}` ({joint.default_text()})"
        for common, joint in zip(settings_of(TrainingOptions), settings_of(JointOptions), strict=False)
        if joint.default != common.default
    )
    parts = (
        reference_markdown(TrainingOptions, "Options of both training commands", SECTION),
        reference_markdown(AlternationSchedule, "Options of training.alternate", SECTION),
        reference_markdown(CacheOptions, "Stored features of training.alternate", SECTION),
        reference_markdown(JointSchedule, "Options of training.joint", SECTION),
        f"`training.joint` has other defaults for {own_defaults}.\n",
    )
    return "\n".join(parts)
