"""A time budget: a run that ends at a given time, whatever speed the machine turns out to have.

The forecast says how many iterations each step has and how long everything takes.  At the start of each step, and twice
within it, the iterations of this and of the later steps are multiplied by one factor, so that what is left of the run
fits into the time that is left.  A step is settled for the last time at half of its iterations, before its learning
rate falls, so its schedule is the one of a step that had this many iterations from the start.

What was settled, and the time that was spent, are kept in a file.  So a run that is resumed has the same schedule, and
the time in which no process ran does not count.
"""

import contextlib
import logging
import pathlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.files import read_json, write_json
from training.run.planning.forecast import Forecast, StepForecast

SETTLED_AT = (0.1, 0.5)  # shares of the iterations of a step after which they are settled again
MOST_GROWTH = 3.0  # times the planned iterations that a step may have, even if there is time for more
FEWEST_ITERATIONS = 10  # of a step, even if no time is left
FEWEST_MEASURED = 20  # iterations; a measurement of fewer says too little about the speed

_SPEED_BOUNDS = (0.5, 2.0)  # how far a measured step may correct the forecast of the later ones
_SAVE_SECONDS = 20.0  # between two updates of the file

_log = logging.getLogger(__name__)


class _Settled(NamedTuple):
    """What was decided about a step."""

    iterations: int
    times: int  # how often: once at its start, then once for each of SETTLED_AT


class TimeBudget:
    """The clock of a run, and the iterations of its steps.

    All numbers of iterations are mini-batches of one replica, as in the table of steps.
    """

    def __init__(
        self,
        forecast: Forecast,
        path: str | pathlib.Path,
        started: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        """Continue the budget that `path` holds, or begin a new one.

        Args:
          forecast: of the whole run.
          path: the file that keeps the spent time and the settled iterations.
          started: the reading of `clock` from which the time of this process counts; None: now.
          clock: seconds.

        Raises:
          InputError: the file is damaged.
        """
        self._forecast, self._path, self._clock = forecast, pathlib.Path(path), clock
        self._started = clock() if started is None else started
        self._lock = threading.Lock()
        self._spent_before, self._settled, self._real = _read(self._path)
        self._speed = 1.0  # measured seconds of an iteration, relative to the forecast
        self._current: str | None = None  # the step that runs
        self._begun_at = 0.0  # seconds spent when it began

    def spent(self) -> float:
        """Seconds of the run so far, those of earlier processes included."""
        return self._spent_before + self._clock() - self._started

    def left(self) -> float:
        """Seconds until the budget is used up; negative after that."""
        return self._forecast.budget - self.spent()

    @property
    def total(self) -> float:
        """The budget in seconds."""
        return self._forecast.budget

    def begin(self, name: str) -> int:
        """Settle the iterations of a step at its start, and return them.  A step that was settled before keeps its."""
        self._current, self._begun_at = name, self.spent()
        if name not in self._settled:
            step = self._step(name)
            rest = self.left() - step.before
            self._settle(name, self._fitting(name, 0, step.seconds_per_iteration * self._speed, rest))
        return self._settled[name].iterations

    def next_settlement(self, name: str) -> int | None:
        """The number of iterations after which the step is settled again; None if it is settled for good."""
        settled = self._settled[name]
        place = settled.times - 1
        if place >= len(SETTLED_AT):
            return None
        return max(2 * FEWEST_MEASURED, round(settled.iterations * SETTLED_AT[place]))

    def settle(self, name: str, done: int, seconds_per_iteration: float) -> int:
        """Settle a step again after `done` iterations with the measured speed; returns its iterations.

        Args:
          name: of the step.
          done: the iterations done.
          seconds_per_iteration: as measured in this process; 0 if it could not be measured.
        """
        forecast = self._step(name).seconds_per_iteration
        if seconds_per_iteration > 0:
            low, high = _SPEED_BOUNDS
            self._speed = min(high, max(low, seconds_per_iteration / forecast))
        measured = seconds_per_iteration or forecast * self._speed
        before = self._settled[name].iterations
        self._settle(name, before if done >= before else self._fitting(name, done, measured, self.left()))
        return self._settled[name].iterations

    def end(self, name: str) -> None:
        """Note how long the step really took."""
        self._real[name] = self._seconds(name) or 0.0
        self._current = None
        self.save()

    def _seconds(self, name: str) -> float | None:
        """How long the step has taken so far, in all processes; None if it has not begun."""
        before = self._real.get(name)
        if name != self._current:
            return before
        return (before or 0.0) + self.spent() - self._begun_at

    def _step(self, name: str) -> StepForecast:
        return next(step for step in self._forecast.steps if step.name == name)

    def _fitting(self, name: str, done: int, seconds_per_iteration: float, left: float) -> int:
        """The iterations of the step with which the rest of the run takes `left` seconds.

        The iterations of this and of the later steps are those of the forecast times one factor.
        """
        names = [step.name for step in self._forecast.steps]
        step, later = self._step(name), self._forecast.steps[names.index(name) + 1 :]
        fixed = step.after + self._forecast.end + sum(other.before + other.after for other in later)
        variable = step.iterations * seconds_per_iteration
        variable += sum(other.iterations * other.seconds_per_iteration * self._speed for other in later)
        factor = (left - fixed + done * seconds_per_iteration) / variable
        return max(FEWEST_ITERATIONS, done + 1, round(step.iterations * min(factor, MOST_GROWTH)))

    def _settle(self, name: str, iterations: int) -> None:
        times = self._settled[name].times if name in self._settled else 0
        self._settled[name] = _Settled(iterations, times + 1)
        planned = self._step(name).iterations
        _log.info(
            "%s: %d iterations (planned: %d) fit into the budget, %.0f of %.0f seconds are left",
            name, iterations, planned, self.left(), self.total,
        )  # fmt: skip
        if self.left() < 0:
            _log.warning("the budget of %.0f seconds is used up: each step has the fewest iterations", self.total)
        self.save()

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Save every 20 seconds while the block runs, and at its end: a process that is killed loses little of it."""
        ended = threading.Event()

        def keep() -> None:
            while not ended.wait(_SAVE_SECONDS):
                with contextlib.suppress(OSError):  # a full disk: the work itself will say so
                    self.save()

        thread = threading.Thread(target=keep, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            with contextlib.suppress(OSError):  # it must not hide why the block ended
                self.save()

    def save(self) -> None:
        """Write the spent time and the settled iterations."""
        with self._lock:
            steps = {
                name: {**settled._asdict(), "seconds": self._seconds(name)}
                for name, settled in list(self._settled.items())
            }
            write_json(self._path, {"budget": self.total, "spent": self.spent(), "steps": steps})


def _read(path: pathlib.Path) -> tuple[float, dict[str, _Settled], dict[str, float]]:
    """The spent seconds, and of each step what was settled and how long it has taken."""
    try:
        stored: dict[str, Any] = read_json(path)
        steps = stored["steps"].items()
        settled = {name: _Settled(int(step["iterations"]), int(step["times"])) for name, step in steps}
        real = {name: float(step["seconds"]) for name, step in steps if step["seconds"] is not None}
        return float(stored["spent"]), settled, real
    except FileNotFoundError:
        return 0.0, {}, {}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        problem = f"is not the time budget of a run ({error})"
        raise InputError(path, problem, "restore it from a backup, or give another folder with --run") from error
