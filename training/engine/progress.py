"""How far a run is."""

import time
from typing import Protocol

from tqdm import tqdm


class HasTime(Protocol):
    """A time budget."""

    @property
    def total(self) -> float: ...  # seconds

    def left(self) -> float: ...  # seconds


class RunProgress:
    """Counts the mini-batches of all steps of a run, and estimates the time that the rest takes.

    With a budget, it shows the time that is left of it instead.
    """

    def __init__(self, total: int, budget: HasTime | None = None):
        self._total, self._done, self._done_here, self._started = total, 0, 0, time.monotonic()
        self._budget = budget

    def skip(self, mini_batches: int) -> None:
        """Count mini-batches that this process does not do: an earlier one did, or the step ends early."""
        self._done += mini_batches

    def advance(self, mini_batches: int) -> str:
        """Count mini-batches that this process did; returns a text such as "30%, 00:56 left".

        With a budget, it is a text such as "12:34 of 1:00:00 left".
        """
        self._done, self._done_here = self._done + mini_batches, self._done_here + mini_batches
        if self._budget is not None:
            left, total = max(0.0, self._budget.left()), self._budget.total
            return f"{tqdm.format_interval(left)} of {tqdm.format_interval(total)} left"
        left = (self._total - self._done) * (time.monotonic() - self._started) / max(self._done_here, 1)
        return f"{self._done / self._total:.0%}, {tqdm.format_interval(left)} left"
