"""Anchors: the paper's, unless computed ones measure better."""

from collections.abc import Callable

from keras_frcnn.data.doctor.anchors.coverage import anchor_coverage
from keras_frcnn.data.doctor.anchors.suggestion import MANY_SHAPES, suggest_anchors
from keras_frcnn.data.doctor.checks.objects import Objects
from keras_frcnn.facts.config import AnchorConfig
from training.run.planning.choice import Draft

GOAL = 0.9  # share of the objects that an anchor should overlap by at least 0.5
HOPELESS = 0.5  # with a smaller share, the paper's anchors are not tried
WORTHWHILE_GAIN = 0.05  # computed anchors must cover this much more of the objects at an IoU of 0.7
# The recall that computed anchors must have in a short training, as a share of that of the paper's.  Below 1, because a
# short training favours few and large anchors: on VOC, the paper's had up to 5 % more, but far less after a real step 1
# (docs/results.md).
LEAST_RECALL = 0.9

_KEYS = ("detector.anchors.scales", "detector.anchors.ratios")


def choose_anchors(
    draft: Draft, objects: Objects, computed: AnchorConfig | None, recall: Callable[[AnchorConfig], float] | None
) -> Draft:
    """Choose between the paper's anchors and `computed` ones, those of `best_anchors`.

    Computed anchors must cover more objects and, if `recall` is given, must not have clearly less recall after a short
    training of the RPN.  They are centred on the cells of the feature map like the paper's, so an object that moves by
    a cell has the same anchors.  `objects` are in pixels of the resized pictures.
    """
    paper = draft.options.detector.anchors
    if computed is None:
        return _choose(draft, paper, "the paper's; there are too few objects to compute others")
    before, after = anchor_coverage(objects, paper).shares, anchor_coverage(objects, computed).shares
    covered = f"{after[0]:.0%} of the objects have an anchor with an IoU of 0.5 and {after[1]:.0%} one with 0.7"
    covered += f"; with the paper's anchors, {before[0]:.0%} and {before[1]:.0%}"
    if before[0] >= GOAL and after[1] < before[1] + WORTHWHILE_GAIN:
        return _choose(draft, paper, f"the paper's: computed ones cover hardly more ({covered})")
    if before[0] < HOPELESS or recall is None:
        return _choose(draft, computed, covered)
    of_paper, of_computed = recall(paper), recall(computed)
    tried = f"average recall after a short training of the RPN {of_computed:.3f}; with the paper's, {of_paper:.3f}"
    if of_computed >= LEAST_RECALL * of_paper:
        return _choose(draft, computed, f"{covered}; {tried}")
    return _choose(draft, paper, f"the paper's: the others learn worse ({tried})")


def covers(objects: Objects, anchors: AnchorConfig | None) -> bool:
    """Whether the anchors reach the goal; true for None, with which there is nothing to improve."""
    return anchors is None or anchor_coverage(objects, anchors).shares[0] >= GOAL


def best_anchors(objects: Objects, rounding: str) -> AnchorConfig | None:
    """Few anchors that cover the objects well, or more of them if few do not reach the goal.

    `rounding` is their `AnchorConfig.shapes`.  None if there are too few objects.
    """
    few = suggest_anchors(objects, rounding=rounding)
    if few is None or covers(objects, few):
        return few
    many = suggest_anchors(objects, shapes=MANY_SHAPES, rounding=rounding)
    assert many is not None
    return max((few, many), key=lambda anchors: anchor_coverage(objects, anchors).shares[0])


def _choose(draft: Draft, anchors: AnchorConfig, reason: str) -> Draft:
    scales, ratios = _KEYS
    return draft.choose(scales, anchors.scales, reason).choose(ratios, anchors.ratios, "chosen with the scales")
