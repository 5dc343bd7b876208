"""Train Faster R-CNN by approximate joint training (section 3.2): both networks at once.

    python -m training.joint --data voc:PATH --weights imagenet --run runs/mine

writes the detector to runs/mine/model.keras.  To resume a run that was stopped, give the same command again: training
continues from the newest checkpoint.
"""

from collections.abc import Sequence

from keras_frcnn.facts.errors import exit_on_input_error
from training.run.options import JointOptions, exit_with, parse_options


def parse_arguments(arguments: Sequence[str] | None = None) -> JointOptions:
    """The options of the command line; raises InputError."""
    description = "Train Faster R-CNN by approximate joint training. The defaults are those of the released code."
    return parse_options(JointOptions, "python -m training.joint", description, arguments)


def run_joint(options: JointOptions) -> int:
    """Train, measure and print; returns the exit status.  Raises InputError."""
    from training.run.session import conduct
    from training.engine.loop import Overall
    from training.run.start import new_model
    from training.run.folder import load_part, weights_path
    from training.run.stages import Trained, Training, measure_detector, measure_rpn, train_parts
    from training.engine.objectives import joint_losses

    name, title, parts = "joint", "joint training", ("backbone", "rpn", "head")

    def work(run, model, start) -> list[dict]:
        if weights_path(run.folder, name).is_file():
            for part in parts:
                load_part(weights_path(run.folder, name), model, part)
        else:
            model.set_weights(new_model(run, start).get_weights())
            training = Training(
                name=name,
                title=title,
                parts=parts,
                losses=joint_losses,
                batches=options.iterations,
                images=options.images,
                learning_rate=options.learning_rate,
                seed=options.seed,
            )
            train_parts(run, model, training, Overall(options.iterations))
        trained = Trained(run, model, name, title)
        return [measure_rpn(trained) | measure_detector(trained)]

    return conduct(options, work)


def main(arguments: Sequence[str] | None = None) -> None:
    with exit_on_input_error():
        options = parse_arguments(arguments)
    exit_with(options, lambda: run_joint)


if __name__ == "__main__":
    main()
