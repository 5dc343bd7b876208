"""Train Faster R-CNN by approximate joint training (section 3.2): both networks at once.

    python -m training.joint --data voc:PATH --weights imagenet --run runs/mine

writes the detector to runs/mine/model.keras.  To resume a run that was stopped, give the same command again: training
continues from the newest checkpoint.
"""

from collections.abc import Callable, Sequence

from keras_frcnn.facts.errors import exit_on_input_error
from training.four_steps import joint_training
from training.run.command import exit_with
from training.run.options.declared import JointOptions
from training.run.options.reading import Request, read_request


def parse_arguments(arguments: Sequence[str] | None = None) -> Request[JointOptions]:
    """What the command line asks for; raises InputError."""
    description = "Train Faster R-CNN by approximate joint training. The defaults are those of the released code."
    request = read_request(JointOptions, "python -m training.joint", description, arguments)
    joint_training(request.options)  # raises InputError for a bad schedule now, before anything is loaded
    return request


def main(arguments: Sequence[str] | None = None) -> None:
    with exit_on_input_error():
        request = parse_arguments(arguments)

    def load_command() -> Callable[[Request[JointOptions]], int]:
        from training.run.planning.planned import plan_run
        from training.run.training import run_training

        return lambda request: run_training(request, joint_training, plan_run)

    exit_with(request, load_command)


if __name__ == "__main__":
    main()
