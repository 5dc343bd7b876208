"""The solver: learning rates, and the options that suit a schedule of an hour instead of days."""

from collections.abc import Sequence

from keras_frcnn.network.backbone import BLOCKS, STRIDE
from training.four_steps import Step
from training.run.options.declared import AlternationOptions
from training.run.planning.choice import Draft
from training.run.planning.forecast import Forecast

# The learning rates.  A detector has the paper's, which is 0.001 for mini-batches of two pictures, in proportion to the
# pictures of a mini-batch.  On VOC, mAP on `minival` after 1000 iterations of step 2 was 0.157 at 0.002, 0.256 at 0.001
# and 0.338 at 0.0005.  An RPN alone learns well at twice the paper's (docs/results.md).
DETECTOR_RATE = 0.0005  # for each picture of a mini-batch
RPN_RATE = 0.002
CLIP_NORM = 20.0
WARMUP = 200
FEW_PASSES = 10  # over the training pictures; dropout and augmentation pay only with more

_FEATURE_BYTES = {"float32": 4, "mixed_bfloat16": 2, "mixed_float16": 2}
_DISK_SHARE = 0.5  # of the free disk that stored features may take


def choose_schedule(draft: Draft, forecast: Forecast, steps: Sequence[Step]) -> Draft:
    """The iterations of the steps, and the learning rates."""
    iterations = tuple(step.iterations for step in forecast.steps)
    seconds = ", ".join(f"{step.seconds_per_iteration:.2g}" for step in forecast.steps)
    reason = f"an iteration takes {seconds} seconds here"
    alternates = isinstance(draft.options, AlternationOptions)
    draft = draft.choose("options.iterations", iterations if alternates else iterations[0], reason)
    rates = tuple(DETECTOR_RATE * step.images if "head" in step.trains else RPN_RATE for step in steps)
    reason = "the paper's for each picture of a mini-batch of a detector, twice the paper's for an RPN alone"
    draft = draft.choose("options.learning_rate", rates if alternates else rates[0], reason)
    warmup = min(WARMUP, min(iterations) // 5)
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
    """Room for the features of all pictures, as far as the disk has it.

    Args:
      draft: the plan so far.
      pixels: of a resized picture, mean.
      train: pictures to train on, whose mirror images are stored too.
      val: pictures to measure on.
      free_disk: bytes.
    """
    needed = (2 * train + val) * pixels / STRIDE**2 * BLOCKS[-1][0] * _FEATURE_BYTES[draft.options.precision]
    room = min(1.1 * needed, _DISK_SHARE * free_disk)
    reason = f"the features of all pictures take {needed / 2**30:.2g} GiB"
    return draft.choose("options.feature_cache_gib", round(max(0.1, room / 2**30), 1), reason)
