"""The four steps as the paper has them, and the rules around them."""

import numpy as np
import pytest

from keras_frcnn.facts.config import DetectorConfig, config_to_dict
from keras_frcnn.data.example import Dataset
from training.alternate import parse_arguments
from training.four_steps import STEPS, check_shared_backbone
from training.run.start import Run, detector_config
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
    options = options_of()
    assert detector_config(options) == DetectorConfig()
    assert tuple(options.steps) == (80000, 40000, 80000, 40000)
    assert tuple(options.learning_rate) == (0.001,) * 4 and options.drop_at == 0.75
    assert (options.rpn_images, options.head_images) == (1, 2)
    assert (options.momentum, options.weight_decay) == (0.9, 0.0005)


def test_each_option_changes_its_field_alone():
    given = {
        "--short-side 64": ("image", "short_side", 64),
        "--long-side 128": ("image", "long_side", 128),
        "--anchor-scales 16 32": ("anchors", "scales", [16, 32]),
        "--anchor-ratios 1": ("anchors", "ratios", [1]),
        "--min-size 4": ("rpn", "min_size", 4),
        "--rois 32": ("head", "batch_size", 32),
        "--fc-units 256": ("head", "fc_units", 256),
        "--nms-iou 0.5": ("test", "nms_iou", 0.5),
        "--dropout 0": ("head", "dropout", 0.0),
    }
    for arguments, (section, name, value) in given.items():
        expected = config_to_dict(DetectorConfig())
        assert expected[section][name] != value
        expected[section][name] = value
        assert config_to_dict(detector_config(options_of(*arguments.split()))) == expected


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
