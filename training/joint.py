"""Train Faster R-CNN by approximate joint training (section 3.2): both networks at once, in one step.

    python -m training.joint --data voc:PATH --weights imagenet --run runs/mine

leaves the detector in runs/mine/model.keras.  A run that was stopped, however it was, goes on from its newest
checkpoint: give the same command again.
"""

import argparse

from training.run.options import add_common_options, exit_with


def parse_arguments(arguments=None):
    parser = argparse.ArgumentParser(
        prog="python -m training.joint",
        description="Train Faster R-CNN by approximate joint training. Defaults are the released ones.",
    )
    add_common_options(parser)
    schedule = parser.add_argument_group("joint training")
    schedule.add_argument("--steps", type=int, default=70000, help="mini-batches (default: 70000)")
    schedule.add_argument("--learning-rate", type=float, default=0.001)
    schedule.add_argument("--images", type=int, default=1, help="images a mini-batch (default: 1)")
    # 128 RoIs of one image, where the four steps take 64 of two; a tenth of the rate from 50k of 70k on.
    parser.set_defaults(rois=128, drop_at=50 / 70)
    return parser.parse_args(arguments)


def run_joint(options) -> int:
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
                batches=options.steps,
                images=options.images,
                learning_rate=options.learning_rate,
                seed=options.seed,
            )
            train_parts(run, model, training, Overall(options.steps))
        trained = Trained(run, model, name, title)
        return [measure_rpn(trained) | measure_detector(trained)]

    return conduct(options, work)


def main(arguments=None):
    exit_with(parse_arguments(arguments), lambda: run_joint)


if __name__ == "__main__":
    main()
