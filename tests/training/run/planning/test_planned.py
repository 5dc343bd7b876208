"""The plan of a run: made once, kept in the run folder, and the same when the run is resumed."""

import json
from pathlib import Path

import pytest

from keras_frcnn.facts.config import AnchorConfig, DetectorConfig, HeadConfig
from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.files import read_json, write_json
from keras_frcnn.network.weights.pretrained import PretrainedVGG16
from keras_frcnn.network.weights.warm_start import TrainedDetector
from training.alternate import parse_arguments
from training.four_steps import four_steps
from training.reporting.plan_tables import plan_tables
from training.run.folder import keep_plan
from training.run.options.reading import to_configuration
from training.run.planning import planned as module
from training.run.planning.costs import Costs, Line, Machine
from training.run.planning.planner import Tools
from training.run.planning.rules.network import StartFacts
from training.run.start import Planned, open_run, read_data, with_val_images

LINE = Line(0.1, 1.0)
KINDS = ("backbone+rpn", "backbone+head", "rpn", "head")
MACHINE = Machine(Costs(dict.fromkeys(KINDS, LINE), LINE, LINE, LINE, 1.0), 2**34, 2**34)
SIZES = ("--anchor-scales", "16", "32", "--short-side", "64", "--fc-units", "32")


@pytest.fixture
def plans(monkeypatch):
    """The number of plans that were made, with a made machine."""
    made = []

    def make(request, make_steps, data, start, spent, folder):
        made.append(folder)
        tools = Tools(lambda: 1.5, lambda *_: MACHINE, lambda *_: None, spent)
        count, given = len(data.val_set.examples), frozenset(request.values)
        facts = module.start_facts(start)
        return module.make_plan(request.options, given, make_steps, data.train_set, count, facts, tools)

    monkeypatch.setattr(module, "make", make)
    return made


def asked(tree, folder, *words):
    return parse_arguments(["--data", f"voc:{tree}", "--run", str(folder), "--weights", "none", *SIZES, *words])


def planned(request):
    """The options and the forecast; a new plan is written, as a run does."""
    options, forecast, file = module.plan_run(request, four_steps, read_data(request.options), None, lambda: 12.0)
    if file is not None:
        keep_plan(Path(request.options.run), file)
    return Planned(options, forecast)


def test_without_a_plan_nothing_changes(voc_tree, tmp_path):
    request = asked(voc_tree, tmp_path / "run")
    assert planned(request) == Planned(request.options, None)
    assert not (tmp_path / "run").exists()


def test_a_plan_is_made_once_and_a_resumed_run_has_the_same_options(voc_tree, tmp_path, plans):
    request = asked(voc_tree, tmp_path / "run", "--plan", "auto", "--budget", "10m")
    first = planned(request)
    assert plans == [tmp_path / "run"] and first.forecast.budget == 600.0 and first.forecast.start > 12.0
    assert first.options.iterations == tuple(step.iterations for step in first.forecast.steps)
    assert first.options.plan == "paper" and first.options.budget is None  # config.json has nothing left to plan
    open_run(first.options, read_data(request.options))
    assert planned(request) == first and len(plans) == 1
    open_run(planned(request).options, read_data(request.options))  # and the run folder accepts it


def test_a_plan_that_was_not_followed_by_a_run_is_made_again(voc_tree, tmp_path, plans):
    request = asked(voc_tree, tmp_path / "run", "--plan", "auto", "--budget", "10m")
    planned(request)
    assert planned(request).forecast.budget == 600.0 and len(plans) == 2
    open_run(planned(request).options, read_data(request.options))  # the plan in the folder does not stop the run


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is missing: this run was started without a plan, or the file was lost; leave out the plan and the"),
        ("{", "is not JSON"),
        ("{}", "has no section plan; restore it"),
        ('{"plan": {}}', "field plan: is not the section of a plan"),
        ('{"options": {"warmup": -1}}', "field options.warmup must be at least 0"),
    ],
)
def test_a_damaged_plan_of_a_run_is_named(voc_tree, tmp_path, plans, content, message):
    request = asked(voc_tree, tmp_path / "run", "--plan", "auto", "--budget", "10m")
    open_run(planned(request).options, read_data(request.options))
    path = tmp_path / "run" / "plan.json"
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(InputError) as error:
        planned(request)
    assert str(error.value).startswith(str(path)) and message in str(error.value)


def test_another_budget_is_refused_when_a_run_is_resumed(voc_tree, tmp_path, plans):
    request = asked(voc_tree, tmp_path / "run", "--plan", "auto", "--budget", "10m")
    open_run(planned(request).options, read_data(request.options))
    assert planned(asked(voc_tree, tmp_path / "run", "--plan", "auto", "--budget", "600s")).forecast.budget == 600.0
    with pytest.raises(InputError, match="--budget 20m: this run was started with a budget of 10m; give the same"):
        planned(asked(voc_tree, tmp_path / "run", "--plan", "auto", "--budget", "20m"))


def test_a_budget_is_printed_as_it_can_be_given(voc_tree, tmp_path, plans):
    words = ("--plan", "auto", "--budget")
    request = asked(voc_tree, tmp_path / "run", *words, "1.7h")
    open_run(planned(request).options, read_data(request.options))
    with pytest.raises(InputError, match="--budget 1.6h: this run was started with a budget of 102m; give the same"):
        planned(asked(voc_tree, tmp_path / "run", *words, "1.6h"))
    assert planned(asked(voc_tree, tmp_path / "run", *words, "102m")) == planned(request)


@pytest.mark.parametrize(
    ("words", "field"),
    [(("--deterministic",), "options.deterministic"), (("--train", "train+val"), "options.train"),
     (("--momentum", "0.5"), "options.momentum")],
)  # fmt: skip
def test_an_option_of_the_start_must_be_given_again(voc_tree, tmp_path, plans, words, field):
    plan = ("--plan", "auto", "--budget", "10m")
    request = asked(voc_tree, tmp_path / "run", *plan, *words)
    open_run(planned(request).options, read_data(request.options))
    open_run(planned(request).options, read_data(request.options))  # with the same options, it resumes
    without = asked(voc_tree, tmp_path / "run", *plan)
    with pytest.raises(InputError, match=f"config.json, field {field}: this run was started with"):
        open_run(planned(without).options, read_data(without.options))


def test_a_run_with_a_budget_does_not_resume_without_it(voc_tree, tmp_path, plans):
    folder = tmp_path / "run"
    request = asked(voc_tree, folder, "--plan", "auto", "--budget", "10m")
    open_run(planned(request).options, read_data(request.options))
    write_json(folder / "budget.json", {})
    for words in ((), ("--config", str(folder / "config.json"))):
        with pytest.raises(InputError, match=f"{folder}: this run was started with a budget; give its --plan and"):
            planned(asked(voc_tree, folder, *words))
    assert planned(request).forecast is not None


def test_a_folder_in_use_is_refused_before_anything_is_planned_or_written(voc_tree, tmp_path, plans):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="is not empty and holds no config.json of a run"):
        planned(asked(voc_tree, tmp_path / "run", "--plan", "auto", "--budget", "10m"))
    assert not plans and [path.name for path in (tmp_path / "run").iterdir()] == ["notes.txt"]


@pytest.fixture
def plan_file(voc_tree, tmp_path, plans):
    request = asked(voc_tree, tmp_path / "first", "--plan", "auto", "--budget", "10m")
    planned(request)
    path = tmp_path / "plan.json"
    (tmp_path / "first" / "plan.json").rename(path)
    return path


def test_a_plan_file_is_followed_and_can_be_edited(voc_tree, tmp_path, plan_file):
    values = read_json(plan_file)
    iterations = values["options"]["iterations"]
    values["options"] |= {"iterations": [10, 20, 30, 40], "warmup": 3}
    write_json(plan_file, values)
    request = asked(voc_tree, tmp_path / "run", "--config", str(plan_file))
    found = planned(request)
    assert found.options.iterations == (10, 20, 30, 40) != tuple(iterations) and found.options.warmup == 3
    assert [step.iterations for step in found.forecast.steps] == [10, 20, 30, 40]
    assert found.forecast.start == 12.0 and found.forecast.budget == 600.0
    open_run(found.options, read_data(request.options))
    assert planned(request) == found


def test_a_plan_file_in_the_run_folder_keeps_all_that_it_holds(voc_tree, tmp_path, plan_file):
    folder = tmp_path / "run"
    folder.mkdir()
    path = plan_file.rename(folder / "plan.json")
    before = read_json(path)
    request = asked(voc_tree, folder, "--config", str(path))
    found = planned(request)
    after = read_json(path)
    assert before["options"].items() <= after["options"].items() and after["detector"] == before["detector"]
    open_run(found.options, read_data(request.options))
    assert planned(asked(voc_tree, folder, "--config", str(path))) == found


def test_another_budget_than_that_of_the_plan_file_is_refused(voc_tree, tmp_path, plan_file):
    with pytest.raises(InputError, match="--budget 5m: this plan was made for a budget of 10m; leave it out, or make"):
        planned(asked(voc_tree, tmp_path / "run", "--config", str(plan_file), "--budget", "5m"))
    assert planned(asked(voc_tree, tmp_path / "run", "--config", str(plan_file), "--budget", "600s")).forecast


def test_a_plan_file_holds_what_was_given_too(voc_tree, tmp_path, plan_file):
    values = read_json(plan_file)
    assert values["detector"]["image"]["short_side"] == 64 and values["options"]["data"] == f"voc:{voc_tree}"
    assert not {"run", "plan"} & values["options"].keys()
    asked_again = parse_arguments(["--config", str(plan_file), "--run", str(tmp_path / "run")])
    assert planned(asked_again).options.detector.image.short_side == 64


def test_without_its_budget_a_plan_file_has_exactly_these_iterations(voc_tree, tmp_path, plan_file):
    values = read_json(plan_file)
    del values["options"]["budget"]
    write_json(plan_file, values)
    found = planned(asked(voc_tree, tmp_path / "run", "--config", str(plan_file)))
    assert found.forecast is None and list(found.options.iterations) == values["options"]["iterations"]


def test_a_plan_for_another_command_is_refused(voc_tree, tmp_path, plan_file):
    values = read_json(plan_file)
    values["plan"]["forecast"]["steps"] = values["plan"]["forecast"]["steps"][:1]
    write_json(plan_file, values)
    with pytest.raises(InputError, match=r"--config, field plan\.forecast\.steps: has no step2, step3, step4;"):
        planned(asked(voc_tree, tmp_path / "run", "--config", str(plan_file)))


def test_the_report_shows_what_was_chosen_and_how_long_it_took(voc_tree, tmp_path, plans):
    request = asked(voc_tree, tmp_path / "run", "--plan", "auto", "--budget", "10m")
    found = planned(request)
    configuration = json.loads(json.dumps(to_configuration(found.options)))
    tables = plan_tables(tmp_path / "run", configuration)
    by_field = {row[0]: row[1:] for row in tables.choices.rows}
    assert by_field["detector.rpn.min_size"][0] == f"{found.options.detector.rpn.min_size}"
    assert by_field["options.iterations"][0] == " ".join(map(str, found.options.iterations))
    assert "detector.head.fc_units" not in by_field and tables.times is None  # it was given
    steps = {
        "step1": {"iterations": 7, "times": 3, "seconds": 90.0},
        "step2": {"iterations": 5, "times": 1, "seconds": None},
    }
    write_json(tmp_path / "run" / "budget.json", {"budget": 600.0, "spent": 570.0, "steps": steps})
    tables = plan_tables(tmp_path / "run", configuration)
    forecast = found.forecast.steps[0]
    first = ("step1", str(forecast.iterations), "7", f"{forecast.seconds / 60:.1f}", "1.5")
    assert tables.times.rows[0] == first and tables.times.rows[1][2::2] == ("5", "") and tables.times.rows[2][2] == ""
    assert (tables.budget, tables.spent) == (10.0, 9.5)
    assert plan_tables(tmp_path, configuration) is None


def test_facts_about_the_starting_weights():
    import numpy as np

    layers = {"fc1": (np.zeros((4, 256)), np.zeros(256))}
    anchors = AnchorConfig((9.0,), (1.0,))
    detector = TrainedDetector({}, DetectorConfig(anchors=anchors, head=HeadConfig(fc_units=64)), ("cat",), "runs/a")
    assert module.start_facts(None) == StartFacts(None, None) == module.start_facts(PretrainedVGG16({}, "imagenet"))
    assert module.start_facts(PretrainedVGG16(layers, "imagenet-full")) == StartFacts(256, None)
    assert module.start_facts(detector) == StartFacts(64, anchors)


def test_some_pictures_of_the_validation_set(voc_tree, tmp_path):
    data = read_data(asked(voc_tree, tmp_path / "run", "--val", "train+val").options)
    names = [example.image_id for example in data.val_set.examples]
    assert len(names) == 6 and with_val_images(data, None) is data
    assert with_val_images(data, 6).val_set is data.val_set
    some = [example.image_id for example in with_val_images(data, 3).val_set.examples]
    assert len(some) == 3 and some == [name for name in names if name in some] and some != names[:3]
    assert with_val_images(data, 3).val_set == with_val_images(data, 3).val_set
