"""A plan for data that was never seen: sensible anchors, memory and time, and what the user gave stays."""

import json

import numpy as np
import pytest

from keras_frcnn.data.doctor.anchors.coverage import anchor_coverage
from keras_frcnn.data.doctor.checks.objects import gather_objects
from keras_frcnn.data.example import Dataset, Example
from keras_frcnn.facts.config import AnchorConfig
from keras_frcnn.facts.errors import InputError
from training.alternate import parse_arguments as parse_alternation
from training.four_steps import four_steps, joint_training
from training.joint import parse_arguments as parse_joint
from training.run.options.reading import read_values
from training.run.planning.choice import choice_lines
from training.run.planning.costs import Costs, Line, Machine
from training.run.planning.plan_file import plan_lines, plan_to_json
from training.run.planning.planner import Tools, make_plan
from training.run.planning.rules.images import MEMORY_SHARE
from training.run.planning.rules.memory import memory_bytes
from training.run.planning.rules.network import StartFacts
from training.run.planning.rules.solver import detector_rate

VGA, SMALL, HUGE, WIDE, SQUARE = (480, 640), (240, 320), (4000, 6000), (400, 4000), (512, 512)


def boxes_in(size, heights, widths, rng):
    """Boxes of these sides at random places inside a picture: (N, 4) float32."""
    heights, widths = np.minimum(heights, size[0]), np.minimum(widths, size[1])
    top, left = rng.uniform(0, size[0] - heights), rng.uniform(0, size[1] - widths)
    return np.stack([top, left, top + heights, left + widths], axis=1).astype(np.float32)


def made(pictures=60, size=VGA, sides=(60, 200), ratio=1.0, objects=4, classes=3, empty=0.0, difficult=0.0, seed=0):
    """A data set.

    Args:
      pictures: how many.
      size: height and width, or a list of sizes that alternate.
      sides: the range of the square roots of the objects' areas.
      ratio: height / width of the objects, or a list of ratios that alternate; each varies by a tenth.
      objects: in a picture.
      classes: how many.
      empty: share of pictures without objects.
      difficult: share of objects that are difficult.
    """
    rng = np.random.default_rng(seed)
    sizes, ratios = (value if isinstance(value, list) else [value] for value in (size, ratio))
    examples = []
    for number in range(pictures):
        count = 0 if rng.random() < empty else objects
        roots = np.exp(rng.uniform(*np.log(sides), count))
        shapes = np.array([ratios[i % len(ratios)] for i in range(count)]) * np.exp(rng.uniform(-0.1, 0.1, count))
        own = sizes[number % len(sizes)]
        boxes = boxes_in(own, roots * np.sqrt(shapes), roots / np.sqrt(shapes), rng)
        labels = rng.integers(1, classes + 1, count).astype(np.int32)
        examples.append(Example(f"p{number}", f"p{number}.jpg", *own, boxes, labels, rng.random(count) < difficult))
    return Dataset("made", tuple(f"class{index}" for index in range(1, classes + 1)), tuple(examples), {})


DATASETS = {
    "tiny objects": made(sides=(16, 24)),
    "tiny objects in small pictures": made(size=SMALL, sides=(14, 20)),
    "satellite pictures": made(size=(1000, 1000), sides=(24, 40), objects=6),
    "tiny pictures": made(size=(64, 64), sides=(20, 40), objects=1),
    "huge pictures": made(size=HUGE, sides=(300, 900), pictures=30),
    "huge pictures with small objects": made(size=HUGE, sides=(180, 260), pictures=30),
    "panoramas of 1:10": made(size=WIDE, sides=(60, 200)),
    "panoramas and portraits": made(size=[WIDE, (640, 480)], sides=(60, 200)),
    "portraits": made(size=(640, 480)),
    "squares": made(size=SQUARE),
    "mixed sizes": made(size=[VGA, SMALL, SQUARE, (1080, 1920)], sides=(50, 150)),
    "wide thin objects": made(ratio=0.1, sides=(60, 120)),
    "high thin objects": made(ratio=10.0, sides=(40, 120)),
    "thin objects of both kinds": made(ratio=[0.125, 8.0], sides=(60, 120)),
    "long and square objects": made(ratio=[0.2, 1.0, 5.0], sides=(50, 200)),
    "objects of all sizes": made(sides=(24, 450), objects=6),
    "two sizes far apart": made(sides=(24, 30), objects=3, classes=1)._replace(
        examples=made(sides=(24, 30), objects=3, classes=1).examples + made(sides=(350, 450), classes=1).examples
    ),
    "objects as large as the picture": made(sides=(420, 470), objects=1),
    "one class": made(classes=1),
    "200 classes": made(classes=200, pictures=100),
    "20 pictures": made(pictures=20),
    "8 pictures": made(pictures=8, sides=(100, 200)),
    "one picture": made(pictures=1, objects=12),
    "most pictures empty": made(pictures=200, empty=0.9),
    "no objects": made(objects=0),
    "crowded": made(pictures=6, objects=100, sides=(30, 60)),
    "overlapping": made(pictures=20, objects=12, sides=(150, 250), classes=1),
    "half of the objects difficult": made(difficult=0.5),
    "like VOC": made(size=[(375, 500), (500, 375), (333, 500)], sides=(40, 350), objects=2, classes=20, pictures=150),
    "like blood cells": made(sides=(30, 200), objects=5),
}

MINUTE = 60.0
PAPER = "--anchor-scales 128 256 512"  # saves the search for anchors
NEW = StartFacts(None, None)
# As measured on two cores, in bfloat16.
KINDS = {
    "backbone+rpn": Line(0.15, 1.4), "backbone+head": Line(0.2, 1.4), "rpn": Line(0.02, 0.02), "head": Line(0.08, 0.04),
    "rpn+head": Line(0.1, 0.1), "backbone+rpn+head": Line(0.25, 1.5),
}  # fmt: skip
COSTS = Costs(KINDS, Line(0.01, 0.7), Line(0.002, 0.1), Line(0.05, 0.02), 3.0)
MACHINE = Machine(COSTS, memory=24 * 2**30, free_disk=50 * 2**30)


def tools(machine=MACHINE, speedup=1.9, recall=None, spent=40.0):
    return Tools(
        lambda: speedup, lambda detector, precision: machine, lambda detector, precision: recall, lambda: spent
    )


def plan(dataset, words="", budget="60m", val=20, start=NEW, joint=False, **changes):
    parse, steps = (parse_joint, joint_training) if joint else (parse_alternation, four_steps)
    request = parse(f"--data synthetic --weights none --run r --plan auto --budget {budget} {words}".split())
    return make_plan(request.options, frozenset(request.values), steps, dataset, val, start, tools(**changes))


def reasons(found):
    return {choice.key.split(".")[-1]: choice.reason for choice in found.choices}


def largest_pixels(dataset, image):
    sizes = np.array([(example.height, example.width) for example in dataset.examples], float)
    factor = np.minimum(image.short_side / sizes.min(axis=1), image.long_side / sizes.max(axis=1))
    return (sizes.prod(axis=1) * factor**2).max()


# The search for anchors takes seconds for each set, so the fast tests have a few of them.
FAST = ("tiny objects", "panoramas of 1:10", "one picture", "no objects", "like VOC")
PLANNED = [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in DATASETS]


@pytest.mark.parametrize("name", PLANNED)
def test_data_that_was_never_seen_is_planned_sensibly(name):
    dataset = DATASETS[name]
    found = plan(dataset, budget="2h")
    detector = found.options.detector
    objects = gather_objects([dataset], detector.image)
    if (~objects.difficult).sum() >= 10:
        assert anchor_coverage(objects, detector.anchors).shares[0] >= 0.9
    pixels = largest_pixels(dataset, detector.image)
    assert memory_bytes(detector, pixels, 1, found.facts.most_objects) < MEMORY_SHARE * MACHINE.memory
    assert found.forecast.seconds == pytest.approx(120 * MINUTE, rel=0.01)
    assert all(step.iterations >= 50 for step in found.forecast.steps)
    assert 1 <= detector.rpn.min_size <= 16
    # As a file, it gives the same options.
    values, notes = read_values(json.loads(json.dumps(plan_to_json(found, {}))), type(found.options), "plan.json")
    chosen = {choice.key: choice.value for choice in found.choices}
    assert values == {**chosen, "options.budget": "2h"} and notes is not None and notes.forecast == found.forecast
    assert len(plan_lines(found, type(found.options))) > len(found.choices)


def test_what_the_user_gives_stays_and_later_rules_see_it():
    given = "--short-side 300 --fc-units 256 --anchor-scales 20 40 --min-size 3 --learning-rate 1e-4 1e-4 1e-4 1e-4"
    found = plan(made(sides=(16, 24)), given)
    detector = found.options.detector
    assert (detector.image.short_side, detector.head.fc_units, detector.rpn.min_size) == (300, 256, 3.0)
    assert detector.anchors.scales == (20.0, 40.0) and detector.anchors.ratios == (0.5, 1.0, 2.0)
    assert found.options.learning_rate == (1e-4,) * 4
    assert detector.image.long_side == 500  # 5 / 3 of the given short side
    assert not {"short_side", "fc_units", "scales", "ratios", "min_size", "learning_rate"} & set(reasons(found))


def test_iterations_beside_a_budget_are_refused():
    with pytest.raises(InputError, match="--iterations: cannot be combined with --plan auto; leave one of them out"):
        plan(made(), "--iterations 1 1 1 1")


def test_more_time_gives_more_iterations_and_never_smaller_pictures():
    dataset = made(sides=(30, 60), pictures=200)
    sides, iterations = [], []
    for budget in ("15m", "30m", "1h", "2h", "4h"):
        found = plan(dataset, PAPER, budget=budget)
        sides.append(found.options.detector.image.short_side)
        iterations.append(plan(dataset, "--short-side 400 --long-side 700 " + PAPER, budget=budget).options.iterations)
    assert sides == sorted(sides) and sides[0] < sides[-1]
    assert (np.diff(iterations, axis=0) > 0).all()


def test_too_short_a_budget_names_the_least_that_works():
    with pytest.raises(
        InputError, match=r"--budget: a budget of 1m is too short for this data on this machine; give at least \d+m$"
    ) as error:
        plan(made(pictures=500), PAPER, budget="60s")
    least = int(str(error.value).split()[-1][:-1])
    assert plan(made(pictures=500), PAPER, budget=f"{least}m").forecast.seconds > 0


def test_joint_training_has_one_step_with_all_the_time():
    found = plan(made(), PAPER, joint=True)
    (step,) = found.forecast.steps
    assert found.options.iterations == step.iterations and found.options.learning_rate == 0.0008
    assert step.name == "joint" and step.seconds > 50 * MINUTE
    assert not reasons(found).keys() & {"step2_backbone", "feature_cache_gib"}  # which only the four steps use


@pytest.mark.parametrize(
    ("objects", "rate"),
    # 0.0002 for each object, between two limits, with one digit
    [(0.0, 0.0005), (1.0, 0.0005), (2.6, 0.0005), (3.2, 0.0006), (5.0, 0.001), (7.3, 0.001), (9.9, 0.002), (13, 0.002)],
)
def test_a_detector_has_the_rate_of_the_paper_for_as_many_objects(objects, rate):
    assert detector_rate(objects) == rate


def test_pictures_of_a_mini_batch_raise_the_rate_and_empty_ones_do_not_lower_it():
    rates = plan(made(objects=4), PAPER + " --head-images 2").options.learning_rate
    assert rates == (0.002, 0.002, 0.002, 0.002)  # 0.0016 with one digit
    half_empty = made(objects=4, pictures=200, empty=0.5)
    assert plan(half_empty, PAPER).options.learning_rate == (0.002, 0.0008, 0.002, 0.0008)


@pytest.mark.parametrize(("classes", "start"), [(5, "step1"), (6, "pretrained")])
def test_step_2_starts_from_step_1_only_with_few_classes(classes, start):
    found = plan(made(classes=classes), PAPER)
    assert found.options.step2_backbone == start
    assert f"there are {classes}" in reasons(found)["step2_backbone"]


def test_memory_limits_the_size_of_the_pictures():
    dataset = made(size=(4000, 4000), sides=(150, 200), pictures=20)
    small, large = plan(dataset, PAPER, machine=MACHINE._replace(memory=4 * 2**30)), plan(dataset, PAPER)
    image, larger = small.options.detector.image, large.options.detector.image
    assert image.short_side < larger.short_side
    assert "memory" in reasons(small)["short_side"] and "memory" not in reasons(large)["short_side"]


@pytest.mark.parametrize(("speedup", "precision"), [(1.1, "float32"), (1.3, "mixed_bfloat16")])
def test_precision_is_what_is_faster_here(speedup, precision):
    assert plan(made(), PAPER, speedup=speedup).options.precision == precision


@pytest.mark.parametrize(("start", "units"), [(StartFacts(None, None), 1024), (StartFacts(4096, None), 4096)])
def test_units_are_those_of_the_weights(start, units):
    assert plan(made(), PAPER, start=start).options.detector.head.fc_units == units


def test_a_trained_detector_keeps_its_anchors():
    anchors = AnchorConfig((33.0, 44.0), (1.0,))
    found = plan(made(), start=StartFacts(1024, anchors))
    assert found.options.detector.anchors == anchors
    assert reasons(found)["scales"] == "those of the detector that --weights names"


def test_anchors_leave_the_papers_only_if_they_do_not_learn_clearly_worse():
    dataset = made(sides=(110, 230), ratio=[0.75, 1.4])
    asked = []

    def recall(computed):
        def measured(anchors):
            asked.append(anchors)
            return 0.5 if anchors == AnchorConfig() else computed

        return measured

    size = "--short-side 480 --long-side 800"
    worse, enough = plan(dataset, size, recall=recall(0.44)), plan(dataset, size, recall=recall(0.46))
    assert worse.options.detector.anchors == AnchorConfig() != enough.options.detector.anchors
    assert "the others learn worse" in reasons(worse)["scales"]
    assert "0.460; with the paper's, 0.500" in reasons(enough)["scales"]
    assert len(asked) == 4 and asked[0] == AnchorConfig()


@pytest.mark.parametrize(
    ("overlapping", "iou", "chosen"),
    [(4, 0.9, 0.3), (6, 0.35, 0.4), (6, 0.45, 0.5), (6, 0.9, 0.5)],
)
def test_overlapping_objects_of_a_class_raise_the_threshold_of_suppression(overlapping, iou, chosen):
    """Of 100 objects, `overlapping` have another one of their class with this IoU; 4 % may be endangered."""
    shift = 40 * (1 - iou) / (1 + iou)  # the IoU of two boxes of 40 x 40 pixels is (40 - shift) / (40 + shift)
    pair = np.float32([[0, 100, 40, 140], [0, 100 + shift, 40, 140 + shift]])
    boxes = [pair] * (overlapping // 2) + [pair[:1]] * (100 - overlapping)
    examples = [
        Example(f"p{number}", "p.jpg", *VGA, own, np.ones(len(own), np.int32), np.zeros(len(own), bool))
        for number, own in enumerate(boxes)
    ]
    found = plan(Dataset("made", ("class1",), tuple(examples), {}), PAPER)
    assert found.options.detector.test.nms_iou == chosen


def test_crowded_pictures_keep_more_proposals_and_detections():
    test = plan(DATASETS["crowded"], PAPER).options.detector.test
    assert (test.post_nms_topk, test.max_detections) == (400, 150)  # 100 objects
    test = plan(made(), PAPER).options.detector.test
    assert (test.post_nms_topk, test.max_detections) == (300, 100)


def test_a_large_validation_set_is_measured_in_part():
    found = plan(made(), PAPER, val=20_000)
    count = found.options.val_images
    assert 0 < count < 20_000 and "of the budget" in reasons(found)["val_images"]
    assert found.forecast.seconds == pytest.approx(60 * MINUTE, rel=0.01)
    assert plan(made(), PAPER, val=50).options.val_images is None


def test_lines_name_the_options():
    found = plan(made(size=VGA), PAPER)
    lines = choice_lines(found.choices, type(found.options))
    assert any(line.startswith("--fc-units 1024") and "the starting weights have no fc6" in line for line in lines)
    assert any(line.startswith("--learning-rate 0.002 0.0008 0.002 0.0008") for line in lines)


def test_stored_features_fit_on_the_disk():
    dataset = made(pictures=500)
    found = plan(dataset, PAPER + " --short-side 480 --long-side 640", val=150)
    # 500 training pictures twice and 150 others, maps of 30 x 40 x 512 numbers of two bytes each, and a tenth more.
    assert 1.4 < 1.1 * 1150 * 30 * 40 * 512 * 2 / 2**30 < 1.5 == found.options.feature_cache_gib
    assert reasons(found)["feature_cache_gib"] == "the features of all pictures take 1.3 GiB"


@pytest.mark.parametrize(("words", "gib"), [("", 2.9), ("--feature-cache-dtype float16", 1.5)])
def test_stored_features_have_their_own_number_format(words, gib):
    size = " --short-side 480 --long-side 640 --precision float32 "
    assert plan(made(pictures=500), PAPER + size + words, val=150).options.feature_cache_gib == gib


@pytest.mark.parametrize(("free", "gib"), [(2**30, 0.5), (2**29, 0.2), (2**27, 0.0)])
def test_stored_features_take_at_most_half_of_the_free_disk(free, gib):
    words = PAPER + " --short-side 480 --long-side 640"
    found = plan(made(pictures=500), words, val=150, machine=MACHINE._replace(free_disk=free))
    assert found.options.feature_cache_gib == gib
    assert "more than half of the free disk" in reasons(found)["feature_cache_gib"]


@pytest.mark.parametrize(("replicas", "accumulate"), [(1, 1), (4, 2), (1, 8)])
def test_the_warmup_counts_updates_of_the_weights(replicas, accumulate):
    words = f"{PAPER} --short-side 200 --long-side 340 --accumulate {accumulate}"
    found = plan(made(), words, budget="60m", machine=MACHINE._replace(replicas=replicas))
    updates = min(found.options.iterations) // (replicas * accumulate)
    assert found.options.warmup == min(200, updates // 5) and (found.options.warmup < 200) == (updates < 1000)


def test_steps_of_few_updates_of_the_weights_are_too_short():
    """On 8 devices, an update takes 8 mini-batches, so the least budget is larger."""
    many = MACHINE._replace(replicas=8)
    with pytest.raises(InputError, match="is too short for this data on this machine; give at least") as error:
        plan(made(), PAPER, budget="6m", machine=many)
    assert plan(made(), PAPER, budget="6m").options.warmup > 0
    found = plan(made(), PAPER, budget=str(error.value).split()[-1], machine=many)
    steps = [planned for planned in found.forecast.steps if planned.name in ("step1", "step2")]
    assert all(planned.iterations >= 50 * 8 for planned in steps)


@pytest.mark.parametrize(
    ("words", "joint", "regions", "reason"),
    [
        ("", False, 128, "the paper's number in a mini-batch, now from one picture"),
        ("--head-images 2", False, 64, "128 in a mini-batch of 2 pictures; the paper has 128"),
        ("--head-images 1 3", False, 42, "126 in a mini-batch of 3 pictures; the paper has 128"),
        ("--head-images 200", False, 1, "200 in a mini-batch of 200 pictures; the paper has 128"),
        ("--images 4", True, 32, "128 in a mini-batch of 4 pictures; the paper has 128"),
    ],
)
def test_the_regions_of_a_mini_batch_are_those_of_the_paper(words, joint, regions, reason):
    words = f"{PAPER} --short-side 200 --long-side 340 {words}"
    found = plan(made(), words, joint=joint, budget="900h", machine=MACHINE._replace(memory=2**45))
    assert found.options.detector.head.batch_size == regions and reasons(found)["batch_size"] == reason


@pytest.mark.parametrize("words", ["--head-images 8", "--rpn-images 8", "--joint --images 8"])
def test_the_pictures_of_a_mini_batch_must_fit_into_the_memory(words):
    dataset, machine = made(size=(4000, 4000), sides=(150, 200), pictures=20), MACHINE._replace(memory=8 * 2**30)
    joint, words = "--joint" in words, words.replace("--joint", "")
    one, eight = (plan(dataset, f"{PAPER} {more}", "40h", joint=joint, machine=machine) for more in ("", words))
    small, large = (found.options.detector.image.short_side for found in (eight, one))
    assert small < large and "memory" in reasons(eight)["short_side"]
    detector = eight.options.detector
    pixels = largest_pixels(dataset, detector.image)
    assert memory_bytes(detector, pixels, 8, eight.facts.most_objects) < MEMORY_SHARE * machine.memory


def test_the_pictures_of_a_mini_batch_take_their_time():
    dataset = made(sides=(20, 30), pictures=200)
    huge = MACHINE._replace(memory=2**45)
    one, four = (plan(dataset, f"{PAPER} --head-images {n}", budget="2h", machine=huge) for n in (1, 4))
    small, large = (found.options.detector.image.short_side for found in (four, one))
    assert small < large and "iterations of the longest step in the time" in reasons(four)["short_side"]
