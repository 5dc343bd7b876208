"""Every option of training: by the command line, by --config, and refused out of range, as its declaration says."""

import dataclasses
import json
import math

import pytest

from keras_frcnn.facts.config import DetectorConfig, HeadConfig, config_to_dict
from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.settings import Limits, settings_of
from training import alternate, joint
from training.four_steps import FOUR_STEPS
from training.run.options.declared import SECTION, AlternationOptions, CacheOptions, JointOptions
from training.run.options.reading import changeable_fields, to_configuration

REQUIRED = ("--data", "synthetic", "--run", "r", "--weights", "none")


def alternation(arguments):
    return alternate.parse_arguments(arguments).options


def joint_training(arguments):
    return joint.parse_arguments(arguments).options


KINDS = {AlternationOptions: alternation, JointOptions: joint_training}
# A plan needs a budget and a budget needs a plan: tests/training/test_plan_options.py has both.  With last steps that
# run together, there are fewer iterations: tests/training/test_four_steps.py.
NOT_ALONE = ("options.plan", "options.budget", "options.last_steps")
SETTINGS = [
    pytest.param(kind, one, id=f"{kind.__name__}-{one.key}")
    for kind in KINDS
    for one in settings_of(kind, SECTION)
    if one.key not in NOT_ALONE
]


COMPANIONS = dict.fromkeys(  # they need it
    ("options.keep", "options.patience", "options.validate_images"), ("--validate-every", "5")
)


def other_value(one):
    """A right value that is not the default, as JSON has it."""
    if one.kind is bool:
        value = not one.default
    elif one.kind is str:
        value = next(choice for choice in (one.choices or ("other",)) if choice != one.default)
    else:
        defaults = one.default if one.is_list and one.default else (one.default,)
        value = next(number for number in (1, 2, 0.25) if number not in defaults and one.limits.hold(number))
        assert one.kind is not int or type(value) is int
    counts = {"options.iterations": len(FOUR_STEPS), "options.learning_rate": len(FOUR_STEPS), "options.drop_at": 1}
    return [value] * (one.length or counts.get(one.key, 2)) if one.is_list else value


def bad_values(one):
    """Values outside of the range, one for each bound, as JSON has them."""
    steps = {"more_than": 0, "at_least": -1, "less_than": 0, "at_most": 1}
    values = [bound + steps[name] for name, bound in one.limits._asdict().items() if bound is not None]
    values += [math.nan, math.inf] if one.kind is float else ["none of them"] if one.choices else []
    return [[value] * (one.length or 1) if one.is_list else value for value in values]


def as_words(one, value):
    if one.kind is bool:
        return [one.option if value else one.option.replace("--", "--no-", 1)]
    return [one.option, *map(str, value if isinstance(value, list) else [value])]


def fields_of(options):
    """Every field of config.json by its path, as JSON has them."""
    configuration = json.loads(json.dumps(to_configuration(options)))
    sections = {SECTION: configuration.pop(SECTION)}
    sections |= {f"detector.{name}": fields for name, fields in configuration["detector"].items()}
    return {f"{section}.{name}": value for section, fields in sections.items() for name, value in fields.items()}


def write_config(tmp_path, key, value):
    *sections, name = key.split(".")
    values = {name: value}
    for section in reversed(sections):
        values = {section: values}
    path = tmp_path / "given.json"
    path.write_text(json.dumps(values))
    return path


def test_there_is_a_setting_for_each_field():
    for kind, parse in KINDS.items():
        fields = fields_of(parse(REQUIRED))
        assert sorted(fields) == sorted(one.key for one in settings_of(kind, SECTION)) and len(fields) > 55
    detector = config_to_dict(DetectorConfig())
    assert sum(map(len, detector.values())) == sum(key.startswith("detector.") for key in fields) >= 31


@pytest.mark.parametrize(("kind", "one"), SETTINGS)
def test_the_option_changes_its_field_alone(kind, one):
    needed = [*REQUIRED, *COMPANIONS.get(one.key, ())]
    before, value = fields_of(KINDS[kind](needed)), other_value(one)
    after = fields_of(KINDS[kind]([*needed, *as_words(one, value)]))
    assert before[one.key] != value and after == {**before, one.key: value}


@pytest.mark.parametrize(("kind", "one"), SETTINGS)
def test_the_field_of_a_config_file_changes_it_alone(kind, one, tmp_path):
    needed = [*REQUIRED, *COMPANIONS.get(one.key, ())]
    before, value = fields_of(KINDS[kind](needed)), other_value(one)
    if one.option in needed:  # the command line would win
        del needed[needed.index(one.option) : needed.index(one.option) + 2]
    after = fields_of(KINDS[kind]([*needed, "--config", str(write_config(tmp_path, one.key, value))]))
    assert before[one.key] != value and after == {**before, one.key: value}


@pytest.mark.parametrize(("kind", "one"), SETTINGS)
def test_a_number_has_a_range(kind, one):
    assert one.kind in (str, bool) or one.limits != Limits()
    assert bool(bad_values(one)) == (one.kind in (int, float) or one.choices is not None)


@pytest.mark.parametrize(("kind", "one"), SETTINGS)
def test_out_of_range_is_refused_and_named(kind, one, tmp_path):
    rule = one.range_text()
    for value in bad_values(one):
        with pytest.raises(InputError) as raised:
            KINDS[kind]([*REQUIRED, *as_words(one, value)])
        assert str(raised.value).startswith(f"{one.option} must ") and f"{rule} (got " in str(raised.value)
        path = write_config(tmp_path, one.key, value)
        with pytest.raises(InputError) as raised:
            KINDS[kind]([*REQUIRED, "--config", str(path)])
        assert str(raised.value).startswith(f"{path}, field {one.key} must ") and rule in str(raised.value)


@pytest.mark.parametrize(("kind", "one"), [pair for pair in SETTINGS if pair.values[1].kind is int])
def test_a_whole_number_has_32_bits(kind, one):
    value = [2**31] * (one.length or 1) if one.is_list else 2**31
    with pytest.raises(InputError, match=rf"^{one.option} must .*(at most|less than) \d+ \(got 2147483648\)"):
        KINDS[kind]([*REQUIRED, *as_words(one, value)])


@pytest.mark.parametrize(("kind", "one"), SETTINGS)
def test_another_type_in_a_config_file_is_refused_and_named(kind, one, tmp_path):
    path = write_config(tmp_path, one.key, {"x": 1})
    with pytest.raises(InputError) as raised:
        KINDS[kind]([*REQUIRED, "--config", str(path)])
    assert str(raised.value).startswith(f"{path}, field {one.key} must be ")


def test_the_message_of_an_option():
    with pytest.raises(InputError) as raised:
        alternation([*REQUIRED, "--rois", "-3"])
    assert str(raised.value) == "--rois must be greater than 0 and at most 20000 (got -3)."


@pytest.mark.parametrize(
    ("arguments", "key", "value"),
    [
        ("--short-side 64", "detector.image.short_side", 64),
        ("--long-side 128", "detector.image.long_side", 128),
        ("--anchor-scales 16 32", "detector.anchors.scales", [16, 32]),
        ("--anchor-ratios 1", "detector.anchors.ratios", [1]),
        ("--min-size 4", "detector.rpn.min_size", 4),
        ("--rpn-positive-iou 0.6", "detector.rpn.positive_iou", 0.6),
        ("--rpn-nms-iou 0.6", "detector.rpn.nms_iou", 0.6),
        ("--rpn-train-post-nms-topk 9", "detector.rpn.train_post_nms_topk", 9),
        ("--rois 32", "detector.head.batch_size", 32),
        ("--fc-units 256", "detector.head.fc_units", 256),
        ("--dropout 0", "detector.head.dropout", 0),
        ("--head-pool-size 3", "detector.head.pool_size", 3),
        ("--nms-iou 0.5", "detector.test.nms_iou", 0.5),
        ("--test-score-threshold 0.2", "detector.test.score_threshold", 0.2),
        ("--checkpoint-iterations 5", "options.checkpoint_iterations", 5),
    ],
)
def test_names_of_options(arguments, key, value):
    assert fields_of(alternation([*REQUIRED, *arguments.split()]))[key] == value


def test_joint_training_has_its_own_defaults():
    options = joint_training(REQUIRED)
    assert options.detector == DetectorConfig(head=HeadConfig(batch_size=128)) and options.drop_at == (50 / 70,)
    assert (options.iterations, options.learning_rate, options.images) == (70000, 0.001, 1)
    assert alternation(REQUIRED).drop_at == (0.75,)
    few = joint_training([*REQUIRED, "--dropout", "0"]).detector
    assert few == DetectorConfig(head=HeadConfig(batch_size=128, dropout=0.0))


def test_the_command_line_wins_over_the_file_and_the_file_over_the_default(tmp_path):
    path = tmp_path / "given.json"
    values = {"options": {"seed": 5, "quiet": True, "val": "v"}, "detector": {"head": {"dropout": 0.1}}}
    path.write_text(json.dumps(values))
    words = "--no-quiet --val w --dropout 0.2".split()
    options = alternation([*REQUIRED, "--config", str(path), *words])
    assert (options.seed, options.quiet, options.val, options.train) == (5, False, "w", "train")
    assert options.detector.head == HeadConfig(dropout=0.2)
    assert alternation([*REQUIRED, "--config", str(path)]).detector.head.dropout == 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_a_configuration_given_back_gives_the_same_options(kind, tmp_path):
    """With the exception of --run, and with no value at its default."""
    given = [one for one in settings_of(kind, SECTION) if one.key not in NOT_ALONE]
    words = [word for one in given for word in as_words(one, other_value(one))]
    options = KINDS[kind](words)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(to_configuration(options)))
    assert KINDS[kind](["--config", str(path)]) == options
    again = KINDS[kind](["--config", str(path), "--run", "elsewhere"])
    assert again == dataclasses.replace(options, run="elsewhere") != options


def test_what_may_differ_in_a_resumed_run():
    assert changeable_fields(alternation(REQUIRED)) == {
        "options.run", "options.feature_cache_gib", "options.feature_cache_folder", "options.checkpoint_iterations",
        "options.checkpoint_minutes", "options.checkpoints", "options.quiet", "options.check_data", "options.metric",
        "options.max_pixels", "options.data", "options.images_root", "options.tfds_dir", "options.allow_download",
        "options.validate_images",
    }  # fmt: skip


def test_what_decides_the_weights_may_not_differ_in_a_resumed_run():
    every = changeable_fields(alternation(REQUIRED))
    validated = changeable_fields(alternation([*REQUIRED, "--validate-every", "10"]))
    assert every - validated == {"options.metric", "options.validate_images"}  # they choose the best weights
    rounded = changeable_fields(alternation([*REQUIRED, "--feature-cache-dtype", "float16"]))
    assert every - rounded == {"options.feature_cache_gib"}  # only stored features are rounded


@pytest.mark.parametrize("missing", ["--data", "--run", "--weights"])
def test_a_required_option_may_come_from_the_file_and_is_asked_for_by_name(tmp_path, missing):
    words = list(REQUIRED)
    place = words.index(missing)
    del words[place : place + 2]
    field = f"options.{missing[2:]}"
    with pytest.raises(InputError) as raised:
        alternation(words)
    assert str(raised.value) == f"{missing}: is required; give it, or {field} in the file of --config"
    path = write_config(tmp_path, field, "from the file")
    assert getattr(alternation([*words, "--config", str(path)]), missing[2:]) == "from the file"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"options": {"sead": 1}}', "{path}, field options.sead: no such field; use one of data, class_names,"),
        ('{"detector": {"rpn": {"chanels": 1}}}', "{path}, field detector.rpn.chanels: no such field; use one of"),
        ('{"detector": {"optimiser": {}}}', "{path}, field detector.optimiser: no such field; use one of anchors"),
        ('{"seed": 1}', "{path}, field seed: no such section; use one of options, detector"),
        ('{"options": {"images": 1}}', "{path}, field options.images: no such field"),  # of joint training
        ('{"options": {"seed": 1.5}}', "{path}, field options.seed must be a whole number (got 1.5)."),
        ('{"options": {"seed": NaN}}', "{path}, field options.seed must be a whole number (got nan)."),
        ('{"options": {"data": null}}', "{path}, field options.data must be a string (got None)."),
        ('{"options": ', "--config {path}: is not JSON ("),
        ("[]", "{path}: [] is not an object"),
    ],
)
def test_a_bad_config_file_is_named(tmp_path, text, message):
    path = tmp_path / "given.json"
    path.write_text(text)
    with pytest.raises(InputError) as raised:
        alternation([*REQUIRED, "--config", str(path)])
    assert str(raised.value).startswith(message.format(path=path))


def test_a_config_file_that_cannot_be_read_is_named(tmp_path):
    for path in (tmp_path / "gone.json", tmp_path):
        with pytest.raises(InputError, match=f"^--config {path}: cannot be read"):
            alternation([*REQUIRED, "--config", str(path)])
    binary = tmp_path / "binary.json"
    binary.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=f"^--config {binary}: is not JSON"):
        alternation([*REQUIRED, "--config", str(binary)])


OF_EACH_STEP = " ".join(map(str, range(3, 3 + len(FOUR_STEPS))))


@pytest.mark.parametrize(("parse", "values"), [(alternation, OF_EACH_STEP), (joint_training, "3")])
def test_steps_is_a_hidden_name_of_iterations(parse, values, capsys):
    old = parse([*REQUIRED, "--steps", *values.split(), "--checkpoint-steps", "7"])
    assert old == parse([*REQUIRED, "--iterations", *values.split(), "--checkpoint-iterations", "7"])
    assert old.checkpoint_iterations == 7 and str(old.iterations).strip("()").replace(",", "") == values
    with pytest.raises(SystemExit):
        parse(["--help"])
    shown = capsys.readouterr().out
    assert "--iterations" in shown and "--checkpoint-iterations" in shown
    assert "--steps" not in shown and "--checkpoint-steps" not in shown


def test_joint_training_stores_no_features_and_takes_no_options_for_them(capsys):
    names = {one.key for one in settings_of(CacheOptions, SECTION)}
    assert len(names) == 3 and not names & {one.key for one in settings_of(JointOptions, SECTION)}
    with pytest.raises(SystemExit):
        joint_training([*REQUIRED, "--feature-cache-gib", "1"])
    assert "unrecognized arguments: --feature-cache-gib" in capsys.readouterr().err
    assert names <= changeable_fields(joint_training(REQUIRED))  # config.json of an older version has them


@pytest.mark.parametrize("words", ["", "--feature-cache-gib 0", "--augment light"])
def test_when_features_are_stored(words):
    assert alternation([*REQUIRED, *words.split()]).stores_features == (not words)
