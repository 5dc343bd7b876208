"""The four steps as the paper has them, and the rules around them."""

import numpy as np
import pytest

from keras_frcnn.facts.config import DetectorConfig
from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.settings import settings_of
from keras_frcnn.network.weights.vgg16 import PretrainedVGG16
from training.alternate import parse_arguments
from training.four_steps import FOUR_STEPS, JOINT_TRAINING, four_steps, joint_training
from training.joint import parse_arguments as parse_joint_arguments
from training.run.options import AlternationSchedule
from training.run.start import apply_pretrained

REQUIRED = ["--data", "synthetic", "--run", "r", "--weights", "none"]


def options_of(*arguments):
    return parse_arguments([*REQUIRED, *arguments])


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
    assert options.learning_rate == (0.001,) * 4 and options.drop_at == 0.75
    assert (options.rpn_images, options.head_images) == (1, 2)
    assert (options.momentum, options.weight_decay) == (0.9, 0.0005)
    assert four_steps(options) == tuple(step._replace(seed=seed) for seed, step in enumerate(FOUR_STEPS, start=1))
    (joint,) = joint_training(parse_joint_arguments(REQUIRED))
    assert joint == JOINT_TRAINING[0]


def test_options_become_the_schedule_of_each_step():
    given = "--iterations 5 6 7 8 --learning-rate 0.1 0.2 0.3 0.4 --rpn-images 3 --head-images 4 --seed 10"
    steps = four_steps(options_of(*given.split()))
    assert [step[-4:] for step in steps] == [(5, 3, 0.1, 41), (6, 4, 0.2, 42), (7, 3, 0.3, 43), (8, 4, 0.4, 44)]
    assert [step[:-4] for step in steps] == [step[:-4] for step in FOUR_STEPS]
    given = "--iterations 5 --learning-rate 0.1 --images 3 --seed 10"
    (step,) = joint_training(parse_joint_arguments([*REQUIRED, *given.split()]))
    assert step[-4:] == (5, 3, 0.1, 10)


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
    message = rf"^{option} \(field options.{field}\): has {count} values? for 4 steps; give one value for each step"
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


def random_layers(model, fc1_rows=7 * 7 * 512, units=32):
    rng = np.random.default_rng(0)
    shapes = {layer.name: layer.kernel.shape for layer in model.backbone.convolutions}
    shapes |= {"fc1": (fc1_rows, units), "fc2": (units, units)}
    return {
        name: (rng.normal(size=shape).astype(np.float32), rng.normal(size=shape[-1]).astype(np.float32))
        for name, shape in shapes.items()
    }


def test_pretrained_weights_fill_the_backbone_fc6_and_fc7(make_model):
    model, layers = make_model(), None
    others = [value.copy() for value in model.rpn.get_weights() + model.head.class_logits.get_weights()]
    layers = random_layers(model)
    apply_pretrained(model, PretrainedVGG16(layers, "file.h5"))
    pairs = [(layer, layer.name) for layer in model.backbone.convolutions]
    for layer, name in [*pairs, (model.head.fc6, "fc1"), (model.head.fc7, "fc2")]:
        for a, b in zip(layer.get_weights(), layers[name], strict=True):
            np.testing.assert_array_equal(a, b, err_msg=name)
    for a, b in zip(model.rpn.get_weights() + model.head.class_logits.get_weights(), others, strict=True):
        np.testing.assert_array_equal(a, b)


def test_pretrained_weights_without_fc_leave_the_head(make_model):
    model = make_model()
    layers = {name: value for name, value in random_layers(model).items() if name.startswith("block")}
    before = model.head.get_weights()
    apply_pretrained(model, PretrainedVGG16(layers, "file.h5"))
    for a, b in zip(model.head.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_fc_layers_of_another_size_are_refused(make_model):
    model = make_model()
    pretrained = PretrainedVGG16(random_layers(model, units=64), "file.h5")
    message = r"^--weights file.h5, layer fc1: has shape \(25088, 64\), the detector's fc6 \(25088, 32\); leave"
    with pytest.raises(InputError, match=message):
        apply_pretrained(model, pretrained)
