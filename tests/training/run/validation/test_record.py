"""Validation while a step trains: which weights are best, when it ends early, and that a step that resumes agrees."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.files import read_json
from training.run.validation.record import RECORD, Score, Subject, Validation, best_of, is_exhausted

NAN = math.nan
VALUES = st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0, NAN]), max_size=12)


def scores(*values):
    return [Score(10 * place, value) for place, value in enumerate(values, start=1)]


@pytest.mark.parametrize(
    ("values", "best"),
    [((), None), ((NAN,), None), ((0.5,), 10), ((0.1, 0.5, 0.5, 0.4), 20), ((NAN, 0.0), 20), ((0.5, NAN), 10)],
)
def test_the_best_is_the_first_of_the_highest(values, best):
    found = best_of(scores(*values))
    assert (found and found.iteration) == best


@pytest.mark.parametrize(
    ("values", "patience", "expected"),
    [
        ((0.5, 0.4, 0.4), None, False),
        ((0.5, 0.4), 2, False),
        ((0.5, 0.4, 0.5), 2, True),  # as good is not better
        ((0.5, 0.4, 0.6), 2, False),
        ((0.5, 0.6, 0.4), 2, False),
        ((0.5, NAN, 0.1), 2, True),
        ((NAN, NAN, NAN), 2, False),  # nothing was measured, so nothing got worse
        ((0.5, 0.4), 1, True),
    ],
)
def test_when_patience_ends(values, patience, expected):
    assert is_exhausted(scores(*values), patience) == expected


@given(VALUES, st.integers(1, 5))
def test_patience_ends_when_the_best_score_is_old(values, patience):
    found = scores(*values)
    best = best_of(found)
    age = 0 if best is None else sum(score.iteration > best.iteration for score in found)
    assert is_exhausted(found, patience) == (age >= patience)


class Model:
    """Its weights are a number, which a training changes; a validation of iteration N gives the N-th value."""

    def __init__(self, values, measure="mAP"):
        self.done, self.values, self.measured = 0, values, []
        self.subject = Subject("step 2", measure, self.score, lambda path: path.write_text(str(self.done)))

    def score(self):
        self.measured.append(self.done)
        return self.values[self.done]

    def train(self, validation, last, first=0):
        """Train and validate from iteration `first` to `last`, as the loop does."""
        self.done = first
        while True:
            if validation.is_due(self.done, self.done >= last):
                validation.run(self.done)
            if self.done >= last or validation.is_over:
                return
            self.done = min(last, validation.next_after(self.done))


def validation_in(folder, model, patience=None, done=0):
    validation = Validation(model.subject, folder, 10, patience)
    validation.restore(done)
    return validation


VALUES_OF_A_STEP = {10: 0.2, 20: 0.5, 30: 0.4, 40: 0.6, 50: 0.1, 55: 0.3}


def test_scores_and_the_best_weights(tmp_path, caplog):
    model = Model(VALUES_OF_A_STEP)
    validation = validation_in(tmp_path, model)
    with caplog.at_level("INFO", logger="training"):
        model.train(validation, 55)
    assert model.measured == [10, 20, 30, 40, 50, 55]
    best, path = validation.best_weights()
    assert best == Score(40, 0.6) and path.read_text() == "40"
    assert validation.shown() == {"mAP": "0.300"}
    assert {entry.name for entry in tmp_path.iterdir()} == {RECORD, "best-40.npz"}
    assert [one["value"] for one in read_json(tmp_path / RECORD)["scores"]] == list(VALUES_OF_A_STEP.values())
    assert caplog.messages[2] == "step 2: mAP 0.400 after 30 iterations, best 0.500 after 20"


def test_a_training_ends_early(tmp_path):
    model = Model(VALUES_OF_A_STEP)
    validation = validation_in(tmp_path, model, patience=1)
    model.train(validation, 55)
    assert model.measured == [10, 20, 30] and validation.is_over
    again = validation_in(tmp_path, model, patience=1, done=30)
    assert again.is_over and not again.is_due(30, is_last=False)


@pytest.mark.parametrize("killed_at", [10, 20, 30, 40, 50])
@pytest.mark.parametrize("back", [0, 5, 10])
def test_a_step_that_resumes_measures_the_rest_and_has_the_same_best(tmp_path, killed_at, back):
    model = Model(VALUES_OF_A_STEP)
    model.train(validation_in(tmp_path, model), killed_at)
    resumed, done = Model(VALUES_OF_A_STEP), killed_at - back
    validation = validation_in(tmp_path, resumed, done=done)
    resumed.train(validation, 55, first=done)
    assert resumed.measured == [iteration for iteration in VALUES_OF_A_STEP if iteration > done]
    best, path = validation.best_weights()
    assert best == Score(40, 0.6) and path.read_text() == "40"


def test_a_score_is_measured_again_if_it_was_not_recorded(tmp_path):
    model = Model(VALUES_OF_A_STEP)
    resumed = validation_in(tmp_path, model, done=20)  # killed after the checkpoint, and before the first score
    assert resumed.is_due(20, is_last=False) and not validation_in(tmp_path, model).is_due(0, is_last=False)


def test_best_weights_that_are_gone_do_not_count(tmp_path, caplog):
    model = Model(VALUES_OF_A_STEP)
    model.train(validation_in(tmp_path, model), 40)
    (tmp_path / "best-20.npz").unlink()
    resumed = Model(VALUES_OF_A_STEP)
    with caplog.at_level("WARNING", logger="training"):
        validation = validation_in(tmp_path, resumed, done=30)  # the checkpoint after 40 iterations is damaged
    assert "the best weights so far, of iteration 20, are gone" in caplog.text
    resumed.train(validation, 55, first=30)
    assert validation.best_weights()[0] == Score(40, 0.6)


def test_scores_of_another_measure_are_refused(tmp_path):
    model = Model(VALUES_OF_A_STEP)
    model.train(validation_in(tmp_path, model), 20)
    with pytest.raises(InputError, match="validated by mAP, now it would be by AP; give the same --metric"):
        validation_in(tmp_path, Model(VALUES_OF_A_STEP, measure="AP"), done=20)


@pytest.mark.parametrize("content", ["{", "[]", '{"measure": "mAP"}', '{"measure": "mAP", "scores": [1]}'])
def test_a_damaged_record_is_named(tmp_path, content):
    (tmp_path / RECORD).write_text(content)
    with pytest.raises(InputError, match=f"^{tmp_path / RECORD}: cannot be read .*; restore it from a backup"):
        validation_in(tmp_path, Model(VALUES_OF_A_STEP), done=5)


def test_nothing_measured(tmp_path):
    model = Model(dict.fromkeys(VALUES_OF_A_STEP, NAN))
    validation = validation_in(tmp_path, model)
    model.train(validation, 55)
    assert validation.best_weights() is None and read_json(tmp_path / RECORD)["scores"][0]["value"] is None
    assert math.isnan(validation_in(tmp_path, model, done=10).scores[0].value)
