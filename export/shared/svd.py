"""Truncated SVD of fc6 and fc7: two small layers instead of a large one (Girshick 2015, section 3.1).

A u x v matrix W is approximated by a matrix of rank t, the product of a u x t and a t x v matrix.  A region then takes
t (u + v) multiplications instead of u v.  The best approximation of W itself keeps its largest singular values.

Layers that did not start from ImageNet have no small singular values, because most of W is still random.  Their
responses to real regions have few main directions all the same.  The best approximation of these responses is W V V^T,
where the columns of V are their main directions (Zhang et al. 2015, section 3.1).
"""

import argparse
import logging
from collections.abc import Iterable, Sequence
from typing import Any

import keras
import numpy as np

from export.shared.pictures import given_images
from export.shared.reference import propose_with_keras
from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.structures import Tensor
from keras_frcnn.network import forward
from keras_frcnn.network.head import Head
from keras_frcnn.network.model import FasterRCNN

DEFAULT_RANKS = (1536, 1024)  # of fc6 and fc7 with FULL_UNITS: less than half the multiplications
FULL_UNITS = 4096
LAYERS = ("fc6", "fc7")

_LOG = logging.getLogger(__name__)

Factors = list[tuple[np.ndarray, np.ndarray]]  # of fc6 and of fc7: (inputs, rank) and (rank, units) float32
Moments = Sequence[np.ndarray | None]  # of fc6 and of fc7: (units, units) float64, or None where not measured


def wanted_ranks(options: argparse.Namespace, head: Head) -> list[int] | None:
    """The ranks of fc6 and fc7, or None without `--svd`.  The default is in proportion to the units of `head`.

    Raises InputError for a wrong number of ranks, or for a rank that its layer does not have.
    """
    if options.svd is None:
        return None
    if len(options.svd) not in (0, len(DEFAULT_RANKS)):
        fix = "give two ranks, for fc6 and for fc7, or none for the default"
        raise InputError("--svd", f"wrong number of ranks ({len(options.svd)})", fix)
    ranks = options.svd or [rank * head.fc_units // FULL_UNITS for rank in DEFAULT_RANKS]
    check_ranks(head, ranks)
    return ranks


def check_ranks(head: Head, ranks: Sequence[int]) -> None:
    """Raise InputError for a rank that is not below the full rank of its layer."""
    for name, rank in zip(LAYERS, ranks, strict=True):
        full = min(getattr(head, name).kernel.shape)
        if not 1 <= rank < full:
            raise InputError("--svd", f"{name} cannot be cut to rank {rank}", f"give a rank from 1 to {full - 1}")


def cut_head(model: FasterRCNN, exported_head: Head, ranks: Sequence[int], calibration: Sequence[str] | None) -> Head:
    """`exported_head` with fc6 and fc7 cut to `ranks`.  The head of `model` gets the same cut.

    `calibration` are pictures on which the responses are measured.  Raises InputError if one cannot be read, or if they
    have fewer regions than the largest rank.
    """
    _LOG.info("cutting fc6 and fc7: this takes some minutes if they have 4096 units")
    factors = truncate_head(model.head, ranks, _moments(model, ranks, calibration))
    head = factorised_head(exported_head, factors)
    # The comparison tests the written graph, so both sides have the same cut.  The mAP shows what the cut costs.
    multiply_out(model.head, factors)
    _LOG.info("fc6 and fc7 cut to the ranks %d and %d", *ranks)
    return head


def _moments(model: FasterRCNN, ranks: Sequence[int], calibration: Sequence[str] | None) -> Moments:
    """The moments of fc6 and fc7 on the pictures of `calibration`, or None for each without pictures."""
    if not calibration:
        return (None, None)
    moments, regions = measure_moments(model, given_images(calibration, model.config.image))
    if regions < max(ranks):
        raise InputError("--calibrate", f"only {regions} regions for a rank of {max(ranks)}", "give more pictures")
    return moments


def truncate(kernel: np.ndarray, rank: int, moment: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Factor a kernel (inputs, units) into (inputs, rank) and (rank, units), both float32.

    The product of the factors is the best approximation of this rank: of the kernel itself, or of its responses
    x @ kernel if `moment` (units, units), their second moment, is given.
    """
    # The eigenvectors of the Gram matrix, in float64, take less work than a whole SVD of a tall matrix.  They are exact
    # enough because only the main directions are kept.
    kernel = kernel.astype(np.float64)
    _, vectors = np.linalg.eigh(kernel.T @ kernel if moment is None else moment)  # eigenvalues ascend
    best = vectors[:, -rank:]
    return (kernel @ best).astype(np.float32), best.T.astype(np.float32)


def measure_moments(model: FasterRCNN, images: Iterable[np.ndarray]) -> tuple[list[np.ndarray], int]:
    """Measure the responses of fc6 and fc7, before bias and ReLU, to the regions that the model proposes.

    Args:
      images: (H, W, 3) uint8 RGB each.

    Returns the second moments (units, units) of the responses of fc6 and of fc7, and the number of regions.
    """
    head = model.head
    moments, regions = [np.zeros((head.fc_units,) * 2) for _ in LAYERS], 0
    for image in images:
        features, image_sizes, proposals = propose_with_keras(model, image)
        pooled = forward.pool_regions(model.parts, features, proposals.boxes, image_sizes)[0].numpy()
        x = pooled[proposals.valid[0].numpy()].reshape(-1, head.fc6.kernel.shape[0])
        regions += len(x)
        # The layers add bias and ReLU themselves, so they do not show the responses that are measured here.
        for moment, layer in zip(moments, (head.fc6, head.fc7), strict=True):
            responses = x @ layer.kernel.numpy()
            moment += responses.T @ responses
            x = np.maximum(responses + layer.bias.numpy(), 0.0)
    return moments, regions


def truncate_head(head: Head, ranks: Sequence[int], moments: Moments = (None, None)) -> Factors:
    """The factors of fc6 and of fc7 for the given ranks; see `truncate`.

    Raises InputError for a rank that is not below the full rank of its layer.
    """
    check_ranks(head, ranks)
    cuts = zip((getattr(head, name) for name in LAYERS), ranks, moments, strict=True)
    return [truncate(np.asarray(layer.kernel), rank, moment) for layer, rank, moment in cuts]


def multiply_out(head: Head, factors: Factors) -> None:
    """Set fc6 and fc7 of `head` to the products of their factors.

    The head then computes the same function as `factorised_head`, with its layers whole.
    """
    for name, (first, second) in zip(LAYERS, factors, strict=True):
        getattr(head, name).kernel.assign(first @ second)


def factorised_head(head: Head, factors: Factors) -> Head:
    """A copy of `head` in the same precision, with two layers instead of fc6 and two instead of fc7."""
    copy = Head(head.num_classes, head.fc_units, head.dropout, dtype=head.dtype_policy)
    for name, (first, _) in zip(LAYERS, factors, strict=True):
        setattr(copy, name, FactorisedDense(first.shape[1], head.fc_units, name=name, dtype=head.dtype_policy))
    copy.build((None, None, 1, 1, factors[0][0].shape[0]))
    for name, (first, second) in zip(LAYERS, factors, strict=True):
        layer = getattr(copy, name)
        layer.first.set_weights([first])
        layer.second.set_weights([second, getattr(head, name).bias])
    for name in ("class_logits", "box_deltas"):
        getattr(copy, name).set_weights(getattr(head, name).get_weights())
    return copy


class FactorisedDense(keras.layers.Layer):
    """A dense layer with ReLU whose kernel is the product of (inputs, rank) and (rank, units)."""

    def __init__(self, rank: int, units: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.rank = rank
        self.first = keras.layers.Dense(rank, use_bias=False, name="first", dtype=self.dtype_policy)
        self.second = keras.layers.Dense(units, activation="relu", name="second", dtype=self.dtype_policy)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.first.build(input_shape)
        self.second.build((*input_shape[:-1], self.rank))

    def call(self, x: Tensor) -> Tensor:
        return self.second(self.first(x))
