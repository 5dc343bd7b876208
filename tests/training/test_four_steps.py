"""The four steps as the paper has them, and the rules around them."""

import pytest

from keras_frcnn.facts.config import DetectorConfig
from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.settings import settings_of
from training.alternate import parse_arguments
from training.four_steps import FOUR_STEPS, JOINT_TRAINING, TOGETHER, four_steps, joint_training
from training.joint import parse_arguments as parse_joint_arguments
from training.run.options.declared import AlternationSchedule

REQUIRED = ["--data", "synthetic", "--run", "r", "--weights", "none"]


def options_of(*arguments):
    return parse_arguments([*REQUIRED, *arguments]).options


def test_the_table_is_the_papers():
    """Section 3.2: what each of the four steps trains, from what, and on whose proposals."""
    assert [(step.name, step.trains) for step in FOUR_STEPS] == [
        ("step1", ("backbone", "rpn")),
        ("step2", ("backbone", "head")),
        ("step3", ("rpn",)),  # "we fix the shared convolutional layers"
        ("step4", ("head",)),  # "keeping the shared convolutional layers fixed"
    ]
    assert [step.title for step in FOUR_STEPS] == ["step 1 RPN", "step 2 detector", "step 3 RPN", "step 4 detector"]
    assert [step.backbone_from for step in FOUR_STEPS] == ["pretrained", "pretrained", "step2", "step2"]
    assert [step.head_from for step in FOUR_STEPS] == [None, "pretrained", None, "step2"]
    assert [step.rpn_from for step in FOUR_STEPS] == ["new", None, "step1", "step3"]
    assert [step.proposals_from for step in FOUR_STEPS] == [None, "step1", None, "step3"]
    assert [step.measured_on for step in FOUR_STEPS] == [None, "step1", None, None]


def test_joint_training_trains_all_at_once():
    (step,) = JOINT_TRAINING
    assert step.trains == ("backbone", "rpn", "head") and step.proposals_from is step.measured_on is None
    assert (step.backbone_from, step.rpn_from, step.head_from) == ("pretrained", "new", "pretrained")


def test_the_defaults_are_the_papers():
    options = options_of()
    assert options.detector == DetectorConfig()
    assert options.iterations == (80000, 40000, 80000, 40000)
    assert options.learning_rate == (0.001,) * 4 and options.drop_at == (0.75,)
    assert (options.rpn_images, options.head_images) == ((1,), (2,))
    assert (options.momentum, options.weight_decay) == (0.9, 0.0005)
    assert four_steps(options) == tuple(step._replace(seed=seed) for seed, step in enumerate(FOUR_STEPS, start=1))
    (joint,) = joint_training(parse_joint_arguments(REQUIRED).options)
    assert joint == JOINT_TRAINING[0]


def test_options_become_the_schedule_of_each_step():
    given = "--iterations 5 6 7 8 --learning-rate 0.1 0.2 0.3 0.4 --rpn-images 3 --head-images 4 --seed 10"
    steps = four_steps(options_of(*given.split()))
    assert [step[-5:] for step in steps] == [
        (5, 3, 0.1, 0.75, 41), (6, 4, 0.2, 0.75, 42), (7, 3, 0.3, 0.75, 43), (8, 4, 0.4, 0.75, 44)
    ]  # fmt: skip
    assert [step[:-5] for step in steps] == [step[:-5] for step in FOUR_STEPS]
    given = "--iterations 5 --learning-rate 0.1 --images 3 --seed 10"
    (step,) = joint_training(parse_joint_arguments([*REQUIRED, *given.split()]).options)
    assert step[-5:] == (5, 3, 0.1, 50 / 70, 10)


def test_images_and_drops_may_differ_between_the_steps():
    steps = four_steps(options_of(*"--rpn-images 1 4 --head-images 2 3 --drop-at 0.5 0.6 0.7 0.8".split()))
    assert [step.images for step in steps] == [1, 2, 4, 3]
    assert [step.drop_at for step in steps] == [0.5, 0.6, 0.7, 0.8]


@pytest.mark.parametrize(
    ("given", "option", "count", "steps"),
    [
        ("--drop-at 0.5 0.6", "drop-at", 2, 4),
        ("--rpn-images 1 2 3", "rpn-images", 3, 2),
        ("--last-steps together --head-images 1 2", "head-images", 2, 1),
        ("--last-steps together --iterations 1 2 3 4", "iterations", 4, 3),
    ],
)
def test_a_wrong_number_of_values_is_named(given, option, count, steps):
    with pytest.raises(InputError) as error:
        options_of(*given.split())
    field = f"--{option} (field options.{option.replace('-', '_')})"
    assert str(error.value).startswith(
        f"{field}: has {count} values for {steps} step{'s' * (steps > 1)}; give one value"
    )


def test_joint_training_has_one_drop():
    (step,) = joint_training(parse_joint_arguments([*REQUIRED, "--drop-at", "0.5"]).options)
    assert step.drop_at == 0.5
    with pytest.raises(InputError, match=r"^--drop-at \(field options.drop_at\): has 2 values for 1 step; give one"):
        parse_joint_arguments([*REQUIRED, "--drop-at", "0.5", "0.6"])


def test_step_2_can_start_from_the_convolutions_of_step_1():
    steps = four_steps(options_of("--step2-backbone", "step1"))
    assert [step.backbone_from for step in steps] == ["pretrained", "step1", "step2", "step2"]
    assert [step.backbone_from for step in four_steps(options_of())] == ["pretrained", "pretrained", "step2", "step2"]


def test_the_last_steps_can_be_one():
    options = options_of(*"--last-steps together --rpn-images 1 4 --seed 2".split())
    *first, last = four_steps(options)
    assert [step.name for step in first] == ["step1", "step2"] and options.iterations == (80000, 40000, 80000)
    assert last.trains == ("rpn", "head") and (last.backbone_from, last.rpn_from, last.head_from) == (
        "step2",
        "step1",
        "step2",
    )
    assert last.proposals_from is None and last.measured_on is None and last.images == 4 and last.seed == 11


def test_help_names_the_defaults_of_the_tables():
    texts = {setting.name: setting.none_text for setting in settings_of(AlternationSchedule)}
    by_network = {step.title.split()[-1]: step.iterations for step in FOUR_STEPS}
    assert texts["iterations"] == "{RPN} for an RPN step, {detector} for a detector step".format(**by_network)
    assert {step.learning_rate for step in FOUR_STEPS} == {0.001} and texts["learning_rate"].startswith("0.001 ")


def test_given_iterations_and_learning_rates_replace_the_tables():
    options = options_of("--iterations", *"1234", "--learning-rate", *"4321")
    assert options.iterations == (1, 2, 3, 4) and options.learning_rate == (4.0, 3.0, 2.0, 1.0)


@pytest.mark.parametrize("option", ["--iterations", "--learning-rate"])
@pytest.mark.parametrize("count", [1, len(FOUR_STEPS) - 1, len(FOUR_STEPS) + 1])
def test_there_is_one_value_for_each_step(option, count):
    field = option.strip("-").replace("-", "_")
    steps = f"{len(FOUR_STEPS)} steps"
    message = rf"^{option} \(field options.{field}\): has {count} values? for {steps}; give one value for each step"
    with pytest.raises(InputError, match=message):
        options_of(option, *["1"] * count)


def test_a_fifth_step_is_a_row_of_the_table_alone(monkeypatch):
    fifth = FOUR_STEPS[-1]._replace(name="step5", iterations=7)
    monkeypatch.setattr("training.four_steps.FOUR_STEPS", (*FOUR_STEPS, fifth))
    assert options_of().iterations == (80000, 40000, 80000, 40000, 7)
    options = options_of("--iterations", *"12345", "--seed", "2")
    assert options.learning_rate == (0.001,) * 5
    assert [(step.name, step.iterations, step.seed) for step in four_steps(options)] == [
        ("step1", 1, 9), ("step2", 2, 10), ("step3", 3, 11), ("step4", 4, 12), ("step5", 5, 13)
    ]  # fmt: skip


def test_what_a_step_is_made_of():
    assert [step.sources for step in FOUR_STEPS] == [(), ("step1",), ("step2", "step1"), ("step2", "step3")]
    assert TOGETHER.sources == ("step2", "step1") and JOINT_TRAINING[0].sources == ()
