"""Train Faster R-CNN by the paper's 4-step alternation (section 3.2).

    python -m training.alternate --data synthetic --weights torchvision --run runs/synthetic

writes the detector to runs/synthetic/model.keras and prints how good it is after each step.  To resume a run that was
stopped, give the same command again: training continues from the newest checkpoint.  The steps are a table in
training/four_steps.py.
"""

from collections.abc import Callable, Sequence

from keras_frcnn.facts.errors import exit_on_input_error
from training.four_steps import four_steps, with_table
from training.run.command import exit_with
from training.run.options.declared import AlternationOptions
from training.run.options.reading import Request, read_request


def parse_arguments(arguments: Sequence[str] | None = None) -> Request[AlternationOptions]:
    """What the command line asks for; raises InputError."""
    description = "Train Faster R-CNN by the paper's four steps. The defaults are the paper's."
    request = read_request(AlternationOptions, "python -m training.alternate", description, arguments)
    return request._replace(options=with_table(request.options))


def main(arguments: Sequence[str] | None = None) -> None:
    with exit_on_input_error():
        request = parse_arguments(arguments)

    def load_command() -> Callable[[Request[AlternationOptions]], int]:
        from training.run.planning.planned import plan_run
        from training.run.training import run_training

        return lambda request: run_training(request, four_steps, plan_run)

    exit_with(request, load_command)


if __name__ == "__main__":
    main()
