"""The paper's 4-step alternating training (section 3.2) and approximate joint training, each as a table of steps.

`training.run.training.run_training` runs a table.  This module imports nothing heavy, so that --help stays fast.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

from keras_frcnn.facts.errors import InputError
from training.run.options.declared import AlternationOptions, JointOptions

# Each step has its own seed, for its own order of images and its own random choices: 4 * seed of the run + number of
# the step.  A fifth step of seed s would share its seed with step 1 of seed s + 1.  That is harmless, as they train
# different parts; another factor would change the results of existing runs.
SEEDS_PER_RUN = 4


class Step(NamedTuple):
    """One training.

    A part of the model starts "pretrained" (as --weights says, else new), "new", or as the step of that name left it.
    A step that trains the RPN uses the RPN's losses, and one that trains the head uses the detector's.
    """

    name: str  # of its files in the run folder
    title: str  # for people
    trains: tuple[str, ...]  # parts of the model
    backbone_from: str
    rpn_from: str | None  # None: the step does not use this part
    head_from: str | None
    proposals_from: str | None  # the step whose RPN makes the proposals that this one trains on; None: its own
    iterations: int  # mini-batches; the number of weight updates is smaller with several replicas or --accumulate
    images: int  # in a mini-batch of one replica
    learning_rate: float = 0.001
    drop_at: float = 0.75  # share of the iterations after which the rate is a tenth
    seed: int = 0

    @property
    def sources(self) -> tuple[str, ...]:
        """The steps whose weights this one starts from, or whose proposals it trains on."""
        names = (self.backbone_from, self.rpn_from, self.head_from, self.proposals_from)
        return tuple(dict.fromkeys(name for name in names if name not in (None, "pretrained", "new")))

    @property
    def measured_on(self) -> str | None:
        """The step whose stored proposals the detector takes when it is measured; None: it proposes for itself.

        A detector that trains the backbone shares none with the RPN, so it cannot use the RPN in the model.
        """
        return self.proposals_from if "backbone" in self.trains else None


# Steps 3 and 4 do not train the backbone, so that both networks share the one of step 2.  The paper does not say where
# the RPN's own layers start in step 3: here they start as step 1 left them.
FOUR_STEPS = (
    Step("step1", "step 1 RPN", trains=("backbone", "rpn"),
         backbone_from="pretrained", rpn_from="new", head_from=None, proposals_from=None,
         iterations=80000, images=1),
    Step("step2", "step 2 detector", trains=("backbone", "head"),
         backbone_from="pretrained", rpn_from=None, head_from="pretrained", proposals_from="step1",
         iterations=40000, images=2),
    Step("step3", "step 3 RPN", trains=("rpn",),
         backbone_from="step2", rpn_from="step1", head_from=None, proposals_from=None,
         iterations=80000, images=1),
    Step("step4", "step 4 detector", trains=("head",),
         backbone_from="step2", rpn_from="step3", head_from="step2", proposals_from="step3",
         iterations=40000, images=2),
)  # fmt: skip

# With --last-steps together: one step in the place of steps 3 and 4.  The head takes the proposals of the RPN that
# trains beside it, as in joint training.
TOGETHER = Step(
    "step3", "step 3 RPN and detector", trains=("rpn", "head"),
    backbone_from="step2", rpn_from="step1", head_from="step2", proposals_from=None,
    iterations=80000, images=1,
)  # fmt: skip

JOINT_TRAINING = (
    Step("joint", "joint training", trains=("backbone", "rpn", "head"),
         backbone_from="pretrained", rpn_from="new", head_from="pretrained", proposals_from=None,
         iterations=70000, images=1, drop_at=50 / 70),
)  # fmt: skip


def _table(options: AlternationOptions) -> tuple[Step, ...]:
    """`FOUR_STEPS`, changed as the options ask, without a schedule."""
    first, second, *last = FOUR_STEPS
    second = second._replace(backbone_from=options.step2_backbone)
    return (first, second, *([TOGETHER] if options.last_steps == "together" else last))


def with_table(options: AlternationOptions) -> AlternationOptions:
    """The options, with the iterations and learning rates of the table of steps if none are given.

    Raises InputError if they are not one value for each step.
    """
    table = _table(options)
    changes: dict[str, Any] = {}
    for name in ("iterations", "learning_rate"):
        values = getattr(options, name)
        if values is None:
            changes[name] = tuple(getattr(step, name) for step in table)
        else:
            _check_count(name, values, table, (len(table),))
    _check_count("drop_at", options.drop_at, table, (1, len(table)))
    for name, part in (("rpn_images", "rpn"), ("head_images", "head")):
        own = [step for step in table if _main_part(step) == part]
        _check_count(name, getattr(options, name), own, (1, len(own)))
    return dataclasses.replace(options, **changes)


def _main_part(step: Step) -> str:
    """The part whose number of images a step has: a step that trains RPN and head goes by the RPN's."""
    return "rpn" if "rpn" in step.trains else "head"


def _check_count(name: str, values: Sequence[float], steps: Sequence[Step], allowed: Sequence[int]) -> None:
    """Raise InputError if an option has another number of values than one of `allowed`."""
    if len(values) in allowed:
        return
    option = f"--{name.replace('_', '-')} (field options.{name})"
    problem = f"has {len(values)} value{'s' * (len(values) != 1)} for {len(steps)} step{'s' * (len(steps) != 1)}"
    field = "images" if name.endswith("images") else name
    example = " ".join(str(getattr(step, field)) for step in steps)
    raise InputError(option, problem, f"give one value for each step, such as {example}")


def _of_each(values: tuple[Any, ...], steps: Sequence[Step]) -> tuple[Any, ...]:
    """The values of an option for its steps; a single value is for all of them."""
    return values * len(steps) if len(values) == 1 else values


def four_steps(options: AlternationOptions) -> tuple[Step, ...]:
    """The table of steps with the schedule that the options give; `options` come from `with_table`."""
    assert options.iterations and options.learning_rate, "pass the options that with_table returns"
    table = _table(options)
    given = {"rpn": options.rpn_images, "head": options.head_images}
    images = {part: iter(_of_each(values, table)) for part, values in given.items()}
    rows = zip(table, options.iterations, options.learning_rate, _of_each(options.drop_at, table), strict=True)
    return tuple(
        step._replace(
            iterations=iterations,
            images=next(images[_main_part(step)]),
            learning_rate=learning_rate,
            drop_at=drop_at,
            seed=SEEDS_PER_RUN * options.seed + number,
        )
        for number, (step, iterations, learning_rate, drop_at) in enumerate(rows, start=1)
    )


def joint_training(options: JointOptions) -> tuple[Step, ...]:
    """`JOINT_TRAINING` with the schedule that the options give; raises InputError for several values of `drop_at`."""
    _check_count("drop_at", options.drop_at, JOINT_TRAINING, (1,))
    return tuple(
        step._replace(
            iterations=options.iterations,
            images=options.images,
            learning_rate=options.learning_rate,
            drop_at=options.drop_at[0],
            seed=options.seed,
        )
        for step in JOINT_TRAINING
    )
