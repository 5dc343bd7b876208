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
from training.run.options.reading import parse_options


def parse_arguments(arguments: Sequence[str] | None = None) -> JointOptions:
    """The options of the command line; raises InputError."""
    description = "Train Faster R-CNN by approximate joint training. The defaults are those of the released code."
    return parse_options(JointOptions, "python -m training.joint", description, arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    with exit_on_input_error():
        options = parse_arguments(arguments)

    def load_command() -> Callable[[JointOptions], int]:
        from training.run.training import run_training

        return lambda options: run_training(options, joint_training(options))

    exit_with(options, load_command)


if __name__ == "__main__":
    main()
