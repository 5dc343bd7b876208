"""A plan: options that suit the data, the machine and the time, each with its reason.

The rules run in order, and each one sees what was chosen before it.  What the user gave is never changed.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from keras_frcnn.data.doctor.checks.objects import gather_objects
from keras_frcnn.data.example import Dataset
from keras_frcnn.facts.config import AnchorConfig, DetectorConfig
from keras_frcnn.facts.errors import InputError
from training.four_steps import Step
from training.run.options.declared import AlternationOptions, TrainingOptions
from training.run.options.duration import seconds_of
from training.run.planning.choice import Draft, Plan
from training.run.planning.costs import Machine, kind_of
from training.run.planning.data_facts import DataTable, data_table, mean_pixels
from training.run.planning.rules import anchors, detection, images, network, solver
from training.run.planning.rules.schedule import SHARES, Work, fit_schedule, measuring_seconds

MEASURING_SHARE = 0.15  # of the budget that measuring on the validation set may take

_ROUNDS = 4  # of enlarging pictures until the anchors reach the objects
_GROWTH = 1.25

AnchorRecall = Callable[[AnchorConfig], float]


class Tools(NamedTuple):
    """What a plan measures."""

    bfloat16_speedup: Callable[[], float]
    machine: Callable[[DetectorConfig, str], Machine]  # (detector, precision)
    anchor_recall: Callable[[DetectorConfig, str], AnchorRecall | None]  # None: there are too few pictures
    spent: Callable[[], float]  # seconds of the budget that are used up


def make_plan(
    options: TrainingOptions,
    given: frozenset[str],
    make_steps: Callable[[TrainingOptions], Sequence[Step]],
    train_set: Dataset,
    val_count: int,
    start: network.StartFacts,
    tools: Tools,
) -> Plan:
    """Choose every option that the user did not give.

    Args:
      options: with the given values, and defaults for the others; the budget is given.
      given: the keys of the given options.
      make_steps: the table of steps for options, whose iterations do not matter.
      train_set: at least one picture.
      val_count: the number of validation pictures.
      start: what the starting weights hold.
      tools: the measurements.

    Raises:
      InputError: the budget is too small, or iterations are given as well.
    """
    assert options.budget is not None
    if "options.iterations" in given:
        raise InputError(
            "--iterations", "cannot be combined with --plan auto", "leave one of them out: --budget decides"
        )
    budget = seconds_of(options.budget, "--budget")
    table = data_table(train_set)
    draft = network.choose_batches(network.choose_layers(Draft(options, given), start))
    draft = network.choose_regions(draft, make_steps(draft.options))
    draft = network.choose_alternation(draft, len(table.class_names))
    speedup = tools.bfloat16_speedup()
    draft = network.choose_precision(draft, speedup)
    machine = tools.machine(draft.options.detector, draft.options.precision)
    left = max(0.0, budget - tools.spent())
    draft = _choose_images_and_anchors(draft, train_set, table, machine, make_steps, left, tools)
    for rule in (detection.choose_min_size, detection.choose_nms_iou, detection.choose_counts):
        draft = rule(draft, table)
    image = draft.options.detector.image
    pixels = mean_pixels(table, image.short_side, image.long_side)
    steps = make_steps(draft.options)
    work = Work(pixels, table.facts.pictures, val_count, stores_features=False)
    draft, work = _choose_val_images(draft, steps, work, machine, budget)
    draft = solver.choose_feature_cache(draft, pixels, work.train, work.val, machine.free_disk)
    if isinstance(draft.options, AlternationOptions):
        work = work._replace(stores_features=draft.options.stores_features)
    mini_batches = machine.replicas * draft.options.accumulate
    forecast = fit_schedule(steps, machine.costs, work, budget, tools.spent(), mini_batches)
    draft = solver.choose_schedule(draft, forecast, steps, table.facts, mini_batches)
    draft = solver.choose_regularisation(draft, forecast, steps, table.facts.pictures)
    return Plan(draft.options, draft.choices, table.facts, machine, forecast)


def _choose_images_and_anchors(
    draft: Draft,
    train_set: Dataset,
    table: DataTable,
    machine: Machine,
    make_steps: Callable[[TrainingOptions], Sequence[Step]],
    seconds: float,
    tools: Tools,
) -> Draft:
    """The size of the pictures and the anchors.

    They belong together: objects that no anchor of the grid can reach need larger pictures.
    """
    steps = make_steps(draft.options)
    shares = {kind_of(step.trains): SHARES[kind_of(step.trains)] for step in steps}
    longest = max(shares, key=lambda kind: shares[kind])
    of_longest = 0.85 * seconds * shares[longest] / sum(shares.values())  # the rest goes to proposals and measuring
    of_image = of_longest / max(step.images for step in steps if kind_of(step.trains) == longest)
    most = max(step.images for step in steps)

    def sized(wanted: float | None) -> Draft:
        return images.choose_sides(draft, table, machine.costs, of_image, longest, machine.memory, most, wanted)

    chosen = sized(None)
    if draft.given & {"detector.anchors.scales", "detector.anchors.ratios"}:
        return chosen
    rounding = draft.options.detector.anchors.shapes
    objects = gather_objects([train_set], chosen.options.detector.image)
    computed = anchors.best_anchors(objects, rounding)
    for _ in range(_ROUNDS):
        side = chosen.options.detector.image.short_side
        if anchors.covers(objects, computed):
            break
        larger = sized(side * _GROWTH)
        if larger.options.detector.image.short_side <= side:
            break
        chosen, objects = larger, gather_objects([train_set], larger.options.detector.image)
        computed = anchors.best_anchors(objects, rounding)
    recall = tools.anchor_recall(chosen.options.detector, chosen.options.precision)
    return anchors.choose_anchors(chosen, objects, computed, recall)


def _choose_val_images(
    draft: Draft, steps: Sequence[Step], work: Work, machine: Machine, budget: float
) -> tuple[Draft, Work]:
    """Measure on fewer pictures if measuring on all would take too much of the budget."""
    each = measuring_seconds(steps, machine.costs, work)
    most = max(1, int(MEASURING_SHARE * budget / each))
    if work.val <= most or "options.val_images" in draft.given:
        return draft, work._replace(val=min(work.val, draft.options.val_images or work.val))
    reason = f"measuring on all {work.val} would take {work.val * each / budget:.0%} of the budget"
    return draft.choose("options.val_images", most, reason), work._replace(val=most)
