"""Plan a training: choose its options from the data, this machine and the time.

    python -m training.plan --data voc:PATH --weights imagenet --budget 60m --out plan.json

This prints each choice as the option that would set it, with its reason, and writes a file for the option --config of
training.alternate.  With --joint, the plan is for training.joint.  An option that is given stays as it is.
`training.alternate --plan auto --budget 60m` makes the same plan and trains at once.
"""

import argparse
import shlex
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from keras_frcnn.facts.errors import exit_on_input_error
from keras_frcnn.facts.logs import quiet_tensorflow
from training.four_steps import Step, four_steps, joint_training, with_table
from training.run.options.declared import AlternationOptions, JointOptions
from training.run.options.reading import Request, option_parser, request_of

_DESCRIPTION = "Choose the options of a training from the data, this machine and the time, each with a reason."
_USAGE = "%(prog)s --data DATA --weights WEIGHTS --budget TIME --out FILE.json [--joint] [OPTION ...]"
_JOINT = {"action": "store_true", "help": "plan for training.joint instead of training.alternate"}


class PlanArguments(NamedTuple):
    """What the command line asks for."""

    request: Request
    make_steps: Callable[[Any], Sequence[Step]]
    command: str  # that trains with the plan
    out: str  # the file to write


def parse_arguments(arguments: Sequence[str] | None = None) -> PlanArguments:
    """What the command line asks for; raises InputError."""
    first = argparse.ArgumentParser(add_help=False)
    first.add_argument("--joint", **_JOINT)  # type: ignore[arg-type]
    joint = first.parse_known_args(arguments)[0].joint
    parser = option_parser(
        JointOptions if joint else AlternationOptions, "python -m training.plan", _DESCRIPTION, _USAGE
    )
    parser.add_argument("--joint", **_JOINT)  # type: ignore[arg-type]
    parser.add_argument("--out", metavar="FILE.json", required=True, help="the file to write")
    parsed = parser.parse_args(arguments)
    assumed = {"options.run": "runs"}
    if joint:
        planned = request_of(JointOptions, parsed, assumed, always_plans=True)
        return PlanArguments(planned, joint_training, "training.joint", parsed.out)
    request = request_of(AlternationOptions, parsed, assumed, always_plans=True)
    request = request._replace(options=with_table(request.options))
    return PlanArguments(request, four_steps, "training.alternate", parsed.out)


def main(arguments: Sequence[str] | None = None) -> None:
    with exit_on_input_error(extra="train"):
        asked = parse_arguments(arguments)
        quiet_tensorflow()
        from training.run.planning.planned import write_plan

        write_plan(asked.request, asked.make_steps, asked.out)
    print(f"written to {asked.out}; to train with it:")
    print(f"python -m {asked.command} --config {shlex.quote(asked.out)} --run RUN")


if __name__ == "__main__":
    main()
