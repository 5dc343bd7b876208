"""The training loop: what it changes and what it leaves, the solver by hand, and a loss that is no number."""

import io

import keras
import numpy as np
import pytest
import tensorflow as tf

from training.loop import NonFiniteLoss, Trainer, train
from training.schedules import step_decay
from training.steps import head_losses, rpn_losses

RATE, MOMENTUM, DECAY = 0.01, 0.9, 0.1


def stream(*batches):
    datasets = [tf.data.Dataset.from_tensors(batch) for batch in batches]
    whole = datasets[0]
    for dataset in datasets[1:]:
        whole = whole.concatenate(dataset)
    return whole


def values(model):
    return {variable.path: variable.numpy() for variable in model.variables}


def changed(before, after):
    return {path.removeprefix("faster_rcnn/").split("/")[0] for path in before if (before[path] != after[path]).any()}


def constant(rate):
    return keras.optimizers.schedules.PiecewiseConstantDecay([100], [rate, rate])


def trainer_of(model, losses, parts, batches, rate=RATE, decay=DECAY):
    return Trainer(model, losses, parts, batches, constant(rate), MOMENTUM, decay)


def test_only_the_named_parts_change_and_never_the_first_two_blocks(make_model, make_batch):
    model = make_model()
    before = values(model)
    trainer_of(model, rpn_losses, ("backbone", "rpn"), stream(make_batch([(64, 96)])).repeat()).train(2)
    after = values(model)
    assert changed(before, after) == {"backbone", "rpn"}
    same = {path.split("/")[-2] for path in before if (before[path] == after[path]).all()}
    assert same == {
        "block1_conv1", "block1_conv2", "block2_conv1", "block2_conv2", "fc6", "fc7", "class_logits", "box_deltas"
    }  # fmt: skip


@pytest.fixture(scope="module")
def good(make_batch):
    return make_batch([(64, 96)] * 2)


def test_only_the_head_changes(make_model, good):
    model = make_model()
    before = values(model)
    trainer = trainer_of(model, head_losses, ("head",), stream(good).repeat())
    output = trainer.train(3)
    assert changed(before, values(model)) == {"head"}
    assert int(trainer.global_step) == 3
    assert set(output) == {
        "losses/head_class", "losses/head_box", "losses/loss", "learning_rate", "images_per_second",
        "data_wait_share",
    }  # fmt: skip
    total = output["losses/head_class"] + output["losses/head_box"]
    assert output["losses/loss"] == pytest.approx(total, rel=1e-5) and total > 0
    assert output["learning_rate"] == pytest.approx(RATE) and 0 <= output["data_wait_share"] <= 1


def test_the_solver_is_momentum_with_decay_of_kernels_alone(make_model, good):
    """Without a gradient v = m v - r d w and w = w + v: both steps by hand."""
    model = make_model()
    nothing = good._replace(
        ground_truth=good.ground_truth._replace(valid=tf.zeros((2, 2), tf.bool)),
        proposals=good.proposals._replace(valid=tf.zeros((2, 12), tf.bool)),
    )
    for variable in model.head.variables:
        if variable.name == "bias":
            variable.assign(variable + 0.5)
    before = values(model)
    output = trainer_of(model, head_losses, ("head",), stream(nothing).repeat()).train(2)
    assert output["losses/loss"] == 0
    after = values(model)
    first = -RATE * DECAY
    second = MOMENTUM * first - RATE * DECAY * (1 + first)
    for path, value in before.items():
        is_decayed = "head/" in path and path.endswith("kernel")
        factor = 1 + first + second if is_decayed else 1.0
        np.testing.assert_allclose(after[path], factor * value, rtol=1e-6, atol=0, err_msg=path)


def poisoned_losses(model, batch, features):
    """Losses of the head, and no number where a picture is called "broken"."""
    sums, count = head_losses(model, batch, features)
    broken = tf.reduce_any(batch.image_ids == "VOC2007/broken")
    return {**sums, "head_class": sums["head_class"] + tf.where(broken, np.nan, 0.0)}, count


def poisoned_gradient(model, batch, features):
    """Finite losses of the head whose gradient is no number: that of a square root at 0."""
    sums, count = head_losses(model, batch, features)
    return {**sums, "root": tf.sqrt(0.0 * tf.reduce_sum(model.head.fc6.kernel))}, count


def test_a_loss_that_is_no_number_leaves_the_last_good_weights(make_model, good):
    model = make_model()
    bad = good._replace(image_ids=tf.constant(["fine", "VOC2007/broken"]))
    trainer = trainer_of(model, poisoned_losses, ("head",), stream(good, good, bad, good))
    trainer.train(2)
    before = values(model)
    with pytest.raises(NonFiniteLoss) as caught:
        trainer.train(2)
    assert changed(before, values(model)) == set()
    assert caught.value.step == 3 and caught.value.image_ids == ["fine", "VOC2007/broken"]
    assert "mini-batch 3" in str(caught.value) and "fine, VOC2007/broken" in str(caught.value)
    assert int(trainer.global_step) == 2


def test_a_gradient_that_is_no_number_stops_too(make_model, good):
    model = make_model()
    before = values(model)
    with pytest.raises(NonFiniteLoss, match="mini-batch 1 .*picture0, picture1"):
        trainer_of(model, poisoned_gradient, ("head",), stream(good)).train(1)
    assert changed(before, values(model)) == set()


def test_infinite_weights_stop_at_once(make_model, good):
    model = make_model()
    model.head.class_logits.bias.assign([0.0, np.inf, 0.0, 0.0])
    with pytest.raises(NonFiniteLoss, match="mini-batch 1 .*picture0, picture1"):
        trainer_of(model, head_losses, ("head",), stream(good)).train(1)


def test_a_run_leaves_summaries_and_a_log(make_model, good, tmp_path, capsys):
    trainer = Trainer(
        make_model(), head_losses, ("head",), stream(good).repeat(), step_decay(RATE, 12, 0.75), MOMENTUM, DECAY
    )
    log = io.StringIO()
    train(trainer, 12, tmp_path / "logs", log, "step 2 detector")
    assert int(trainer.global_step) == 12
    captured = capsys.readouterr()
    assert captured.out == "" and "step 2 detector" in captured.err  # the progress bar
    assert "step" in log.getvalue() and "losses/head_class" in log.getvalue()
    recorded = {}
    for path in (tmp_path / "logs").rglob("events.out.tfevents*"):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for entry in event.summary.value:
                recorded.setdefault(entry.tag, {})[event.step] = float(tf.make_ndarray(entry.tensor))
    assert {"losses/head_class", "losses/head_box", "losses/loss", "learning_rate"} <= set(recorded)
    assert set(recorded["learning_rate"]) == {10, 12}
    np.testing.assert_allclose(recorded["learning_rate"][12], RATE / 10, rtol=1e-5)


def test_an_interruption_comes_through(make_model, good, tmp_path):
    trainer = trainer_of(make_model(), head_losses, ("head",), stream(good).repeat())
    trainer.train = lambda num_steps: (_ for _ in ()).throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        train(trainer, 4, tmp_path, io.StringIO(), "step 2 detector")
