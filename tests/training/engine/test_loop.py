"""The training loop: what it changes and what it leaves, the solver by hand, and a loss that is not finite."""

import signal
import time

import numpy as np
import pytest
import tensorflow as tf

from keras_frcnn.data.stream.tuning import untuned
from training.engine.checkpoints import Checkpoints
from training.engine.interruption import deferred
from training.engine.loop import _next_stop, train
from training.engine.objectives import head_losses, rpn_losses
from training.engine.progress import RunProgress
from training.engine.schedules import StepDecay
from training.engine.solver import Optimisation
from training.engine.trainer import NonFiniteLoss, Trainer

RATE, MOMENTUM, DECAY = 0.01, 0.9, 0.1


def stream(*batches):
    datasets = [tf.data.Dataset.from_tensors(batch) for batch in batches]
    whole = datasets[0]
    for dataset in datasets[1:]:
        whole = whole.concatenate(dataset)
    return untuned(whole)


def values(model):
    return {variable.path: variable.numpy() for variable in model.variables}


def changed(before, after):
    return {path.removeprefix("faster_rcnn/").split("/")[0] for path in before if (before[path] != after[path]).any()}


def trainer_of(model, losses, parts, batches, schedule=None, **changes):
    optimisation = Optimisation(MOMENTUM, DECAY)._replace(**changes)
    trainer = Trainer(model, losses, parts, schedule or StepDecay(RATE, 100, 1.0), optimisation)
    trainer.feed(batches)
    return trainer


def run(trainer, iterations, folder):
    checkpoints = Checkpoints(trainer, folder / "checkpoints", 1000, 1000.0, 2)
    checkpoints.restore()
    run_until(trainer, iterations, checkpoints, folder)


def run_until(trainer, iterations, checkpoints, folder, write_pictures=lambda iteration: None):
    progress = RunProgress(2 * iterations)
    train(trainer, iterations, checkpoints, folder / "logs", "step 2 detector", progress.advance, write_pictures)


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
    assert int(trainer.iteration) == 3
    assert set(output) == {
        "losses/head_class", "losses/head_box", "losses/loss", "learning_rate", "images_per_second",
        "data_wait_share", "gradient_norm",
        "samples/foreground_rois_per_image",
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


@pytest.mark.slow
def test_biases_learn_at_their_own_rate(make_model, good):
    """An iteration at a rate of 2 for biases: they move twice as far, and kernels as before."""
    plain, double = make_model(), make_model()
    start = values(plain)
    trainer_of(plain, head_losses, ("head",), stream(good)).train(1)
    trainer_of(double, head_losses, ("head",), stream(good), bias_rate=2.0).train(1)
    for path, value in values(double).items():
        if "head/" in path:
            moved = values(plain)[path] - start[path]
            assert np.any(moved != 0)
            factor = 2.0 if path.endswith("bias") else 1.0
            np.testing.assert_allclose(value - start[path], factor * moved, rtol=2e-3, atol=1e-7, err_msg=path)


@pytest.mark.slow
def test_the_average_of_the_weights_becomes_the_result(make_model, good):
    """A decay of 0.5: with each iteration, the average is half of what it was and half of the new weights."""
    plain, seen = make_model(), []
    start = values(plain)
    trainer = trainer_of(plain, head_losses, ("head",), stream(good).repeat())
    for _ in range(3):
        trainer.train(1)
        seen.append(values(plain))
    trainer.finish()
    assert all((seen[2][path] == value).all() for path, value in values(plain).items())
    model = make_model()
    averaging = trainer_of(model, head_losses, ("head",), stream(good).repeat(), average_weights=0.5)
    averaging.train(3)
    before = values(model)
    averaging.finish()
    for path, value in values(model).items():
        np.testing.assert_allclose(before[path], seen[2][path], rtol=1e-6, atol=1e-8)
        if "head/" in path:
            expected = start[path]
            for weights in seen:
                expected = 0.5 * expected + 0.5 * weights[path]
            np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-7, err_msg=path)
            assert (value != before[path]).any()
        else:
            assert (value == before[path]).all()
    assert len(averaging._solver.state) == 2 * len(trainer._solver.state) == 2 * len(plain.head.variables)
    assert [*averaging.checkpoint.solver] == averaging._solver.state


def test_what_is_validated_are_the_averages_of_the_weights(make_model, good, tmp_path):
    model, seen = make_model(), []
    trainer = trainer_of(model, head_losses, ("head",), stream(good).repeat(), average_weights=0.5)
    checkpoints = Checkpoints(trainer, tmp_path / "checkpoints", 1000, 1000.0, 2)
    checkpoints.restore()
    validations = Validations(trainer, 9)
    validations.folder = tmp_path
    run_validation = validations.run
    validations.run = lambda done: (run_validation(done), seen.append(values(model)))
    train(
        trainer, 3, checkpoints, tmp_path / "logs", "step", lambda done: "", lambda done: None, validation=validations
    )
    after = values(model)
    assert validations.at == [3] and changed(seen[0], after) == {"head"}  # training continues with its own weights
    trainer.finish()
    assert changed(seen[0], values(model)) == set()
    restored = make_model(seed=1)
    other = trainer_of(restored, head_losses, ("head",), stream(good).repeat(), average_weights=0.5)
    assert Checkpoints(other, tmp_path / "checkpoints", 1000, 1000.0, 2).restore() == 3
    for value, expected in zip(restored.head.variables, model.head.variables, strict=True):
        np.testing.assert_array_equal(value, after[expected.path])


def poisoned_losses(model, batch, features):
    """Losses of the head, and no number where a picture is called "broken"."""
    result = head_losses(model, batch, features)
    broken = tf.reduce_any(batch.image_ids == "VOC2007/broken")
    poisoned = result.sums["head_class"] + tf.where(broken, np.nan, 0.0)
    return result._replace(sums={**result.sums, "head_class": poisoned})


def poisoned_gradient(model, batch, features):
    """Finite losses of the head whose gradient is not finite: that of a square root at 0."""
    result = head_losses(model, batch, features)
    root = tf.sqrt(0.0 * tf.reduce_sum(model.head.fc6.kernel))
    return result._replace(sums={**result.sums, "root": root}, counts={**result.counts, "root": tf.constant(1.0)})


def test_a_loss_that_is_not_finite_leaves_the_last_good_weights(make_model, good):
    model = make_model()
    bad = good._replace(image_ids=tf.constant(["fine", "VOC2007/broken"]))
    trainer = trainer_of(model, poisoned_losses, ("head",), stream(good, good, bad, good))
    trainer.train(2)
    before = values(model)
    with pytest.raises(NonFiniteLoss) as caught:
        trainer.train(2)
    assert changed(before, values(model)) == set()
    assert caught.value.iteration == 3 and caught.value.image_ids == ["fine", "VOC2007/broken"]
    assert "iteration 3" in str(caught.value) and "fine, VOC2007/broken" in str(caught.value)
    assert int(trainer.iteration) == 2


def test_after_a_failure_nothing_changes_any_more(make_model, good):
    """Later mini-batches of the same call, and later calls."""
    model = make_model()
    bad = good._replace(image_ids=tf.constant(["fine", "VOC2007/broken"]))
    trainer = trainer_of(model, poisoned_losses, ("head",), stream(bad, good, good, good))
    before = values(model)
    with pytest.raises(NonFiniteLoss, match="iteration 1 .*fine, VOC2007/broken"):
        trainer.train(3)
    with pytest.raises(NonFiniteLoss, match="iteration 1 "):
        trainer.train(1)
    assert changed(before, values(model)) == set() and int(trainer.iteration) == 0


def test_the_mini_batch_that_failed_is_named(make_model, good):
    """With several mini-batches in an iteration, also where it is not the last of them."""
    model = make_model()
    bad = good._replace(image_ids=tf.constant(["fine", "VOC2007/broken"]))
    before = values(model)
    trainer = trainer_of(model, poisoned_losses, ("head",), stream(good, bad, good), accumulate=3)
    with pytest.raises(NonFiniteLoss, match="iteration 1 or its gradient is not finite, on fine, VOC2007/broken$"):
        trainer.train(1)
    assert changed(before, values(model)) == set()
    trainer = trainer_of(model, poisoned_gradient, ("head",), stream(good, good), accumulate=2)
    with pytest.raises(NonFiniteLoss, match="on picture0, picture1, picture0, picture1$"):
        trainer.train(1)


def test_the_host_reads_the_numbers_of_ten_iterations_once(make_model, good, monkeypatch):
    trainer = trainer_of(make_model(), head_losses, ("head",), stream(good).repeat(), clip_norm=1.0)
    trainer.train(1)
    read, eager = [], type(tf.constant(0.0))
    for name in ("numpy", "__float__", "__int__", "__bool__", "__index__", "__array__"):
        original = getattr(eager, name)

        def counted(self, *arguments, original=original, name=name):
            read.append(name)
            return original(self, *arguments)

        monkeypatch.setattr(eager, name, counted)
    output = trainer.train(10)
    assert read == ["numpy"] and int(trainer.iteration) == 11 and output["losses/loss"] > 0


def test_a_gradient_that_is_not_finite_stops_too(make_model, good):
    model = make_model()
    before = values(model)
    with pytest.raises(NonFiniteLoss, match="iteration 1 .*picture0, picture1"):
        trainer_of(model, poisoned_gradient, ("head",), stream(good)).train(1)
    assert changed(before, values(model)) == set()


def test_infinite_weights_stop_at_once(make_model, good):
    model = make_model()
    model.head.class_logits.bias.assign([0.0, np.inf, 0.0, 0.0])
    with pytest.raises(NonFiniteLoss, match="iteration 1 .*picture0, picture1"):
        trainer_of(model, head_losses, ("head",), stream(good)).train(1)


def test_a_run_leaves_summaries_and_a_log(make_model, good, tmp_path, capsys, caplog):
    caplog.set_level("DEBUG", "training")
    trainer = trainer_of(make_model(), head_losses, ("head",), stream(good).repeat(), StepDecay(RATE, 12, 0.75))
    run(trainer, 12, tmp_path)
    assert int(trainer.iteration) == 12
    captured = capsys.readouterr()
    assert captured.out == "" and "step 2 detector" in captured.err  # the progress bar
    assert "all=50%, " in captured.err  # 12 of 24 mini-batches
    assert any("step" in line for line in caplog.messages) and "losses/head_class" in caplog.text
    levels = {record.levelname for record in caplog.records if record.name.startswith("training")}
    assert levels == {"DEBUG"}  # for train.log, not for the terminal
    recorded = {}
    for path in (tmp_path / "logs").rglob("events.out.tfevents*"):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for entry in event.summary.value:
                recorded.setdefault(entry.tag, {})[event.step] = float(tf.make_ndarray(entry.tensor))
    assert {"losses/head_class", "losses/head_box", "losses/loss", "learning_rate"} <= set(recorded)
    assert set(recorded["learning_rate"]) == {10, 12}
    np.testing.assert_allclose(recorded["learning_rate"][12], RATE / 10, rtol=1e-5)


def test_an_interruption_in_the_middle_of_an_iteration_waits_for_its_end(make_model, good, tmp_path):
    trainer = trainer_of(make_model(dtype="mixed_float16"), head_losses, ("head",), stream(good).repeat())
    iterate = trainer._iterate

    def iterate_and_signal(batch):
        record = iterate(batch)
        if int(trainer.iteration) == 2:
            signal.raise_signal(signal.SIGTERM)  # before the record is kept
        return record

    trainer._iterate = iterate_and_signal
    with pytest.raises(KeyboardInterrupt), deferred():
        run(trainer, 8, tmp_path)
    assert int(trainer.iteration) == int(trainer.finite_iterations) == 2
    assert trainer.seconds > 0  # those of the iterations that were done
    assert tf.train.latest_checkpoint(tmp_path / "checkpoints").endswith("ckpt-2")


# Resuming from a checkpoint.


def numbered(make_batch, start=0):
    """An endless stream of mini-batches that all differ, from number `start` on."""
    batches = [make_batch([(64, 96)] * 2, seed=3, first_position=2 * number) for number in range(8)]
    return stream(*batches[start:]).concatenate(stream(*batches).repeat())


@pytest.mark.slow
def test_a_restored_trainer_gives_the_same_bits(make_model, make_batch, tmp_path):
    schedule = StepDecay(0.01, 8, 0.5, warmup=2)
    results = []
    for stops in ((8,), (3, 4, 8)):
        model = make_model()
        start = values(model)
        folder = tmp_path / f"{len(stops)}"
        for stop in stops:
            model = make_model(seed=1 if stop != stops[0] else 0)  # what is restored must come from the checkpoint
            trainer = Trainer(model, head_losses, ("head",), schedule, Optimisation())
            checkpoints = Checkpoints(trainer, folder / "checkpoints", 3, 1000.0, 2)
            if stop != stops[0]:
                model.backbone.set_weights(make_model().backbone.get_weights())  # not trained, so not in it
            done = checkpoints.restore()
            trainer.feed(numbered(make_batch, done))
            run_until(trainer, stop, checkpoints, folder)
            assert int(trainer.iteration) == stop and trainer.seconds > 0
        results.append(values(model))
    assert changed(start, results[0]) == {"head"}
    for path, value in results[0].items():
        if "head" in path:
            np.testing.assert_array_equal(results[1][path], value, err_msg=path)


# Larger and smaller gradients.


def one_step(make_model, batches, **changes):
    """How far one step without momentum, decay or warm-up moves the head: the gradient times -RATE."""
    model = make_model()
    before = [value.copy() for value in model.head.get_weights()]
    trainer = trainer_of(model, head_losses, ("head",), batches, **{"momentum": 0.0, "weight_decay": 0.0} | changes)
    output = trainer.train(1)
    return [after - start for after, start in zip(model.head.get_weights(), before, strict=True)], output


def norm_of(moves):
    return np.sqrt(sum(np.sum(np.square(move, dtype=np.float64)) for move in moves)) / RATE


def test_accumulated_mini_batches_are_averaged(make_model, make_batch):
    first, second = (make_batch([(64, 96)] * 2, seed=3, first_position=2 * number) for number in range(2))
    alone = [one_step(make_model, stream(batch))[0] for batch in (first, second)]
    together, output = one_step(make_model, stream(first, second), accumulate=2)
    differences = [move - (a + b) / 2 for move, a, b in zip(together, *alone, strict=True)]
    assert norm_of(differences) < 1e-3 * norm_of(together) and norm_of(alone[0]) > 0.1
    assert norm_of([a - b for a, b in zip(*alone, strict=True)]) > 0.1 * norm_of(together)
    assert output["gradient_norm"] == pytest.approx(norm_of(together), rel=1e-3)


def test_a_long_gradient_is_clipped_and_a_short_one_is_not(make_model, good):
    whole, output = one_step(make_model, stream(good))
    length = norm_of(whole)
    assert output["gradient_norm"] == pytest.approx(length, rel=1e-3)
    clipped, output = one_step(make_model, stream(good), clip_norm=length / 4)
    assert output["gradient_norm"] == pytest.approx(length, rel=1e-3)  # what it was
    assert norm_of([move - expected / 4 for move, expected in zip(clipped, whole, strict=True)]) < 1e-3 * length
    for move, expected in zip(one_step(make_model, stream(good), clip_norm=2 * length)[0], whole, strict=True):
        np.testing.assert_array_equal(move, expected)


def test_half_precision_scales_the_loss_and_skips_what_overflows(make_model, good):
    """The scale is halved until gradients are finite; a skipped step takes its data and its learning rate with it."""
    model = make_model(dtype="mixed_float16")
    before = values(model)
    trainer = trainer_of(model, head_losses, ("head",), stream(good).repeat())
    trainer.loss_scale.assign(2.0**40)
    output = trainer.train(2)
    assert output["loss_scale"] == 2.0**38 and output["skipped_iterations"] == 2 and "gradient_norm" not in output
    assert changed(before, values(model)) == set() and int(trainer.iteration) == 2
    trainer.loss_scale.assign(2.0**10)
    output = trainer.train(2)
    assert output["loss_scale"] == 2.0**10 and output["skipped_iterations"] == 2 and output["gradient_norm"] > 0
    assert changed(before, values(model)) == {"head"} and np.isfinite(output["losses/loss"])
    trainer.finite_iterations.assign(1999)
    assert trainer.train(1)["loss_scale"] == 2.0**11
    assert int(trainer.finite_iterations) == 0


@pytest.mark.slow
def test_the_scale_changes_no_step(make_model, good):
    """Powers of two: what is scaled and unscaled in float16 is what it was."""
    results = []
    for scale in (2.0**4, 2.0**8):
        model = make_model(dtype="mixed_float16")
        trainer = trainer_of(model, head_losses, ("head",), stream(good))
        trainer.loss_scale.assign(scale)
        start = values(model)
        trainer.train(1)
        results.append({path: value - start[path] for path, value in values(model).items() if "head" in path})
    for path, move in results[0].items():
        assert np.linalg.norm(move - results[1][path]) <= 0.02 * np.linalg.norm(move), path


@pytest.mark.slow
def test_pictures_are_written_five_times(make_model, good, tmp_path):
    trainer = trainer_of(make_model(), head_losses, ("head",), stream(good).repeat())
    checkpoints = Checkpoints(trainer, tmp_path / "checkpoints", 1, 1000.0, 2)
    checkpoints.restore()
    written = []

    def write_pictures(iteration):
        written.append(iteration)
        tf.summary.scalar("written", 1.0, step=iteration)

    run_until(trainer, 20, checkpoints, tmp_path, write_pictures)
    assert written == [4, 8, 12, 16, 20]
    events = [event for path in tmp_path.rglob("events*") for event in tf.compat.v1.train.summary_iterator(str(path))]
    assert sum(entry.tag == "written" for event in events for entry in event.summary.value) == 5


@pytest.mark.slow
def test_a_training_that_is_settled_on_the_way_is_one_that_had_this_length_from_the_start(make_model, good, tmp_path):
    class FourToSix:
        """After 1 iteration, 6 iterations instead of 4."""

        def __init__(self, schedule):
            self.schedule, self.calls = schedule, []

        def next_settlement(self):
            return None if self.calls else 1

        def settle(self, done, seconds_per_iteration):
            self.calls.append((done, seconds_per_iteration))
            self.schedule.set_iterations(6)
            return 6

    results = []
    for folder, length in ((tmp_path / "settled", 4), (tmp_path / "plain", 6)):
        model, schedule = make_model(), StepDecay(RATE, length, 0.5)
        trainer = trainer_of(model, head_losses, ("head",), stream(good).repeat(), schedule)
        checkpoints = Checkpoints(trainer, folder / "checkpoints", 1000, 1000.0, 2)
        checkpoints.restore()
        settlement = FourToSix(schedule) if length == 4 else None
        train(trainer, length, checkpoints, folder / "logs", "step", lambda done: "", lambda done: None, settlement)
        assert int(trainer.iteration) == 6
        results.append(values(model))
        if settlement:
            assert settlement.calls == [(1, 0.0)]  # one iteration is too few to measure the speed
    assert all((results[0][path] == results[1][path]).all() for path in results[0])


class Validations:
    """Asks for a measurement every 3 iterations, and ends the training after `most` of them."""

    def __init__(self, trainer, most):
        self.trainer, self.most, self.at, self.saved = trainer, most, [], []

    def is_due(self, done, is_last):
        return done > 0 and done not in self.at and (is_last or done % 3 == 0)

    def next_after(self, done):
        return (done // 3 + 1) * 3

    def run(self, done):
        assert int(self.trainer.iteration) == done
        self.at.append(done)
        self.saved.append((self.folder / "checkpoints" / f"ckpt-{done}.index").is_file())
        tf.summary.scalar("validation/recall", 0.5, step=done)

    @property
    def is_over(self):
        return len(self.at) == self.most

    def shown(self):
        return {"recall": "0.500"}


@pytest.mark.slow
@pytest.mark.parametrize(("most", "expected"), [(9, [3, 6, 8]), (2, [3, 6])], ids=["to the end", "ends early"])
def test_a_training_is_validated_on_the_way_and_changes_by_nothing(make_model, good, tmp_path, capsys, most, expected):
    results = []
    for name in ("validated", "plain"):
        model, folder = make_model(), tmp_path / name
        trainer = trainer_of(model, head_losses, ("head",), stream(good).repeat())
        checkpoints = Checkpoints(trainer, folder / "checkpoints", 1000, 1000.0, 2)
        checkpoints.restore()
        validations = Validations(trainer, most) if name == "validated" else None
        if validations:
            validations.folder = folder
        length = 8 if validations else expected[-1]
        train(
            trainer, length, checkpoints, folder / "logs", "step", lambda done: "", lambda done: None,
            validation=validations,
        )  # fmt: skip
        assert int(trainer.iteration) == expected[-1]
        results.append(values(model))
        if validations:
            assert validations.at == expected and all(validations.saved)
    assert all((results[0][path] == results[1][path]).all() for path in results[0])
    paths = map(str, (tmp_path / "validated").rglob("events*"))
    events = [event for path in paths for event in tf.compat.v1.train.summary_iterator(path)]
    found = [event.step for event in events for entry in event.summary.value if entry.tag == "validation/recall"]
    assert found == expected and "recall=0.500" in capsys.readouterr().err


def test_settlements_and_validations_take_turns():
    class At:
        def __init__(self, due):
            self.due = due

        def next_settlement(self):
            return self.due

    class Every:
        def next_after(self, done):
            return done + 5

    assert _next_stop(0, 20, None, None) == (20, False)
    assert _next_stop(0, 20, None, Every()) == (5, False)
    assert _next_stop(0, 20, At(3), Every()) == (3, True)
    assert _next_stop(0, 20, At(5), Every()) == (5, True)
    assert _next_stop(0, 20, At(9), Every()) == (5, False)
    assert _next_stop(8, 20, At(3), Every()) == (8, True)  # it was due before this process began
    assert _next_stop(18, 20, At(20), Every()) == (20, False)  # nothing is left to settle


def test_how_far_the_whole_run_is(monkeypatch):
    clock = iter((100.0, 104.0, 110.0))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    progress = RunProgress(40)
    progress.skip(10)
    assert progress.advance(2) == "30%, 00:56 left"  # 28 to go at 2 seconds each
    assert progress.advance(18) == "75%, 00:05 left"
