"""The only training loop, on orbit's Controller."""

import collections
import contextlib
import time

import keras
import orbit
import tensorflow as tf
from tqdm import tqdm

from keras_frcnn.model import FasterRCNN
from training.steps import loss_and_gradients

SUMMARY_INTERVAL = 10  # steps between two records in TensorBoard and on the progress bar


class NonFiniteLoss(RuntimeError):
    """A loss was no finite number; the weights are the last good ones."""

    def __init__(self, step: int, image_ids):
        self.step, self.image_ids = step, image_ids
        super().__init__(
            f"the loss of mini-batch {step} or its gradient is not a finite number, on {', '.join(image_ids)}"
        )


class Trainer(orbit.AbstractTrainer):
    """Runs training steps of one of the four steps; weights change only where the loss is finite."""

    def __init__(self, model: FasterRCNN, losses, parts, batches, schedule, momentum: float, weight_decay: float):
        self._batches = iter(batches)
        self.global_step = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.schedule = schedule
        self._optimizer = keras.optimizers.SGD(learning_rate=schedule, momentum=momentum)
        variables = [variable for part in parts for variable in getattr(model, part).trainable_variables]
        self._optimizer.build(variables)

        @tf.function(input_signature=[batches.element_spec])
        def compute(batch):
            means, total, gradients = loss_and_gradients(model, losses, batch, variables, "backbone" in parts)
            finite = tf.math.is_finite(total)
            for gradient in gradients:
                finite &= tf.reduce_all(tf.math.is_finite(gradient))
            return {**means, "loss": total}, finite, gradients

        @tf.function
        def update(gradients):
            # L2 regularisation goes through the momentum, as in the paper's solver; biases are not decayed.
            decayed = [
                gradient + weight_decay * variable if variable.name == "kernel" else gradient
                for gradient, variable in zip(gradients, variables, strict=True)
            ]
            self._optimizer.apply(decayed, variables)
            self.global_step.assign_add(1)

        # Two graphs, as Keras' optimisers cannot stand inside tf.cond: weights change only where all is finite.
        self._compute, self._update = compute, update

    def train(self, num_steps):
        sums, images, waited, start = collections.Counter(), 0, 0.0, time.perf_counter()
        for _ in range(int(num_steps)):
            asked = time.perf_counter()
            batch = next(self._batches)
            waited += time.perf_counter() - asked
            losses, finite, gradients = self._compute(batch)
            if not finite:
                ids = [image_id.decode() for image_id in batch.image_ids.numpy()]
                raise NonFiniteLoss(int(self.global_step.numpy()) + 1, ids)
            self._update(gradients)
            sums.update({name: float(value) for name, value in losses.items()})
            images += batch.images.shape[0]
        seconds = time.perf_counter() - start
        return {
            **{f"losses/{name}": value / int(num_steps) for name, value in sums.items()},
            "learning_rate": float(self.schedule(self.global_step - 1)),
            "images_per_second": images / seconds,
            "data_wait_share": waited / seconds,
        }


def train(trainer: Trainer, steps: int, summary_dir, log_file, title: str):
    """Run `trainer` for `steps` steps, with a progress bar, TensorBoard scalars in `summary_dir` and a log.

    Raises NonFiniteLoss, and lets KeyboardInterrupt through.
    """
    with tqdm(total=steps, desc=title, unit="step", mininterval=1.0, dynamic_ncols=True) as bar:

        def show(output):
            done = int(trainer.global_step.numpy())
            shown = {name.removeprefix("losses/"): f"{value:.3f}" for name, value in output.items() if "loss" in name}
            bar.set_postfix(
                {**shown, "lr": f"{output['learning_rate']:.2g}", "img/s": f"{output['images_per_second']:.2f}"},
                refresh=False,
            )
            bar.update(done - bar.n)

        controller = orbit.Controller(
            global_step=trainer.global_step,
            trainer=trainer,
            train_actions=[show],
            steps_per_loop=min(SUMMARY_INTERVAL, steps),
            summary_dir=str(summary_dir),
        )
        with contextlib.redirect_stdout(log_file):  # orbit prints a block for every loop
            controller.train(steps, checkpoint_at_completion=False)
