"""The study of levers: what single options bring to the four steps, with several seeds.

    python tests/benchmarks/levers.py --data voc:../shared/data/bccd --out study \
        --weights ../shared/weights/vgg16_imagenet_notop.h5 [--seeds 0 1 2] [--rows base step1 ...]

Each row is one training with the options of `COMMON` and its own, measured on the validation split.  Rows that differ
only in their last steps share the steps before: their files are linked from the run of another row, as a run folder
that is resumed would have them.  A row that is done is not run again, so the study can be interrupted.  The table shows
the mean and the standard deviation over the seeds.
"""

import argparse
import os
import pathlib
import shutil
import statistics
from typing import NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from keras_frcnn.facts.files import read_json, write_json
from keras_frcnn.network.model import FasterRCNN
from training import alternate, joint
from training.engine.distribution import local_strategy
from training.four_steps import four_steps, joint_training
from training.run.session import open_session
from training.run.start import load_start, read_data
from training.run.training import run_steps

COMMON = (
    "--precision mixed_bfloat16 --short-side 320 --anchor-scales 24 34 54 74 106 146 --anchor-ratios 0.7 1 1.4 "
    "--min-size 6 --nms-iou 0.4 --rois 128 --dropout 0 --fc-units 1024 --warmup 100 --clip-norm 20"
)
STEPS = "--head-images 1 --learning-rate 0.002 0.002 0.002 0.002"
ITERATIONS = "--iterations 300 800 1000 1000"
STEP1 = "--step2-backbone step1"
BALANCED = "--rpn-balanced-positives --head-balanced-foreground"


class Row(NamedTuple):
    """One training of the study."""

    options: str
    shares: tuple[str, tuple[str, ...]] = ("", ())  # the row and the names of its steps that this one has in common
    start: str = ""  # the row whose detector is the start, in the place of --weights


FIRST, SECOND, THIRD = ("step1",), ("step1", "step2"), ("step1", "step2", "step3")
ROWS = {
    "base": Row(f"{STEPS} {ITERATIONS}"),
    "step1": Row(f"{STEPS} {ITERATIONS} {STEP1}", ("base", FIRST)),
    "balanced": Row(f"{STEPS} {ITERATIONS} {STEP1} {BALANCED}"),
    "balanced RPN": Row(f"{STEPS} {ITERATIONS} {STEP1} --rpn-balanced-positives", ("balanced", FIRST)),
    "balanced RoIs": Row(f"{STEPS} {ITERATIONS} {STEP1} --head-balanced-foreground", ("base", FIRST)),
    "long step 3": Row(f"{STEPS} --iterations 300 800 3000 1000 {STEP1} {BALANCED}", ("balanced", SECOND)),
    "long step 4": Row(f"{STEPS} --iterations 300 800 1000 3000 {STEP1} {BALANCED}", ("balanced", THIRD)),
    "4 images in step 3": Row(f"{STEPS} {ITERATIONS} {STEP1} {BALANCED} --rpn-images 1 4", ("balanced", SECOND)),
    "rate 0.005 in step 3": Row(
        f"--head-images 1 --learning-rate 0.002 0.002 0.005 0.002 {ITERATIONS} {STEP1} {BALANCED}",
        ("balanced", SECOND),
    ),
    "rate 0.005 in step 4": Row(
        f"--head-images 1 --learning-rate 0.002 0.002 0.002 0.005 {ITERATIONS} {STEP1} {BALANCED}", ("balanced", THIRD)
    ),
    "rate 0.0005 in step 4": Row(
        f"--head-images 1 --learning-rate 0.002 0.002 0.002 0.0005 {ITERATIONS} {STEP1} {BALANCED}",
        ("balanced", THIRD),
    ),
    "1000 proposals": Row(f"{STEPS} {ITERATIONS} {STEP1} {BALANCED} --test-post-nms-topk 1000", ("balanced", THIRD)),
    "RPN batch 128": Row(f"{STEPS} {ITERATIONS} {STEP1} {BALANCED} --rpn-batch-size 128"),
    "mirrored proposals": Row(f"{STEPS} {ITERATIONS} {STEP1} {BALANCED} --mirrored-proposals"),
    "bias rate 2": Row(f"{STEPS} {ITERATIONS} {STEP1} {BALANCED} --bias-rate 2"),
    "average 0.99": Row(f"{STEPS} {ITERATIONS} {STEP1} {BALANCED} --average-weights 0.99"),
    "last steps together": Row(
        f"--head-images 1 --learning-rate 0.002 0.002 0.002 --iterations 300 800 1000 {STEP1} {BALANCED} "
        "--last-steps together",
        ("balanced", SECOND),
    ),
    "released anchors": Row(f"{STEPS} {ITERATIONS} {STEP1} {BALANCED} --anchor-shapes released"),
    "second round": Row(f"{STEPS} {ITERATIONS} {STEP1} {BALANCED}", start="balanced"),
    "joint": Row("--learning-rate 0.002 --iterations 1300"),
    "joint, balanced": Row(f"--learning-rate 0.002 --iterations 1300 {BALANCED}"),
}
_OF_STEP = (
    "weights/{}.npz", "logs/{}.json", "proposals/{}", "detections/{}", "evaluation/{}.rpn.json",
    "evaluation/{}.detector.json",
)  # fmt: skip


class Figures(NamedTuple):
    """What one run came to."""

    area: float
    eleven_point: float
    lowest: float  # area AP of the worst class
    after_step2: float  # area AP; that of joint training is its result
    minutes: float  # of training


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    asked = parser.parse_args()
    found: dict[str, list[Figures]] = {}
    for name in asked.rows:
        found[name] = [run_row(name, seed, asked) for seed in asked.seeds]
        print(f"{name:<24}", *(text(values) for values in zip(*found[name], strict=True)), flush=True)
    titles = ("area AP", "11-point AP", "worst class", "after step 2", "minutes of training")
    print(f"\n{'row':<24}", *(f"{title:<17}" for title in titles))
    for name, figures in found.items():
        print(f"{name:<24}", *(text(values) for values in zip(*figures, strict=True)))


def text(values: tuple[float, ...]) -> str:
    """Mean and standard deviation."""
    spread = statistics.stdev(values) if len(values) > 1 else float("nan")
    return f"{statistics.mean(values):.3f} +- {spread:.3f}  "


def folder_of(name: str, seed: int, asked: argparse.Namespace) -> pathlib.Path:
    """The run folder of a row."""
    return asked.out / f"seed{seed}" / name.replace(" ", "-")


def run_row(name: str, seed: int, asked: argparse.Namespace) -> Figures:
    """Run a row, or read what it came to."""
    folder = folder_of(name, seed, asked)
    result = folder / "study.json"
    if not result.is_file():
        train(ROWS[name], name, folder, seed, asked)
        write_json(result, figures_of(folder)._asdict())
    return Figures(**read_json(result))


def train(row: Row, name: str, folder: pathlib.Path, seed: int, asked: argparse.Namespace) -> None:
    """Run the steps of a row without the report, so that the stored features stay for other rows."""
    other, shared = row.shares
    for needed in filter(None, (other, row.start)):
        run_row(needed, seed, asked)
    weights = asked.weights if not row.start else str(folder_of(row.start, seed, asked))
    words = f"{COMMON} {row.options} --seed {seed}".split()
    words += ["--data", asked.data, "--weights", weights, "--run", str(folder)]
    is_joint = name.startswith("joint")
    parse = joint.parse_arguments if is_joint else alternate.parse_arguments
    make_steps = joint_training if is_joint else four_steps
    options = parse(words).options
    start, data = load_start(options.weights), read_data(options)
    with local_strategy().scope(), open_session(options, data) as run:
        if other:
            link_steps(folder_of(other, seed, asked), folder, shared)
        model = FasterRCNN(run.config, run.train_set.class_names, seed=seed, dtype=options.precision)
        run_steps(run, model, start, make_steps(options))
    if name in {other.start for other in ROWS.values()}:
        finished = FasterRCNN(run.config, model.class_names, seed=seed)
        finished.set_weights(model.get_weights())
        finished.save(folder / "model.keras")


def link_steps(source: pathlib.Path, target: pathlib.Path, steps: tuple[str, ...]) -> None:
    """Link the files of finished steps, and the features if the convolutions are the same."""
    places = [pattern.format(step) for step in steps for pattern in _OF_STEP]
    places += ["features"] if "step2" in steps else []
    for place in places:
        if (source / place).is_dir():
            shutil.copytree(source / place, target / place, copy_function=os.link, dirs_exist_ok=True)
        elif (source / place).exists() and not (target / place).exists():
            (target / place).parent.mkdir(parents=True, exist_ok=True)
            os.link(source / place, target / place)


def figures_of(folder: pathlib.Path) -> Figures:
    """The average precision after the last step and after step 2, and the minutes of all steps."""
    results = [read_json(path) for path in sorted((folder / "evaluation").glob("*.json"))]
    measured = [result["ap"] for result in results if "ap" in result]
    first, last = measured[0], measured[-1]
    minutes = {result["name"]: result["training"]["minutes"] for result in results}
    lowest = min(one["ap_area"] for one in last["classes"].values())
    return Figures(last["mean_ap_area"], last["mean_ap_11point"], lowest, first["mean_ap_area"], sum(minutes.values()))


if __name__ == "__main__":
    main()
