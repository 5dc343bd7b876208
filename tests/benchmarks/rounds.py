"""Timing by turns: every form once a round, so that a busy machine slows all of them alike."""

import statistics
import time
from collections.abc import Callable, Sequence


def seconds_by_turns(forms: Sequence[Callable[[], object]], rounds: int) -> list[list[float]]:
    """For each form its seconds in each round; a round that is not counted goes first, as it traces."""
    seconds = [[] for _ in forms]
    for round_number in range(rounds + 1):
        for form, times in zip(forms, seconds, strict=True):
            started = time.perf_counter()
            form()
            if round_number:
                times.append(time.perf_counter() - started)
    return seconds


def median_ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """Of the rounds' own ratios."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))
