"""What the RPN and the detector keep: the smallest proposals, overlapping detections, and how many of each."""

import math

import numpy as np

from keras_frcnn.facts.config import RPNConfig
from training.run.planning.choice import Draft
from training.run.planning.data_facts import OVERLAPS, DataTable, resize_factors

# The share of the objects that non-maximum suppression may endanger.  A higher threshold keeps them, and keeps more
# second detections of all objects, which cost more: on VOC, where 3.2 % of the objects overlap by more than 0.4, mAP on
# `minival` was 0.262 at 0.3, 0.269 at 0.4, 0.255 at 0.5 and 0.230 at 0.6.
OVERLAPPING = 0.04

_CROWDED, _FULL = 75, 70  # objects in a picture, 99th percentile, from which more proposals and detections are kept


def choose_min_size(draft: Draft, table: DataTable) -> Draft:
    """Proposals may be half as large as the smallest objects."""
    image = draft.options.detector.image
    factors = resize_factors(table, image.short_side, image.long_side)
    sides = table.sides * factors[table.pictures]
    if not len(sides):
        return draft
    smallest = float(np.percentile(sides, 1))
    size = float(max(1, math.floor(min(RPNConfig().min_size, smallest / 2))))
    return draft.choose("detector.rpn.min_size", size, f"the smallest objects have a side of {smallest:.0f} pixels")


def choose_nms_iou(draft: Draft, table: DataTable) -> Draft:
    """Non-maximum suppression must not remove many objects that overlap others of their class."""
    allowed = [iou for iou, share in zip(OVERLAPS, table.facts.overlap_shares, strict=True) if share <= OVERLAPPING]
    iou = min((*allowed, OVERLAPS[-1]))
    share = table.facts.overlap_shares[OVERLAPS.index(iou)]
    reason = f"{share:.1%} of the objects overlap another one of their class by more than that"
    return draft.choose("detector.test.nms_iou", iou, reason)


def choose_counts(draft: Draft, table: DataTable) -> Draft:
    """Pictures with many objects need more proposals and detections."""
    most = table.facts.most_objects
    reason = f"99 of 100 pictures have at most {most} objects"
    if most > _CROWDED:
        draft = draft.choose("detector.test.post_nms_topk", min(2000, math.ceil(most / 25) * 100), reason)
    if most > _FULL:
        draft = draft.choose("detector.test.max_detections", math.ceil(most * 1.5 / 50) * 50, reason)
    return draft
