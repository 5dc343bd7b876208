"""The four steps as the paper has them, and the rules around them."""

import numpy as np
import pytest

from keras_frcnn.facts.config import DetectorConfig
from keras_frcnn.data.example import Dataset
from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.settings import settings_of
from training import four_steps
from training.alternate import parse_arguments
from training.four_steps import STEPS, check_shared_backbone, with_table
from training.run.options import AlternationSchedule
from training.run.start import Run
from training.run.folder import save_parts, weights_path
from training.engine.objectives import head_losses, rpn_losses

REQUIRED = ["--data", "synthetic", "--run", "r", "--weights", "none"]


def options_of(*arguments):
    return parse_arguments([*REQUIRED, *arguments])


def test_the_table_is_the_papers():
    """Section 3.2: what each of the four steps trains, from what, and on whose proposals."""
    assert [(step.number, step.network, step.trains) for step in STEPS] == [
        (1, "RPN", ("backbone", "rpn")),
        (2, "detector", ("backbone", "head")),
        (3, "RPN", ("rpn",)),  # "we fix the shared convolutional layers"
        (4, "detector", ("head",)),  # "keeping the shared convolutional layers fixed"
    ]
    assert [step.backbone_from for step in STEPS] == ["pretrained", "pretrained", 2, 2]
    assert [step.head_from for step in STEPS] == [None, "pretrained", None, 2]
    assert [step.rpn_from for step in STEPS] == ["new", None, 1, 3]
    assert [step.losses for step in STEPS] == [rpn_losses, head_losses] * 2
    assert [step.proposals_from for step in STEPS] == [None, 1, None, 3]


def test_the_defaults_are_the_papers():
    options = with_table(options_of())
    assert options.detector == DetectorConfig()
    assert options.iterations == (80000, 40000, 80000, 40000)
    assert options.learning_rate == (0.001,) * 4 and options.drop_at == 0.75
    assert (options.rpn_images, options.head_images) == (1, 2)
    assert (options.momentum, options.weight_decay) == (0.9, 0.0005)


def test_help_names_the_defaults_of_the_table():
    """The help cannot import the table, because that would import TensorFlow."""
    texts = {setting.name: setting.none_text for setting in settings_of(AlternationSchedule)}
    by_network = {step.network: step.iterations for step in STEPS}
    assert texts["iterations"] == "{RPN} for an RPN step, {detector} for a detector step".format(**by_network)
    assert {step.learning_rate for step in STEPS} == {0.001} and texts["learning_rate"].startswith("0.001 ")


def test_given_iterations_and_learning_rates_replace_the_tables():
    options = with_table(options_of("--iterations", *"1234", "--learning-rate", *"4321"))
    assert options.iterations == (1, 2, 3, 4) and options.learning_rate == (4.0, 3.0, 2.0, 1.0)


@pytest.mark.parametrize("option", ["--iterations", "--learning-rate"])
@pytest.mark.parametrize("count", [1, len(STEPS) - 1, len(STEPS) + 1])
def test_there_is_one_value_for_each_step(option, count):
    field = option.strip("-").replace("-", "_")
    message = rf"^{option} \(field options.{field}\): has {count} values? for 4 steps; give one value for each step"
    with pytest.raises(InputError, match=message):
        with_table(options_of(option, *["1"] * count))


def test_a_fifth_step_is_a_row_of_the_table_alone(monkeypatch):
    monkeypatch.setattr(four_steps, "STEPS", (*STEPS, STEPS[-1]._replace(number=5, iterations=7)))
    assert with_table(options_of()).iterations == (80000, 40000, 80000, 40000, 7)
    assert with_table(options_of("--iterations", *"12345")).learning_rate == (0.001,) * 5


def test_the_backbone_is_proved_to_be_that_of_step_2(make_model, tmp_path, capsys):
    model = make_model()
    none = Dataset("none", model.class_names, (), {})
    run = Run(tmp_path, None, model.config, none, none)
    save_parts(weights_path(tmp_path, "step2"), model, ("backbone", "head"))
    check_shared_backbone(run, model)
    assert "share one backbone of 26 variables, unchanged since step 2" in capsys.readouterr().out
    kernel = model.backbone.convolutions[-1].kernel
    values = kernel.numpy()
    values[0, 0, 0, 0] = np.nextafter(values[0, 0, 0, 0], np.float32(9))  # one bit
    kernel.assign(values)
    with pytest.raises(AssertionError, match="changed after step 2"):
        check_shared_backbone(run, model)
