"""The solver: learning rates, and the options that suit a schedule of an hour instead of days."""

import math
from collections.abc import Sequence

from keras_frcnn.network.backbone import BLOCKS, STRIDE
from training.four_steps import Step
from training.run.options.declared import AlternationOptions
from training.run.planning.choice import Draft
from training.run.planning.data_facts import DataFacts
from training.run.planning.forecast import Forecast

# The paper's learning rate and, for a detector, the objects in its mini-batch, two pictures of VOC.  Fewer objects say
# less, so the rate of a detector is proportional to their number.  On VOC, with 2.6 objects in a picture, mAP on
# `minival` after 1000 iterations of step 2 was 0.157 at 0.002, 0.256 at 0.001 and 0.338 at 0.0005.  BCCD, with 13
# objects in a picture, is trained well at 0.002.
PAPER_RATE, PAPER_OBJECTS = 0.001, 5.0
DETECTOR_RATES = (0.0005, 0.002)  # the lowest and the highest rate
RPN_RATE = 0.002  # for an RPN alone; its 256 anchors differ more than the regions of few objects do
CLIP_NORM = 20.0
WARMUP = 200  # weight updates
FEW_PASSES = 10  # over the training pictures; dropout and augmentation pay only with more

_FEATURE_BYTES = {"float32": 4, "mixed_bfloat16": 2, "mixed_float16": 2, "float16": 2}
_DISK_SHARE = 0.5  # of the free disk that stored features may take


def detector_rate(objects: float) -> float:
    """The learning rate of a detector, rounded to one digit; `objects` is their mean number in a mini-batch."""
    rate = PAPER_RATE * objects / PAPER_OBJECTS
    lowest, highest = DETECTOR_RATES
    return float(f"{min(highest, max(lowest, rate)):.1g}")


def choose_schedule(
    draft: Draft, forecast: Forecast, steps: Sequence[Step], facts: DataFacts, mini_batches: int
) -> Draft:
    """The iterations of the steps, and the learning rates; an update of the weights takes so many mini-batches."""
    iterations = tuple(step.iterations for step in forecast.steps)
    seconds = ", ".join(f"{step.seconds_per_iteration:.2g}" for step in forecast.steps)
    reason = f"an iteration takes {seconds} seconds here"
    alternates = isinstance(draft.options, AlternationOptions)
    draft = draft.choose("options.iterations", iterations if alternates else iterations[0], reason)
    objects = facts.objects / max(1, facts.pictures - facts.empty_pictures)
    rates = tuple(detector_rate(objects * step.images) if "head" in step.trains else RPN_RATE for step in steps)
    reason = f"a picture has {objects:.1f} objects; fewer need a lower rate where a detector trains"
    draft = draft.choose("options.learning_rate", rates if alternates else rates[0], reason)
    warmup = min(WARMUP, min(iterations) // mini_batches // 5)
    draft = draft.choose("options.warmup", warmup, "new layers have large gradients at first")
    return draft.choose("options.clip_norm", CLIP_NORM, "a single mini-batch cannot destroy the weights")


def choose_regularisation(draft: Draft, forecast: Forecast, steps: Sequence[Step], pictures: int) -> Draft:
    """Dropout only for long schedules."""
    longest = max(
        planned.iterations * step.images
        for planned, step in zip(forecast.steps, steps, strict=True)
        if "backbone" in step.trains
    )
    passes = longest / pictures
    reason = f"{passes:.1f} passes over the pictures in the longest step"
    return draft.choose("detector.head.dropout", 0.0 if passes < 2 * FEW_PASSES else 0.5, reason)


def choose_feature_cache(draft: Draft, pixels: float, train: int, val: int, free_disk: int) -> Draft:
    """Room for the features of all pictures, as far as the disk has it.  Joint training stores none.

    Args:
      draft: the plan so far.
      pixels: of a resized picture, mean.
      train: pictures to train on, whose mirror images are stored too.
      val: pictures to measure on.
      free_disk: bytes.
    """
    if not isinstance(draft.options, AlternationOptions):
        return draft
    each = _FEATURE_BYTES[draft.options.feature_cache_dtype or draft.options.precision]
    needed = (2 * train + val) * pixels / STRIDE**2 * BLOCKS[-1][0] * each / 2**30
    # In tenths: as many as all features need, and no more than the disk has.
    wanted, most = math.ceil(11 * needed), math.floor(10 * _DISK_SHARE * free_disk / 2**30)
    reason = f"the features of all pictures take {needed:.2g} GiB"
    if wanted > most:
        reason += f", more than half of the free disk ({free_disk / 2**30:.2g} GiB)"
    return draft.choose("options.feature_cache_gib", min(wanted, most) / 10, reason)
