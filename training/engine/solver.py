"""Stochastic gradient descent with momentum (section 3.1.3), with one fused kernel for each variable.

The update is that of `keras.optimizers.SGD`.  Keras computes it in several passes over the memory of each variable, and
its optimisers cannot be called in a branch of a graph, which the check for finite gradients needs.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import keras
import tensorflow as tf

from keras_frcnn.facts.structures import Tensor


class Optimisation(NamedTuple):
    """Stochastic gradient descent with momentum (section 3.1.3)."""

    momentum: float = 0.9
    weight_decay: float = 0.0005  # L2 regularisation of kernels, applied before the momentum; biases are not decayed
    bias_rate: float = 1.0  # learning rate of the biases, relative to that of the kernels
    average_weights: float | None = None  # decay of a moving average of the weights; None keeps none
    clip_norm: float | None = None  # largest global norm of a gradient
    accumulate: int = 1  # mini-batches per iteration, whose gradients are averaged


class Solver:
    """Changes variables by their gradients.  Create it in the scope of the strategy."""

    def __init__(self, trained: Sequence[keras.Variable], optimisation: Optimisation):
        self._trained, self._optimisation = trained, optimisation
        self._momenta = [tf.Variable(tf.zeros(variable.shape), trainable=False) for variable in trained]
        self._averages = (
            []
            if optimisation.average_weights is None
            else [tf.Variable(variable.value, trainable=False) for variable in trained]
        )

    @property
    def state(self) -> list[tf.Variable]:
        """What a checkpoint holds: the momentum of each variable and, if there are averages, its average."""
        return [*self._momenta, *self._averages]

    def update(self, gradients: Sequence[Tensor], factor: Tensor, rate: Tensor) -> None:
        """Change the variables once; call it in a replica.

        Args:
          gradients: one for each variable, the same in all replicas.
          factor: () float32 above 0, by which all gradients are multiplied.
          rate: () float32, the learning rate.
        """
        momentum, decay = self._optimisation.momentum, self._optimisation.weight_decay
        for variable, momenta, gradient in zip(self._trained, self._momenta, gradients, strict=True):
            # v = momentum * v - rate * (factor * gradient + decay * w);  w = w + v
            is_kernel, own_rate = variable.name == "kernel", rate * factor
            if not is_kernel:
                own_rate *= self._optimisation.bias_rate
            elif momentum > 0:  # the decay is added to v / momentum, because that needs no memory for a sum
                tf.raw_ops.ResourceApplyGradientDescent(
                    var=momenta.handle, alpha=rate * decay / momentum, delta=variable.value.read_value()
                )
            else:
                gradient += decay / factor * variable.value
            tf.raw_ops.ResourceApplyKerasMomentum(
                var=variable.value.handle, accum=momenta.handle, lr=own_rate, grad=gradient, momentum=momentum
            )
        for variable, average in zip(self._trained, self._averages, strict=False):  # without averaging, there are none
            tf.raw_ops.ResourceApplyGradientDescent(
                var=average.handle,
                alpha=1.0 - (self._optimisation.average_weights or 0.0),
                delta=average.read_value() - variable.value.read_value(),
            )

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """Give the variables their averages, if there are any, while the block runs."""
        kept = [variable.numpy() for variable, _ in zip(self._trained, self._averages, strict=False)]
        self.finish()
        try:
            yield
        finally:
            for variable, value in zip(self._trained, kept, strict=False):
                variable.assign(value)

    def finish(self) -> None:
        """Give the variables their averages, if there are any."""
        for variable, average in zip(self._trained, self._averages, strict=False):
            variable.assign(average)
