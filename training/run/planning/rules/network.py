"""The network itself: precision, the layers of the head, and where everything starts."""

from collections.abc import Sequence
from typing import NamedTuple

from keras_frcnn.facts.config import AnchorConfig
from training.four_steps import Step
from training.run.options.declared import AlternationOptions
from training.run.planning.choice import Draft

WORTHWHILE_SPEEDUP = 1.2  # of bfloat16
NEW_UNITS = 1024  # of fc6 and fc7 that the weights file lacks: they learn from scratch, and 4096 cost more time
PAPER_REGIONS = 128  # in a mini-batch of a detector

# Up to this number, step 2 starts from the convolutions of step 1.  With the 3 classes of BCCD, that raised mAP by
# 0.02; with the 20 of VOC it lowered mAP from 0.34 to 0.19.  Nothing between was measured.
FEW_CLASSES = 5


class StartFacts(NamedTuple):
    """What the starting weights hold."""

    fc_units: int | None  # of fc6 and fc7; None if they are new
    anchors: AnchorConfig | None  # of a trained detector


def choose_precision(draft: Draft, bfloat16_speedup: float) -> Draft:
    """Half precision where the machine is faster with it."""
    fast = bfloat16_speedup >= WORTHWHILE_SPEEDUP
    reason = f"a convolution is {bfloat16_speedup:.1f} times as fast in bfloat16 as in float32 here"
    return draft.choose("options.precision", "mixed_bfloat16" if fast else "float32", reason)


def choose_layers(draft: Draft, start: StartFacts) -> Draft:
    """The layers of the head, and the anchors of a detector that is trained further."""
    if start.anchors is not None:
        reason = "those of the detector that --weights names"
        draft = draft.choose("detector.anchors.scales", start.anchors.scales, reason)
        draft = draft.choose("detector.anchors.ratios", start.anchors.ratios, reason)
        if start.anchors.shapes != draft.options.detector.anchors.shapes:
            draft = draft.choose("detector.anchors.shapes", start.anchors.shapes, reason)
        draft = draft._replace(given=draft.given | {"detector.anchors.scales", "detector.anchors.ratios"})
    if start.fc_units is not None:
        return draft.choose("detector.head.fc_units", start.fc_units, "as the starting weights have them")
    reason = "the starting weights have no fc6 and fc7; small new layers learn as well in less time"
    return draft.choose("detector.head.fc_units", NEW_UNITS, reason)


def choose_batches(draft: Draft) -> Draft:
    """Mini-batches of one picture."""
    reason = "with one picture in a mini-batch, the weights change more often in the same time"
    return draft.choose("options.head_images", (1,), reason) if isinstance(draft.options, AlternationOptions) else draft


def choose_regions(draft: Draft, steps: Sequence[Step]) -> Draft:
    """In a mini-batch, all the regions that the paper takes from two pictures, and not more."""
    images = max(step.images for step in steps if "head" in step.trains)
    regions = max(1, PAPER_REGIONS // images)
    reason = "the paper's number in a mini-batch, now from one picture"
    if images > 1:
        reason = f"{regions * images} in a mini-batch of {images} pictures; the paper has {PAPER_REGIONS}"
    return draft.choose("detector.head.batch_size", regions, reason)


def choose_alternation(draft: Draft, classes: int) -> Draft:
    """Where the four steps leave the paper, because measurements show that it pays (docs/results.md).

    Args:
      draft: the plan so far.
      classes: of the data, without the background.
    """
    if not isinstance(draft.options, AlternationOptions):
        return draft
    if classes <= FEW_CLASSES:
        reason = f"what step 1 taught the convolutions helps to tell few classes apart; there are {classes}"
        draft = draft.choose("options.step2_backbone", "step1", reason)
    else:
        reason = f"step 1 loses what tells many classes apart; there are {classes}"
        draft = draft.choose("options.step2_backbone", "pretrained", reason)
    reason = "objects with few anchors and proposals are seen as often as others"
    draft = draft.choose("detector.rpn.balanced_positives", True, reason)
    return draft.choose("detector.head.balanced_foreground", True, reason)
