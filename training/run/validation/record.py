"""Validation while a step trains: its scores, the best weights so far, and when to stop early.

The folder of the step's checkpoints also holds validation.json, the scores, and best-N.npz, the weights that were best,
after N iterations.  A checkpoint is saved before each validation, so a step that resumes finds all scores up to its
iteration, and computes the later ones again.
"""

import logging
import math
import pathlib
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.files import nan_to_none, none_to_nan, read_known, write_json
from training.engine.distribution import is_chief, wait_for_all

RECORD = "validation.json"

_BEST = re.compile(r"best-(\d+)\.npz")
_log = logging.getLogger(__name__)


class Score(NamedTuple):
    """The score of one validation."""

    iteration: int
    value: float  # higher is better; NaN if nothing could be measured


class Subject(NamedTuple):
    """What is validated."""

    title: str  # of the step
    measure: str  # the name of the score
    score: Callable[[], float]  # measures the model as it is now; every worker calls it
    save: Callable[[pathlib.Path], None]  # writes the weights that the step trains


def best_of(scores: Sequence[Score]) -> Score | None:
    """The highest score, of equal ones the first; None if there is none."""
    known = [score for score in scores if not math.isnan(score.value)]
    return max(known, key=lambda score: score.value) if known else None  # max returns the first


def is_exhausted(scores: Sequence[Score], patience: int | None) -> bool:
    """Whether the last `patience` scores are not better than the best one before them; never without a patience."""
    if patience is None or len(scores) <= patience:
        return False
    best = best_of(scores)
    return best is not None and all(score.iteration > best.iteration for score in scores[-patience:])


class Validation:
    """Validates a step every `every` iterations, and keeps the weights that were best."""

    def __init__(self, subject: Subject, folder: pathlib.Path, every: int, patience: int | None):
        self._subject, self._folder, self._every, self._patience = subject, folder, every, patience
        self.measure = subject.measure
        self.scores: tuple[Score, ...] = ()

    def restore(self, done: int) -> None:
        """Read the scores up to the iteration `done`, from which the step resumes.

        Raises InputError if they are scores of another measure, or if their file is damaged.
        """
        path = self._folder / RECORD
        if not path.is_file():
            return
        measure, scores = read_known(path, _from_json, "restore it from a backup, or delete it to begin a new record")
        if measure != self.measure:
            problem = f"this step was validated by {measure}, now it would be by {self.measure}"
            raise InputError(path, problem, "give the same --metric as before")
        self.scores = tuple(score for score in scores if score.iteration <= done)
        best = best_of(self.scores)
        if best is not None and not self._path(best).is_file():
            # An older checkpoint was restored, because the newest was damaged.
            _log.warning(
                "%s: the best weights so far, of iteration %d, are gone: the best of those that follow are kept",
                self._subject.title, best.iteration,
            )  # fmt: skip
            self.scores = ()

    def is_due(self, done: int, is_last: bool) -> bool:
        """Whether to validate after `done` iterations."""
        measured = any(score.iteration == done for score in self.scores)
        return done > 0 and not measured and (is_last or done % self._every == 0)

    def next_after(self, done: int) -> int:
        """The iteration of the next validation."""
        return (done // self._every + 1) * self._every

    def run(self, done: int) -> None:
        """Measure the model after `done` iterations, and keep its weights if they are the best.

        TensorBoard's default writer gets the score.  Call it in every worker, after a checkpoint was saved.
        """
        score = Score(done, self._subject.score())
        before = best_of(self.scores)
        self.scores = (*self.scores, score)
        if is_chief():
            if best_of(self.scores) == score:
                self._subject.save(self._path(score))
            write_json(self._folder / RECORD, to_json(self.measure, self.scores))
            self._delete_all_but(before, best_of(self.scores))
            tf.summary.scalar(f"validation/{self.measure}", score.value, step=done)
        wait_for_all()
        best = best_of(self.scores)
        beside = "" if best is None or best == score else f", best {best.value:.3f} after {best.iteration}"
        _log.info("%s: %s %.3f after %d iterations%s", self._subject.title, self.measure, score.value, done, beside)

    @property
    def is_over(self) -> bool:
        """Whether to stop early."""
        return is_exhausted(self.scores, self._patience)

    def shown(self) -> dict[str, str]:
        """The newest score, for the progress bar."""
        return {self.measure: f"{self.scores[-1].value:.3f}"} if self.scores else {}

    def best_weights(self) -> tuple[Score, pathlib.Path] | None:
        """The best score, and the file with the weights that had it; None if there is none."""
        best = best_of(self.scores)
        return None if best is None else (best, self._path(best))

    def _path(self, score: Score) -> pathlib.Path:
        return self._folder / f"best-{score.iteration}.npz"

    def _delete_all_but(self, *kept: Score | None) -> None:
        """Keep the best weights, and those before them: the newest checkpoint may turn out to be damaged."""
        iterations = {score.iteration for score in kept if score is not None}
        for path in self._folder.glob("best-*.npz"):
            matched = _BEST.fullmatch(path.name)
            if matched and int(matched[1]) not in iterations:
                path.unlink()


def to_json(measure: str, scores: Sequence[Score]) -> dict[str, Any]:
    """Plain values for a JSON file, with None for NaN."""
    values = [{"iteration": one.iteration, "value": nan_to_none(one.value)} for one in scores]
    return {"measure": measure, "scores": values}


def _from_json(stored: dict[str, Any]) -> tuple[str, list[Score]]:
    """Measure and scores that `to_json` made plain."""
    scores = [(int(one["iteration"]), one["value"]) for one in stored["scores"]]
    return stored["measure"], [Score(done, float(none_to_nan(value))) for done, value in scores]
