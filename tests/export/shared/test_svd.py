"""Truncated SVD against NumPy's SVD, and the head with two layers instead of one."""

import re
from argparse import Namespace

import numpy as np
import pytest
import tensorflow as tf

from export.shared.reference import reference_proposals
from export.shared.svd import (
    DEFAULT_RANKS,
    factorised_head,
    measure_moments,
    multiply_out,
    truncate,
    truncate_head,
    wanted_ranks,
)
from keras_frcnn.data.pictures.images import prepare
from keras_frcnn.facts.errors import InputError
from keras_frcnn.network.roi_pooling import roi_pool


@pytest.mark.parametrize("shape", [(60, 20), (20, 60), (30, 30)])
@pytest.mark.parametrize("rank", [1, 7, 19])
def test_the_product_is_the_best_of_its_rank(shape, rank):
    kernel = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    left, singular, right = np.linalg.svd(kernel.astype(np.float64), full_matrices=False)
    first, second = truncate(kernel, rank)
    assert first.shape == (shape[0], rank) and second.shape == (rank, shape[1])
    assert first.dtype == second.dtype == np.float32
    np.testing.assert_allclose(first @ second, (left[:, :rank] * singular[:rank]) @ right[:rank], atol=1e-5)


def test_a_matrix_of_that_rank_is_kept():
    rng = np.random.default_rng(1)
    kernel = (rng.normal(size=(50, 4)) @ rng.normal(size=(4, 30))).astype(np.float32)
    first, second = truncate(kernel, 4)
    np.testing.assert_allclose(first @ second, kernel, atol=1e-5)


@pytest.fixture
def pooled():
    return tf.constant(np.random.default_rng(2).random((2, 5, 7, 7, 512), np.float32))


def test_two_layers_say_what_their_product_says(make_model, pooled):
    model = make_model(seed=6)
    for layer in (model.head.fc6, model.head.fc7, model.head.class_logits, model.head.box_deltas):
        layer.bias.assign(np.random.default_rng(3).normal(0.0, 0.1, layer.bias.shape))
    before = model.head(pooled)
    factors = truncate_head(model.head, (12, 6))
    head = factorised_head(model.head, factors)
    shapes = [tuple(variable.shape) for variable in head.variables]
    assert sorted(shapes) == sorted([
        (25088, 12), (12, 32), (32,), (32, 6), (6, 32), (32,), (32, 4), (4,), (32, 16), (16,)
    ])  # fmt: skip
    multiply_out(model.head, factors)
    for name, ours, theirs, uncut in zip(before._fields, head(pooled), model.head(pooled), before, strict=True):
        scale = np.abs(theirs).max()
        np.testing.assert_allclose(ours, theirs, atol=1e-4 * scale, err_msg=name)
        assert np.abs(theirs - uncut).max() > 1e-3 * scale  # the cut does change the head


def test_the_factorised_head_has_the_heads_precision(make_model, pooled):
    model = make_model(seed=6, dtype="bfloat16")
    head = factorised_head(model.head, truncate_head(model.head, (12, 6)))
    assert {variable.dtype for variable in head.variables} == {"bfloat16"}
    assert head(pooled).logits.dtype == tf.float32


@pytest.mark.parametrize(
    ("ranks", "layer", "rank"), [((32, 6), "fc6", 32), ((12, 0), "fc7", 0), (DEFAULT_RANKS, "fc6", 1536)]
)
def test_a_rank_that_is_not_below_the_matrixs_is_refused(model, ranks, layer, rank):
    with pytest.raises(InputError, match=f"^--svd: {layer} cannot be cut to rank {rank}; give a rank from 1 to 31$"):
        truncate_head(model.head, ranks)


def test_wanted_ranks_are_in_proportion_to_the_units_and_checked(model):
    assert wanted_ranks(Namespace(svd=None), model.head) is None
    assert wanted_ranks(Namespace(svd=[]), model.head) == [12, 8]  # of 32 units
    assert wanted_ranks(Namespace(svd=[31, 1]), model.head) == [31, 1]
    for ranks, problem in (([1536, 1024], "fc6 cannot be cut to rank 1536"), ([5], "wrong number of ranks (1)")):
        with pytest.raises(InputError, match=re.escape(f"--svd: {problem}")):
            wanted_ranks(Namespace(svd=ranks), model.head)


def test_the_default_ranks_take_less_than_half_the_products_of_4096_units():
    shapes = ((25088, 4096), (4096, 4096))
    products = sum(rank * sum(shape) for shape, rank in zip(shapes, DEFAULT_RANKS, strict=True))
    assert products < 0.5 * sum(inputs * units for inputs, units in shapes)


def test_with_responses_the_product_is_the_best_for_them():
    rng = np.random.default_rng(4)
    kernel = rng.normal(size=(60, 40)).astype(np.float32)
    x = rng.normal(size=(500, 60)) * np.linspace(0.01, 3.0, 60)  # some inputs hardly vary
    responses = x @ kernel

    def error(first, second):
        return np.linalg.norm(x @ (first @ second) - responses)

    best = np.linalg.svd(responses)[1][9:]  # the part that no approximation of rank 9 can have (Eckart and Young)
    ours, plain = (error(*truncate(kernel, 9, moment)) for moment in (responses.T @ responses, None))
    assert ours == pytest.approx(np.linalg.norm(best), rel=1e-5)
    assert plain > 1.02 * ours


def test_moments_are_of_what_the_layers_say_of_proposals(model):
    images = [np.random.default_rng(seed).integers(0, 256, (64, 96, 3), np.uint8) for seed in (0, 1)]
    moments, regions = measure_moments(model, images)
    found = reference_proposals(model, images)
    assert regions == sum(len(scores) for _, _, scores in found) > 20

    fc6, fc7, expected = model.head.fc6, model.head.fc7, [0.0, 0.0]
    for image, (boxes, _, _) in zip(images, found, strict=True):
        features = model.backbone(prepare(image, 64, 128)[None])
        pixels = tf.constant(boxes[None] * np.float32([64, 96, 64, 96]))
        pooled = tf.reshape(roi_pool(features, pixels, tf.constant([[64, 96]]), 7, 16), [len(boxes), -1])
        first = pooled @ fc6.kernel
        second = tf.nn.relu(first + fc6.bias) @ fc7.kernel
        expected = [moment + tf.transpose(x) @ x for moment, x in zip(expected, (first, second), strict=True)]
    for moment, wanted in zip(moments, expected, strict=True):
        np.testing.assert_allclose(moment, wanted, atol=1e-4 * np.abs(wanted).max())
