"""What a plan chose: options with the reasons, gathered in a draft that every rule reads and extends."""

import dataclasses
from collections.abc import Iterable
from typing import Any, NamedTuple

from keras_frcnn.facts.options import option_text
from keras_frcnn.facts.settings import changed, settings_of
from training.run.options.declared import SECTION, TrainingOptions
from training.run.planning.costs import Machine
from training.run.planning.data_facts import DataFacts
from training.run.planning.forecast import Forecast


class Choice(NamedTuple):
    """One chosen option."""

    key: str  # of the setting, such as "detector.image.short_side"
    value: Any  # as the setting holds it
    reason: str  # one sentence without a full stop


class Plan(NamedTuple):
    """A finished plan."""

    options: TrainingOptions
    choices: tuple[Choice, ...]
    facts: DataFacts
    machine: Machine
    forecast: Forecast


class Draft(NamedTuple):
    """A plan in the making."""

    options: TrainingOptions  # with everything that was given or chosen so far
    given: frozenset[str]  # keys of the options that the user gave; they stay
    choices: tuple[Choice, ...] = ()

    def choose(self, key: str, value: Any, reason: str) -> "Draft":
        """The draft with one more choice.  An option that the user gave stays as it is."""
        if key in self.given:
            return self
        choices = (*self.choices, Choice(key, value, reason))
        return self._replace(options=with_value(self.options, key, value), choices=choices)


def with_value(options: TrainingOptions, key: str, value: Any) -> TrainingOptions:
    """The options with another value of one setting."""
    section, _, name = key.partition(".")
    if section == SECTION:
        return dataclasses.replace(options, **{name: value})
    return dataclasses.replace(options, detector=changed(options.detector, {key: value}, "detector"))


def choice_lines(choices: Iterable[Choice], kind: type[TrainingOptions]) -> list[str]:
    """One line for each choice: the option that would set it, and the reason."""
    by_key = {setting.key: setting for setting in settings_of(kind, SECTION)}
    pairs = [(option_text(by_key[choice.key], choice.value), choice.reason) for choice in choices]
    width = min(40, max((len(option) for option, _ in pairs), default=0))
    return [f"{option:<{width}}  {reason}" for option, reason in pairs]
