"""Losses and gradients of one mini-batch."""

import numpy as np
import pytest
import tensorflow as tf

from keras_frcnn.data.sources.loading import load_dataset
from keras_frcnn.data.sources.spec import DataSpec
from keras_frcnn.data.stream.pipeline import evaluation_batches, training_batches
from keras_frcnn.facts.structures import Batch, GroundTruth, Proposals
from keras_frcnn.network.forward import joint_training_counts, propose
from training.engine.inference import detect_in_batch, fixed_features, image_features
from training.engine.objectives import head_losses, joint_losses, losses_of, rpn_losses
from training.engine.trainer import loss_and_gradients

LOSSES = {"rpn": (rpn_losses, {"rpn_class", "rpn_box"}), "head": (head_losses, {"head_class", "head_box"})}


def variables_of(model, *parts):
    return [variable for part in parts for variable in getattr(model, part).trainable_variables]


def one_of(batch, row):
    """The picture `row` of a batch, alone and without its padding."""
    height, width = batch.image_sizes[row].numpy()
    alone = tf.nest.map_structure(lambda field: field[row : row + 1], batch)
    return alone._replace(images=alone.images[:, :height, :width])


@pytest.mark.parametrize("part", ["rpn", "head"])
@pytest.mark.parametrize("train_backbone", [True, False])
def test_every_trained_variable_gets_a_gradient(model, make_batch, part, train_backbone):
    losses, names = LOSSES[part]
    variables = variables_of(model, *(("backbone",) if train_backbone else ()), part)
    batch = make_batch([(64, 96)])
    means, total, gradients, _ = loss_and_gradients(model, losses, batch, variables, train_backbone)
    assert set(means) == names
    np.testing.assert_allclose(total, sum(value.numpy() for value in means.values()), rtol=1e-6)
    assert all(value > 0 for value in means.values())
    assert len(gradients) == len(variables) == (18 if train_backbone else 0) + {"rpn": 6, "head": 8}[part]
    for variable, gradient in zip(variables, gradients, strict=True):
        assert gradient.shape == variable.shape
        assert np.isfinite(gradient).all() and np.any(gradient != 0), variable.path


@pytest.mark.parametrize("part", ["rpn", "head"])
def test_gradients_end_where_training_does(model, make_batch, part):
    losses, _ = LOSSES[part]
    other = {"rpn": "head", "head": "rpn"}[part]
    batch = make_batch([(64, 96)])
    frozen = model.backbone.non_trainable_variables
    _, _, gradients, _ = loss_and_gradients(model, losses, batch, variables_of(model, other), True)
    assert gradients == [None] * len(gradients)  # neither network trains the other's layers
    _, _, gradients, _ = loss_and_gradients(model, losses, batch, variables_of(model, "backbone"), False)
    assert gradients == [None] * len(gradients)  # fixed convolutions lie outside the tape
    assert len(frozen) == 8 and not {id(v) for v in frozen} & {id(v) for v in variables_of(model, "backbone", part)}


# The RPN's second picture, 79 pixels wide, has a last, partial column of cells on which small anchors would fit.
# Pictures of one size for the head: padding rounds the places that RoI pooling samples, by 1e-5 of a cell, which turns
# near-ties of its maximum, along which gradients then flow elsewhere.
@pytest.mark.parametrize(("part", "second_size"), [("rpn", (80, 79)), ("head", (64, 96))])
def test_a_batch_weighs_each_picture_by_its_samples(model, make_batch, part, second_size):
    """Sums and counts of the pictures add up: (g1 n1 + g2 n2) / (n1 + n2)."""
    losses, names = LOSSES[part]
    variables = variables_of(model, "backbone", part)
    batch = make_batch([(64, 96), second_size])
    fewer = tf.constant([[True] * 12, [True] * 5 + [False] * 7])
    batch = batch._replace(proposals=batch.proposals._replace(valid=fewer))
    results, counts = [], []
    for picture in (batch, one_of(batch, 0), one_of(batch, 1)):
        results.append(loss_and_gradients(model, losses, picture, variables, True))
        (count,) = {float(count) for count in losses(model, picture, image_features(model, picture)).counts.values()}
        counts.append(count)
    assert counts[0] == counts[1] + counts[2] and 0 < counts[1] != counts[2] > 0
    share = np.array(counts[1:]) / counts[0]
    for name in names:
        expected = share[0] * results[1][0][name] + share[1] * results[2][0][name]
        np.testing.assert_allclose(results[0][0][name], expected, rtol=1e-4)
    for variable, together, first, second in zip(variables, *(result[2] for result in results), strict=True):
        expected = share[0] * first.numpy() + share[1] * second.numpy()
        error = np.linalg.norm(together.numpy() - expected) / np.linalg.norm(expected)
        assert error < 1e-3, f"{variable.path}: {error}"


def test_a_step_is_a_function_of_the_seeds(model, make_batch):
    batch, variables = make_batch([(64, 96)]), variables_of(model, "head")
    losses = [
        float(loss_and_gradients(model, head_losses, batch._replace(seeds=tf.constant([seed])), variables, False)[1])
        for seed in ((0, 0), (0, 0), (0, 1))
    ]
    assert losses[0] == losses[1] != losses[2]  # dropout differs


def without_objects(batch: Batch, proposals: bool) -> Batch:
    count = len(batch.images)
    truth = GroundTruth(tf.zeros((count, 0, 4)), tf.zeros((count, 0), tf.int32), tf.zeros((count, 0), tf.bool))
    none = Proposals(tf.zeros((count, 0, 4)), tf.zeros((count, 0)), tf.zeros((count, 0), tf.bool))
    return batch._replace(ground_truth=truth, proposals=batch.proposals if proposals else none)


@pytest.mark.parametrize("part", ["rpn", "head"])
def test_pictures_without_objects_are_all_background(model, make_batch, part):
    losses, _ = LOSSES[part]
    batch = without_objects(make_batch([(64, 96)]), proposals=True)
    means, total, gradients, _ = loss_and_gradients(model, losses, batch, variables_of(model, part), False)
    assert means[f"{part}_class"] > 0 and means[f"{part}_box"] == 0 and np.isfinite(total)
    assert all(np.isfinite(gradient).all() for gradient in gradients)


def test_a_batch_that_samples_nothing_has_no_loss(model, make_batch):
    batch = without_objects(make_batch([(64, 96)]), proposals=False)
    _, total, gradients, _ = loss_and_gradients(model, head_losses, batch, variables_of(model, "head"), False)
    assert total == 0 and all((gradient.numpy() == 0).all() for gradient in gradients)


def test_joint_training_is_both_networks_on_this_steps_proposals(model, make_batch):
    """Its losses are the RPN's and the head's on what the RPN proposes; its gradient leaves out the coordinates."""
    batch = make_batch([(64, 96)])
    variables = variables_of(model, "backbone", "rpn", "head")
    means, _, gradients, _ = loss_and_gradients(model, joint_losses, batch, variables, True)
    features = image_features(model, batch)
    proposals = propose(model.parts, features, batch.image_sizes, joint_training_counts(model.config))
    assert np.count_nonzero(proposals.valid) > 5
    alone = [
        loss_and_gradients(model, losses, batch._replace(proposals=proposals), variables, True)
        for losses in (rpn_losses, head_losses)
    ]
    for name, value in (alone[0][0] | alone[1][0]).items():
        np.testing.assert_allclose(means[name], value, rtol=1e-5)
    for variable, together, of_rpn, of_head in zip(variables, gradients, alone[0][2], alone[1][2], strict=True):
        parts = [part.numpy() for part in (of_rpn, of_head) if part is not None]
        np.testing.assert_allclose(together, sum(parts), rtol=1e-3, atol=1e-5 * np.abs(sum(parts)).max())
        assert len(parts) == (2 if "backbone" in variable.path else 1)


# One image a batch: no loop over images and no padding.


def loops_over(function, batches, op: str) -> int:
    """How many while loops of the graph of `function(batch)` run an op of type `op`, directly or in a nested call."""
    graph = tf.function(function, input_signature=[batches.element_spec]).get_concrete_function().graph.as_graph_def()
    bodies = {body.signature.name: body for body in graph.library.function}

    def runs_op(name: str) -> bool:
        nodes = bodies[name].node_def
        called = {value.func.name for node in nodes for value in node.attr.values() if value.HasField("func")}
        called |= {inner.name for node in nodes for value in node.attr.values() for inner in value.list.func}
        return any(node.op == op for node in nodes) or any(map(runs_op, called & set(bodies)))

    nodes = [node for body in (graph.node, *(body.node_def for body in bodies.values())) for node in body]
    return sum(node.op in ("While", "StatelessWhile") and runs_op(node.attr["body"].func.name) for node in nodes)


def train_jointly(model):
    variables = variables_of(model, "backbone", "rpn", "head")
    return lambda batch: loss_and_gradients(model, joint_losses, batch, variables, True)[1]


@pytest.fixture(scope="module")
def two_scenes(voc_tree):
    return load_dataset(DataSpec(data=f"voc:{voc_tree}"), "val")


@pytest.mark.parametrize(("batch_size", "loops"), [(1, 0), (2, 1)])
def test_a_training_batch_of_one_image_has_no_loop_over_images(model, two_scenes, batch_size, loops):
    batches = training_batches(two_scenes, model.config.image, batch_size, seed=0)
    assert loops_over(train_jointly(model), batches, "NonMaxSuppressionV4") == loops
    # With stored features, a loop computes those of the images of a batch that have none.
    assert loops_over(lambda batch: fixed_features(model, batch), batches, "Conv2D") == loops


@pytest.mark.parametrize(("batch_size", "loops"), [(1, 0), (2, 2)])
def test_an_evaluation_batch_of_one_image_has_no_loop_over_images(model, two_scenes, batch_size, loops):
    batches = evaluation_batches(two_scenes, model.config.image, batch_size)
    assert loops_over(lambda batch: detect_in_batch(model, batch, False), batches, "NonMaxSuppressionV4") == loops


@pytest.mark.parametrize(("batch_size", "masked"), [(1, False), (2, True)])
def test_only_a_batch_of_several_images_is_masked(model, two_scenes, batch_size, masked, monkeypatch):
    sizes, call = [], type(model.backbone).call

    def record(backbone, images, image_sizes=None):
        sizes.append(image_sizes)
        return call(backbone, images, image_sizes)

    monkeypatch.setattr(type(model.backbone), "call", record)
    batches = training_batches(two_scenes, model.config.image, batch_size, seed=0)
    tf.function(train_jointly(model), input_signature=[batches.element_spec]).get_concrete_function()
    assert sizes and all((size is not None) == masked for size in sizes)


@pytest.mark.parametrize(
    ("parts", "losses"),
    [
        (("backbone", "rpn"), rpn_losses),
        (("rpn",), rpn_losses),
        (("backbone", "head"), head_losses),
        (("head",), head_losses),
        (("backbone", "rpn", "head"), joint_losses),
    ],
)
def test_the_losses_are_those_of_the_networks_in_training(parts, losses):
    assert losses_of(parts) is losses
