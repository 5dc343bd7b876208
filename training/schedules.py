"""Learning-rate schedules."""

import keras


def step_decay(learning_rate: float, steps: int, drop_at: float, drop_factor: float = 0.1):
    """`learning_rate`, times `drop_factor` from the share `drop_at` of `steps` on (paper: 60k of 80k, 30k of 40k)."""
    boundary = round(steps * drop_at)
    return keras.optimizers.schedules.PiecewiseConstantDecay(
        # Keras keeps the old value at the boundary itself; the first dropped step is number `boundary`, counted from 0.
        [boundary - 1],
        [learning_rate, learning_rate * drop_factor],
    )
