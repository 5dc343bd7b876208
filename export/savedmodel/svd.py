"""Truncated SVD of fc6 and fc7: two small layers in place of a large one (Girshick 2015, section 3.1).

A u x v matrix W is replaced by an approximation of rank t, the product of u x t and t x v: t (u + v) products for a
region in place of u v.  The best one for W itself keeps its large singular values.  Layers that did not start from
ImageNet have no small ones, as most of W is still what it was drawn from; what they say of real regions has few
directions all the same, and the best approximation of that is W V V^T, with V the main directions of the responses
(Zhang et al. 2015, section 3.1).
"""

import keras
import numpy as np

from export.shared.parity import propose_with_keras
from keras_frcnn.network.backbone import STRIDE
from keras_frcnn.facts.errors import InputError
from keras_frcnn.network.head import Head
from keras_frcnn.network.model import FasterRCNN
from keras_frcnn.network.roi_pooling import roi_pool

DEFAULT_RANKS = (1536, 1024)  # of fc6 and fc7: less than half the products of 4096 units
LAYERS = ("fc6", "fc7")


def truncate(kernel: np.ndarray, rank: int, moment: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """(inputs, units) -> (inputs, rank) and (rank, units) float32, whose product is the best of this rank.

    It is the best for the kernel itself or, with the second `moment` (units, units) of its responses x @ kernel, for
    these.  From the eigenvectors of a Gram matrix, in float64: less work than a whole SVD of a long matrix, and exact
    enough, as only the main directions are asked for.
    """
    kernel = kernel.astype(np.float64)
    _, vectors = np.linalg.eigh(kernel.T @ kernel if moment is None else moment)  # eigenvalues ascend
    best = vectors[:, -rank:]
    return (kernel @ best).astype(np.float32), best.T.astype(np.float32)


def measure_moments(model: FasterRCNN, images) -> tuple[list[np.ndarray], int]:
    """Second moments (units, units) of what fc6 and fc7 say, before bias and ReLU, of the regions that the model
    proposes in (H, W, 3) uint8 pictures, and the number of these regions.
    """
    head, config = model.head, model.config.head
    moments, regions = [np.zeros((config.fc_units,) * 2) for _ in LAYERS], 0
    for image in images:
        features, image_sizes, proposals = propose_with_keras(model, image)
        pooled = roi_pool(features, proposals.boxes, image_sizes, config.pool_size, STRIDE)[0].numpy()
        x = pooled[proposals.valid[0].numpy()].reshape(-1, head.fc6.kernel.shape[0])
        regions += len(x)
        for moment, layer in zip(moments, (head.fc6, head.fc7), strict=True):
            responses = x @ layer.kernel.numpy()
            moment += responses.T @ responses
            x = np.maximum(responses + layer.bias.numpy(), 0.0)
    return moments, regions


def truncate_head(head: Head, ranks, moments=(None, None)) -> list[tuple[np.ndarray, np.ndarray]]:
    """The factors of fc6 and of fc7, the best for their `moments` where they are given.

    Raises InputError for a rank that is not below its matrix's.
    """
    layers = [getattr(head, name) for name in LAYERS]
    for name, layer, rank in zip(LAYERS, layers, ranks, strict=True):
        full = min(layer.kernel.shape)
        if not 1 <= rank < full:
            raise InputError("--svd", f"{rank} is no rank to cut {name} to", f"give one from 1 to {full - 1}")
    return [truncate(np.asarray(layer.kernel), *cut) for layer, *cut in zip(layers, ranks, moments, strict=True)]


def multiply_out(head: Head, factors):
    """Give fc6 and fc7 of `head` the product of their factors: the same function as a `factorised_head`, undivided."""
    for name, (first, second) in zip(LAYERS, factors, strict=True):
        getattr(head, name).kernel.assign(first @ second)


def factorised_head(head: Head, factors) -> Head:
    """A copy of `head`, in its precision, with two layers in place of fc6 and two in place of fc7."""
    copy = Head(head.num_classes, head.fc_units, head.dropout, dtype=head.dtype_policy)
    for name, (first, _) in zip(LAYERS, factors, strict=True):
        setattr(copy, name, FactorisedDense(first.shape[1], head.fc_units, name=name, dtype=head.dtype_policy))
    copy.build((1, 1, factors[0][0].shape[0]))
    for name, (first, second) in zip(LAYERS, factors, strict=True):
        layer = getattr(copy, name)
        layer.first.set_weights([first])
        layer.second.set_weights([second, getattr(head, name).bias])
    for name in ("class_logits", "box_deltas"):
        getattr(copy, name).set_weights(getattr(head, name).get_weights())
    return copy


class FactorisedDense(keras.layers.Layer):
    """A dense layer with ReLU whose kernel is the product of (inputs, rank) and (rank, units)."""

    def __init__(self, rank: int, units: int, **kwargs):
        super().__init__(**kwargs)
        self.rank = rank
        self.first = keras.layers.Dense(rank, use_bias=False, name="first", dtype=self.dtype_policy)
        self.second = keras.layers.Dense(units, activation="relu", name="second", dtype=self.dtype_policy)

    def build(self, input_shape):
        self.first.build(input_shape)
        self.second.build((*input_shape[:-1], self.rank))

    def call(self, x):
        return self.second(self.first(x))
