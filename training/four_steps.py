"""The paper's 4-step alternating training (section 3.2): the steps as a table, and the functions that run them."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from keras_frcnn.facts.errors import InputError
from keras_frcnn.network.model import FasterRCNN
from training.run.session import conduct
from training.engine.loop import Overall
from training.run.start import Run, Start, feature_cache, new_model
from training.run.folder import load_part, weights_path
from training.run.options import AlternationOptions
from training.run.stages import Trained, Training, measure_detector, measure_rpn, propose_for_training, train_parts
from training.engine.objectives import head_losses, rpn_losses


class Step(NamedTuple):
    """One of the four steps.  A part starts "pretrained", "new", or as the step of that number left it."""

    number: int
    network: str
    trains: tuple[str, ...]
    backbone_from: str | int
    rpn_from: str | int | None  # None: the step has no use for that part
    head_from: str | int | None
    losses: Callable
    proposals_from: int | None  # the step whose RPN made the proposals that this one trains on
    iterations: int  # mini-batches, where --iterations gives no others
    learning_rate: float = 0.001  # where --learning-rate gives no others


# Steps 3 and 4 leave the convolutions of step 2 as they are, so that both networks share them.  What the RPN's own
# layers start from in step 3 the paper leaves open: here they go on from step 1.
STEPS = (
    Step(1, "RPN", ("backbone", "rpn"), backbone_from="pretrained", rpn_from="new", head_from=None,
         losses=rpn_losses, proposals_from=None, iterations=80000),
    Step(2, "detector", ("backbone", "head"), backbone_from="pretrained", rpn_from=None, head_from="pretrained",
         losses=head_losses, proposals_from=1, iterations=40000),
    Step(3, "RPN", ("rpn",), backbone_from=2, rpn_from=1, head_from=None,
         losses=rpn_losses, proposals_from=None, iterations=80000),
    Step(4, "detector", ("head",), backbone_from=2, rpn_from=3, head_from=2,
         losses=head_losses, proposals_from=3, iterations=40000),
)  # fmt: skip


def with_table(options: AlternationOptions) -> AlternationOptions:
    """The options with the iterations and learning rates of `STEPS` where none are given.

    Raises InputError where their number is not the number of steps.
    """
    given = {"iterations": options.iterations, "learning_rate": options.learning_rate}
    for name, values in given.items():
        if values is not None and len(values) != len(STEPS):
            option = f"--{name.replace('_', '-')} (field options.{name})"
            example = " ".join(str(getattr(step, name)) for step in STEPS)
            problem = f"has {len(values)} value{'s' * (len(values) != 1)} for {len(STEPS)} steps"
            raise InputError(option, problem, f"give one value for each step, such as {example}")
    table = {name: tuple(getattr(step, name) for step in STEPS) for name, values in given.items() if values is None}
    return dataclasses.replace(options, **table)


def run_four_steps(options: AlternationOptions) -> int:
    """Do all the work that the run folder does not hold yet, and print the results; returns the exit status.

    Raises InputError.
    """
    options = with_table(options)

    def work(run: Run, model: FasterRCNN, start: Start) -> list[dict]:
        overall = Overall(sum(options.iterations))
        results = [_carry_out(step, run, model, start, overall) for step in STEPS]
        check_shared_backbone(run, model)
        return results

    return conduct(options, work)


def _carry_out(step: Step, run: Run, model: FasterRCNN, start: Start, overall: Overall) -> dict:
    """Bring the model to the state after `step`, training only what the run folder does not hold, and measure it."""
    name, title, options = f"step{step.number}", f"step {step.number} {step.network}", run.options
    is_done = weights_path(run.folder, name).is_file()
    sources = {"backbone": step.backbone_from, "rpn": step.rpn_from, "head": step.head_from}
    if is_done:
        sources.update({part: step.number for part in step.trains})
    _set_parts(model, sources, run, start)
    cache = None if "backbone" in step.trains else feature_cache(run, model)
    proposals_from = None if step.proposals_from is None else f"step{step.proposals_from}"
    if is_done:
        overall.skip(options.iterations[step.number - 1])
    else:
        training = Training(
            name=name,
            title=title,
            parts=step.trains,
            losses=step.losses,
            batches=options.iterations[step.number - 1],
            images=options.rpn_images if "rpn" in step.trains else options.head_images,
            learning_rate=options.learning_rate[step.number - 1],
            # Each step has its own order of pictures and its own random choices.
            seed=options.seed * len(STEPS) + step.number,
        )
        train_parts(run, model, training, overall, proposals_from, cache)
    trained = Trained(run, model, name, title, cache)
    if "rpn" in step.trains:
        propose_for_training(trained)
        return measure_rpn(trained)
    return measure_detector(trained, None if step is STEPS[-1] else proposals_from)


def _set_parts(model: FasterRCNN, sources: dict, run: Run, start: Start):
    """Give each part its starting weights: those a step left, or new ones, the same whatever was trained before."""
    if not all(isinstance(source, int) for source in sources.values() if source is not None):
        fresh = new_model(run, start)
    for part, source in sources.items():
        if isinstance(source, int):
            load_part(weights_path(run.folder, f"step{source}"), model, part)
        elif source is not None:
            getattr(model, part).set_weights(getattr(fresh, part).get_weights())


def check_shared_backbone(run: Run, model: FasterRCNN):
    """Prove that RPN and head use the same convolutions, and that these are, bit for bit, those of step 2."""
    features = model.get_layer("backbone").output
    if model.get_layer("rpn").input is not features or model.get_layer("roi_pooling").input[0] is not features:
        raise AssertionError("RPN and head do not read the features of one backbone")
    now = [variable.numpy() for variable in model.backbone.variables]
    load_part(weights_path(run.folder, "step2"), model, "backbone")
    after_step_2 = [variable.numpy() for variable in model.backbone.variables]
    if not all(np.array_equal(a, b) for a, b in zip(now, after_step_2, strict=True)):
        raise AssertionError("the convolutions changed after step 2")
    print(f"check: RPN and head share one backbone of {len(now)} variables, unchanged since step 2")
