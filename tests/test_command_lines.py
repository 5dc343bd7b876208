"""The command lines, from end to end: what they leave behind, how they resume, and one line for each bad input."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
HEAVY = {"tensorflow", "keras", "cv2", "orbit", "numpy", "PIL", "grpc"}
SMALL = "--short-side 64 --fc-units 32 --anchor-scales 16 32 --min-size 4 --rois 16 --weights none".split()


def command(module, *arguments):
    return [sys.executable, "-m", module, *map(str, arguments)]


def environment():
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def run(module, *arguments, **options):
    return subprocess.run(command(module, *arguments), env=environment(), capture_output=True, text=True, **options)


def run_here(main, *arguments):
    """The exit status of a command line called in this process."""
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as exit_:
        return exit_.code or 0
    return 0


def alternate(*arguments):
    from training.alternate import main

    return run_here(main, *arguments)


def joint(*arguments):
    from training.joint import main

    return run_here(main, *arguments)


def evaluate(*arguments):
    from training.evaluate import main

    return run_here(main, *arguments)


def times(folder):
    return {path.relative_to(folder): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_help_answers_without_heavy_imports(runnable_module):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", runnable_module, "--help"],
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and f"python -m {runnable_module}" in done.stdout
    imported = {line.split("|")[-1].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert "argparse" in imported and not imported & HEAVY


EXTRA_PACKAGES = {
    "data": ("jinja2", "matplotlib", "tqdm"),
    "train": ("jinja2", "matplotlib", "official", "orbit", "tqdm"),
    "export": ("ai_edge_litert", "ai_edge_quantizer", "grpc", "tensorflow_serving", "tqdm"),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("extra", "module", "arguments"),
    [
        ("data", "keras_frcnn.data.validate", "synthetic --out {folder}"),
        ("train", "training.alternate", "--data synthetic --weights none --run {folder}/run"),
        ("train", "training.joint", "--data synthetic --weights none --run {folder}/run"),
        ("train", "training.evaluate", "--data synthetic --model {folder}"),
        ("train", "training.plan", "--data synthetic --weights none --budget 1h --out {folder}/plan.json"),
        ("train", "training.report", "--compare {folder}/a {folder}/b --out {folder}/report.html"),
        ("data", "keras_frcnn.inspect", "--model {folder} --out {folder}/found.html {folder}/picture.png"),
        ("export", "export.web", "--model {folder} --out {folder}/site"),
        ("export", "export.saved_model", "--model {folder} --out {folder}/1"),
        ("export", "export.tflite", "--model {folder} --size 64 --out {folder}/model.tflite"),
        ("export", "export.client", "--server localhost:1 --protocol grpc --model detector {folder}/picture.png"),
    ],
)
def test_a_command_without_its_extra_names_the_extra(tmp_path, extra, module, arguments):
    """Modules that cannot be found stand in front of the installed packages of the extra."""
    for name in EXTRA_PACKAGES[extra]:
        (tmp_path / f"{name}.py").write_text(f"raise ModuleNotFoundError('no {name}', name='{name}')")
    Image.new("RGB", (90, 60)).save(tmp_path / "picture.png")
    path = os.pathsep.join((str(tmp_path), str(ROOT)))
    done = subprocess.run(
        command(module, *arguments.format(folder=tmp_path).split()),
        env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    error = done.stderr.splitlines()[-1]
    pattern = rf"error: (\w+) is not installed; this command needs more packages: pip install 'keras-frcnn\[{extra}\]'"
    found = re.match(pattern, error)
    assert found and found[1] in EXTRA_PACKAGES[extra], error
    assert not (tmp_path / "run").exists()


# Training from end to end.


def training_options(tree, folder, steps=(2, 2, 2, 2)):
    return ["--data", f"voc:{tree}", "--run", folder, *SMALL, "--iterations", *steps]


@pytest.fixture(scope="module")
def finished(voc_tree, tmp_path_factory):
    """A finished run: (folder, completed process)."""
    folder = tmp_path_factory.mktemp("runs") / "finished"
    return folder, run("training.alternate", *training_options(voc_tree, folder), "--metric", "coco")


@pytest.fixture
def copied_run(finished, tmp_path):
    return Path(shutil.copytree(finished[0], tmp_path / "run"))


def test_four_steps_leave_a_detector_and_how_good_it_is(finished):
    folder, done = finished
    assert done.returncode == 0, done.stderr
    config = json.loads((folder / "config.json").read_text())
    assert config["options"]["iterations"] == [2, 2, 2, 2] and config["detector"]["anchors"]["scales"] == [16, 32]
    labels = json.loads((folder / "labels.json").read_text())
    assert list(labels) == [str(i) for i in range(1, len(labels) + 1)] and "star" in labels.values()
    for step in (1, 2, 3, 4):
        network = "rpn" if step in (1, 3) else "detector"
        result = json.loads((folder / "evaluation" / f"step{step}.{network}.json").read_text())
        assert result["name"] == f"step{step}" and result["training"]["iterations"] == 2
        assert result["training"]["images"] == (2 if step in (1, 3) else 4)
        assert ("recall" in result) == (step in (1, 3)) and ("ap" in result) == (step in (2, 4))
        assert ("coco" in result) == (step in (2, 4)) == ("COCO, 2 images" in result["table"])
        assert result["table"] in done.stdout
        assert list((folder / "logs" / f"step{step}").rglob("events.out.tfevents*"))
    for step in (1, 3):
        # The next step has 2 iterations of 2 of the 8 pictures and mirror images: it uses 2 to 4 of the 4 pictures.
        assert 2 <= len(list((folder / "proposals" / f"step{step}" / "train").glob("*.tfrecord"))) <= 4
        assert len(list((folder / "proposals" / f"step{step}" / "val").glob("*.tfrecord"))) == 2
    assert "losses/head_class" in (folder / "logs" / "train.log").read_text()
    assert len(list((folder / "evaluation" / "pictures").glob("*.png"))) == 2
    assert "check: RPN and head share one backbone of 26 variables" in done.stdout
    rows = [line.split() for line in done.stdout.splitlines() if re.match(r" *step [1-4] (RPN|detector)  ", line)]
    assert [row[1:5] for row in rows] == [["1", "RPN", "2", "2"], ["2", "detector", "2", "4"],
                                          ["3", "RPN", "2", "2"], ["4", "detector", "2", "4"]]  # fmt: skip
    (header,) = (line for line in done.stdout.splitlines() if line.startswith("training  "))
    assert header.split()[4:] == ["recall@300", "COCO", "AP", "mAP", "11-point", "mAP", "area"]  # --metric coco
    assert not [path for path in folder.rglob(".*")]  # no temporary file is left


@pytest.mark.slow
def test_a_finished_run_starts_another_one(finished, voc_tree, tmp_path, capfd):
    folder, _ = finished
    options = training_options(voc_tree, tmp_path / "warm", steps=[1])
    options[options.index("none")] = folder
    others = ("triangle", "star", "ring", "rectangle", "ellipse", "cross")
    assert joint(*options, "--class-names", *others, "--learning-rate", "1e-9") == 0
    line = f"warm start from {folder}; new layers: class_logits (other classes), box_deltas (other classes)"
    assert line in capfd.readouterr().out and line in (tmp_path / "warm" / "logs" / "train.log").read_text()

    from keras_frcnn.api.model_file import load_model

    before, after = (load_model(run_folder) for run_folder in (folder, tmp_path / "warm"))
    for part in ("backbone", "rpn"):
        for a, b in zip(getattr(before, part).get_weights(), getattr(after, part).get_weights(), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_each_step_trains_its_parts_and_the_detector_is_made_of_them(finished):
    import keras

    import keras_frcnn.network.model  # noqa: F401  known to keras.saving from here on

    folder, _ = finished
    stored = {step: dict(np.load(folder / "weights" / f"step{step}.npz")) for step in (1, 2, 3, 4)}
    parts = {step: {key.split("/")[0] for key in values} for step, values in stored.items()}
    assert parts == {1: {"backbone", "rpn"}, 2: {"backbone", "head"}, 3: {"rpn"}, 4: {"head"}}
    frozen = [key for key in stored[1] if re.match("backbone/block[12]_", key)]
    assert len(frozen) == 8 and all((stored[1][key] == stored[2][key]).all() for key in frozen)
    for step, before in ((2, 1), (3, 1), (4, 2)):  # trained from the same start, or from that step
        for key in stored[step].keys() & stored[before].keys() - set(frozen):
            assert (stored[step][key] != stored[before][key]).any(), key
    model = keras.saving.load_model(folder / "model.keras")
    for part, step in (("backbone", 2), ("rpn", 3), ("head", 4)):
        layer = getattr(model, part)
        assert len(layer.variables) == sum(key.startswith(f"{part}/") for key in stored[step])
        for variable in layer.variables:
            key = f"{part}/{'/'.join(variable.path.split('/')[-2:])}"
            np.testing.assert_array_equal(variable.numpy(), stored[step][key], err_msg=key)


def test_the_same_command_again_trains_nothing(finished, voc_tree, capsys):
    folder, done = finished
    before = times(folder)
    assert alternate(*training_options(voc_tree, folder)) == 0
    assert times(folder) == before
    assert done.stdout[done.stdout.index("recall@300") :] in capsys.readouterr().out


def test_the_configuration_of_a_run_given_back_trains_nothing(finished, capsys):
    folder, _ = finished
    before = times(folder)
    assert alternate("--config", folder / "config.json", "--quiet") == 0
    assert times(folder) == before and "recall@300" in capsys.readouterr().out


def test_a_bad_configuration_file_is_one_line_and_leaves_no_run_folder(finished, tmp_path, capsys):
    values = json.loads((finished[0] / "config.json").read_text())
    values["detector"]["rpn"]["nms_iou"] = 1.5
    path = tmp_path / "given.json"
    path.write_text(json.dumps(values))
    assert alternate("--config", path, "--run", tmp_path / "run") == 2
    rule = "must be greater than 0 and at most 1 (got 1.5)."
    assert_one_error(capsys.readouterr().err, f"{path}, field detector.rpn.nms_iou {rule}")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_run_resumes_at_its_first_unfinished_step(finished, copied_run, voc_tree):
    for name in ("weights/step3.npz", "weights/step4.npz", "logs/step3.json", "logs/step4.json", "model.keras",
                 "evaluation/step3.rpn.json", "evaluation/step4.detector.json"):  # fmt: skip
        (copied_run / name).unlink()
    shutil.rmtree(copied_run / "proposals" / "step3")
    shutil.rmtree(copied_run / "detections" / "step4")
    before = times(copied_run)
    assert alternate(*training_options(voc_tree, copied_run)) == 0
    after = times(copied_run)
    rewritten = {str(path) for path in before if after[path] != before[path]}
    assert "report.html" in rewritten  # it showed the steps that are gone
    assert all(name.startswith(("logs/train.log", "evaluation/pictures/", "report.html")) for name in rewritten)
    assert {path for path in times(finished[0]) if "tfevents" not in path.name} <= set(after)
    for step in (3, 4):  # a step that is done again has the same result
        ours, theirs = (np.load(folder / "weights" / f"step{step}.npz") for folder in (copied_run, finished[0]))
        for key in theirs:
            np.testing.assert_allclose(ours[key], theirs[key], rtol=1e-3, atol=1e-5, err_msg=key)


def test_a_run_killed_right_after_its_weights_resumes(copied_run, voc_tree):
    for name in ("evaluation/step4.detector.json", "model.keras"):
        (copied_run / name).unlink()
    assert alternate(*training_options(voc_tree, copied_run)) == 0
    assert (copied_run / "model.keras").is_file()


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 8
    path.write_bytes(content)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "text", "beginning"),
    [
        ("weights/step1.npz", None, "weights/step1.npz: does not hold the weights of a step ("),
        ("weights/step4.npz", None, "weights/step4.npz: does not hold the weights of a step ("),
        ("config.json", "[" * 10**5, "config.json: is not JSON (nested too deeply)"),
        ("data.json", "{}", "data.json: does not describe the data of a run"),
    ],
)
def test_a_damaged_file_of_a_run_is_named(copied_run, voc_tree, capsys, name, text, beginning):
    flip(copied_run / name) if text is None else (copied_run / name).write_text(text)
    before = times(copied_run)
    assert alternate(*training_options(voc_tree, copied_run)) == 2
    assert_one_error(capsys.readouterr().err, f"{copied_run}/{beginning}")
    assert {path: time for path, time in times(copied_run).items() if path in before and "log" not in str(path)} == {
        path: time for path, time in before.items() if "log" not in str(path)
    }


@pytest.mark.slow
def test_damaged_boxes_and_figures_are_made_again(copied_run, voc_tree, capsys):
    damaged = [
        next((copied_run / folder).rglob("*.tfrecord")) for folder in ("proposals/step1/val", "detections/step4")
    ]
    whole = [path.read_bytes() for path in damaged]
    for path in damaged:
        flip(path)
    for step in ("step1.rpn", "step4.detector"):
        (copied_run / "evaluation" / f"{step}.json").write_text("{")
    assert alternate(*training_options(voc_tree, copied_run)) == 0
    errors = capsys.readouterr().err
    assert errors.count("1 damaged or missing files are computed again") == 2
    assert errors.count("measured again") == 2 and "Traceback" not in errors
    assert [path.read_bytes() for path in damaged] == whole


def test_another_option_is_refused_by_name(finished, voc_tree, capsys):
    folder, _ = finished
    before = times(folder)
    assert alternate(*training_options(voc_tree, folder, steps=(2, 2, 2, 3))) == 2
    assert times(folder) == before
    beginning = f"{folder}/config.json, field options.iterations: this run was started with [2, 2, 2, 2]"
    assert_one_error(capsys.readouterr().err, beginning)


def interrupted(arguments, number, folder, pattern):
    """Start a training, signal it as soon as the run folder has another file of that pattern; gives its errors."""
    before = set(folder.glob(pattern))
    process = subprocess.Popen(
        command("training.alternate", *arguments), env=environment(), stderr=subprocess.PIPE, text=True,
        stdout=subprocess.DEVNULL, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    while set(folder.glob(pattern)) <= before:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.1)
    process.send_signal(number)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130 and "Traceback" not in errors, errors
    return errors


@pytest.mark.slow
def test_an_interrupted_run_resumes(voc_tree, tmp_path):
    folder = tmp_path / "run"
    arguments = training_options(voc_tree, folder, steps=(2, 2, 200, 2))
    for number, pattern in (
        (signal.SIGTERM, "config.json"),
        (signal.SIGINT, "logs/step1/**/events*"),
        (signal.SIGTERM, "proposals/step1/train/**/*.tfrecord"),
        (signal.SIGINT, "logs/step3/**/events*"),
    ):
        errors = interrupted(arguments, number, folder, pattern)
        assert "Interrupted. Finished work is saved; run the same command again to resume." in errors
    before = times(folder)
    assert Path("weights/step2.npz") in before and Path("weights/step3.npz") not in before
    done = run("training.alternate", *arguments)
    assert done.returncode == 0, done.stderr
    assert (folder / "model.keras").is_file()
    assert times(folder)[Path("weights/step2.npz")] == before[Path("weights/step2.npz")]


@pytest.mark.slow
def test_joint_training_leaves_a_detector(voc_tree, tmp_path, capsys):
    folder = tmp_path / "run"
    options = training_options(voc_tree, folder, steps=(3,))
    assert joint(*options) == 0
    printed = capsys.readouterr().out
    (row,) = [line.split() for line in printed.splitlines() if line.lstrip().startswith("joint training  ")]
    assert row[2:4] == ["3", "3"] and len(row) == 8
    assert {path.name for path in (folder / "weights").iterdir()} == {"joint.npz"}
    assert (folder / "model.keras").is_file() and len(list((folder / "evaluation" / "pictures").iterdir())) == 2
    before = times(folder)
    assert joint(*options) == 0  # again: nothing is left to do
    assert times(folder) == before and printed[printed.index("recall@300") :] in capsys.readouterr().out


@pytest.mark.slow
def test_the_best_weights_are_kept(voc_tree, tmp_path, capsys):
    """A high learning rate makes the training worse, so the best weights are not the last."""
    folder = tmp_path / "run"
    options = ("--validate-every", 2, "--validate-images", 1, "--keep", "best", "--metric", "voc", "--seed", 3)
    assert joint(*training_options(voc_tree, folder, steps=(7,)), "--learning-rate", 0.02, *options) == 0
    printed = capsys.readouterr().out
    validation = json.loads((folder / "logs" / "joint.json").read_text())["validation"]
    assert validation["measure"] == "mAP area" and validation["keep"] == "best"
    scores = {one["iteration"]: one["value"] for one in validation["scores"]}
    assert list(scores) == [2, 4, 6, 7]
    for iteration, score in scores.items():
        assert f"joint training: mAP area {score:.3f} after {iteration} iterations" in printed
    best = max(scores, key=scores.get)
    kept = {path.name for path in (folder / "weights").iterdir()}
    assert kept == ({"joint.npz"} if best == 7 else {"joint.npz", "joint.last.npz"})
    assert best != 7 and f"joint training: keeps the weights after {best} of 7 iterations" in printed
    stored = [np.load(folder / "weights" / name) for name in ("joint.npz", "joint.last.npz")]
    assert stored[0].files == stored[1].files
    assert any((stored[0][key] != stored[1][key]).any() for key in stored[0].files)
    assert "the best" in (folder / "report.html").read_text() and not (folder / "checkpoints" / "joint").exists()


# Using a detector.


def test_detect_draws_pictures_and_prints_boxes(finished, tmp_path):
    paths = [tmp_path / "wide.jpg", tmp_path / "tall.png"]
    for path, size in zip(paths, ((50, 90), (120, 70)), strict=True):
        pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
        Image.fromarray(pixels).save(path)
    out = tmp_path / "out"
    done = run("keras_frcnn.detect", *paths, "--model", finished[0], "--out", out, "--score", 0.06)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["image"] for line in lines] == [str(path) for path in paths]
    assert [(line["height"], line["width"]) for line in lines] == [(50, 90), (120, 70)]
    labels = set(json.loads((finished[0] / "labels.json").read_text()).values())
    for line in lines:
        assert line["detections"]
        for found in line["detections"]:
            y0, x0, y1, x1 = found["box"]
            assert 0 <= y0 <= y1 <= line["height"] + 0.01 and 0 <= x0 <= x1 <= line["width"] + 0.01
            assert found["class"] in labels and 0.06 <= found["score"] <= 1
        with Image.open(line["picture"]) as drawn:
            assert drawn.width * line["height"] == drawn.height * line["width"]  # enlarged, not stretched
    assert sorted(path.name for path in (out / "pictures").iterdir()) == ["tall.detections.png", "wide.detections.png"]


def test_evaluate_prints_and_writes_all_tables(finished, voc_tree, tmp_path, capsys):
    out = tmp_path / "out"
    assert evaluate("--model", finished[0], "--data", f"voc:{voc_tree}", "--split", "val", "--out", out) == 0
    printed = capsys.readouterr().out
    assert "AP 11-point" in printed and "IoU 0.50:0.95" in printed and f"written to {out}" in printed
    result = json.loads((out / "evaluation.json").read_text())
    after_step_4 = json.loads((finished[0] / "evaluation" / "step4.detector.json").read_text())
    assert result["ap"] == after_step_4["ap"]  # the saved detector is the trained one
    assert result["recall"]["images"] == 2
    assert "mAP if fixed" in printed and "cause of misses" in printed and "score threshold" in printed
    assert result["errors"]["mean_ap_area"] == pytest.approx(result["ap"]["mean_ap_area"])
    assert sum(result["errors"]["misses"]["unknown"].values()) == 0  # the proposals are known
    assert "Errors on voc:" in (out / "errors.html").read_text()
    assert len(list((out / "pictures").glob("*.png"))) == 2
    assert len(list((out / "voc_results").glob("comp4_det_test_*.txt"))) == len(result["ap"]["classes"])
    assert result["metric"] == "voc07" and result["leading"]["value"] == result["ap"]["mean_ap_11point"]
    for path in (out / "detections.json", out / "voc_results"):  # scored again without the model
        data = ("--data", f"voc:{voc_tree}", "--class-names", *result["ap"]["classes"], "--split", "val")
        assert evaluate("--detections", path, *data, "--out", tmp_path / "again") == 0
        again = json.loads((tmp_path / "again" / "evaluation.json").read_text())
        assert "recall" not in again
        assert numbers_of(again["ap"]) == pytest.approx(numbers_of(result["ap"]), abs=1e-9)
        assert numbers_of(again["coco"]) == pytest.approx(numbers_of(result["coco"]), abs=1e-9)


@pytest.mark.slow
def test_evaluate_with_other_thresholds(finished, voc_tree, tmp_path):
    def counts(name, *options):
        """The number of detections in each picture, and their lowest score."""
        out = tmp_path / name
        data = ("--data", f"voc:{voc_tree}", "--split", "val", "--resamples", 0)
        assert evaluate("--model", finished[0], *data, "--out", out, *options) == 0
        rows = json.loads((out / "detections.json").read_text())
        return Counter(row["image_id"] for row in rows), min(row["score"] for row in rows)

    own, lowest = counts("own")
    few, _ = counts("few", "--max-detections", 2)
    assert max(own.values()) > 2 and set(few.values()) == {2}
    apart, _ = counts("apart", "--nms-iou", 0.001)
    assert apart.total() < own.total()
    good, higher = counts("good", "--score-threshold", lowest + 1e-4)
    assert higher > lowest and good.total() < own.total()


def numbers_of(value):
    """Every number of nested JSON objects, in their order."""
    if isinstance(value, dict):
        return [number for entry in value.values() for number in numbers_of(entry)]
    return [value] if isinstance(value, int | float) else []


@pytest.fixture
def perfect(voc_tree, tmp_path):
    """A COCO results file that has every object of the validation pictures, and the number of objects."""
    from keras_frcnn.data.sources.loading import load_dataset
    from keras_frcnn.data.sources.spec import DataSpec

    dataset = load_dataset(DataSpec(data=f"voc:{voc_tree}"), "val")
    rows = [
        {"image_id": example.image_id, "category_id": int(number), "score": 0.5,
         "bbox": [float(box[1]), float(box[0]), float(box[3] - box[1]), float(box[2] - box[0])]}
        for example in dataset.examples for box, number in zip(example.boxes, example.classes, strict=True)
    ]  # fmt: skip
    path = tmp_path / "perfect.json"
    path.write_text(json.dumps(rows))
    return path, len(rows)


@pytest.mark.parametrize("metric", ["voc07", "voc", "coco"])
def test_detections_of_any_tool_are_scored_without_a_model(perfect, voc_tree, tmp_path, capsys, metric):
    path, objects = perfect
    out = tmp_path / "out"
    options = ("--detections", path, "--data", f"voc:{voc_tree}", "--split", "val", "--metric", metric)
    assert evaluate(*options, "--resamples", 30, "--out", out) == 0
    printed = capsys.readouterr().out
    title = {"voc07": "VOC mean AP, 11-point", "voc": "VOC mean AP, area", "coco": "COCO AP"}[metric]
    (first,) = (line for line in printed.splitlines() if line.startswith(f"{title} "))
    assert first.split()[-4:] == ["1.000", "1.000", "to", "1.000"]
    assert printed.index(title) == min(map(printed.index, ("VOC mean", "COCO AP")))
    assert "proposals" not in printed and "bootstrap over the images, 30 samples" in printed
    values = json.loads((out / "evaluation.json").read_text())
    assert values["leading"] == {"title": title, "value": 1.0, "interval": [1.0, 1.0]}
    assert values["coco"]["ar100"] == 1 and values["ap"]["mean_ap_area"] == 1
    assert sum(entry["objects"] for entry in values["coco"]["classes"].values()) == objects
    assert json.loads((out / "detections.json").read_text()) == [
        {name: row[name] for name in ("image_id", "category_id", "bbox", "score")}
        for row in json.loads(path.read_text())
    ]
    assert evaluate(*options, "--resamples", 0) == 0
    assert " to " not in capsys.readouterr().out


def test_the_ids_of_a_coco_annotation_file_are_read_and_written(perfect, voc_tree, tmp_path):
    from keras_frcnn.data.sources.loading import load_dataset
    from keras_frcnn.data.sources.spec import DataSpec

    dataset = load_dataset(DataSpec(data=f"voc:{voc_tree}"), "val")
    numbers = {example.image_id: 1000 + place for place, example in enumerate(dataset.examples)}
    truth = {
        "images": [{"id": number, "file_name": f"{image_id}.jpg"} for image_id, number in numbers.items()],
        "categories": [{"id": 10 * n, "name": name} for n, name in enumerate(dataset.class_names, start=1)],
    }
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    rows = [
        row | {"image_id": numbers[row["image_id"]], "category_id": 10 * row["category_id"]}
        for row in json.loads(perfect[0].read_text())
    ]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    options = ("--data", f"voc:{voc_tree}", "--split", "val", "--coco-annotations", tmp_path / "truth.json")
    assert evaluate("--detections", tmp_path / "rows.json", *options, "--out", tmp_path / "out") == 0
    assert json.loads((tmp_path / "out" / "evaluation.json").read_text())["coco"]["ap"] == pytest.approx(1)
    written = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert [(row["image_id"], row["category_id"]) for row in written] == [
        (row["image_id"], row["category_id"]) for row in rows
    ]


def test_bad_inputs_of_detections_are_one_line(perfect, voc_tree, tmp_path, capsys):
    data = ("--data", f"voc:{voc_tree}", "--split", "val")
    text = tmp_path / "text.json"
    text.write_text("[")
    below = text / "results"
    for options, beginning in (
        (("--detections", perfect[0], "--out", text), f"--out {text}: cannot be written"),
        (("--detections", perfect[0], "--out", below), f"--out {below}: cannot be written"),
        ((), "--model: is required; give --model, or --detections to score a file"),
        (
            ("--detections", perfect[0], "--model", "x"),
            "--detections: cannot be combined with --model; give one of the two",
        ),
        (("--model", "x", "--exif", "apply"), "--exif: has no effect on --model, which knows how pictures are turned"),
        (("--detections", text), f"{text}: not JSON"),
        (("--detections", tmp_path / "gone"), f"{tmp_path / 'gone'}: neither a .json file nor a folder"),
        (("--detections", perfect[0], "--split", "train"), f"{perfect[0]}, detection 1: image_id 'val_000000' is not"),
        (("--detections", perfect[0], "--metric", "map"), "--metric must be"),
        (("--detections", perfect[0], "--nms-iou", "0.5"), "--nms-iou: has no effect on --detections; remove it"),
        (("--detections", perfect[0], "--resamples", "-1"), "--resamples must be at least 0"),
        (("--detections", perfect[0], "--coco-annotations", text), f"{text}: not JSON"),
    ):
        assert evaluate(*data, *options) == 2
        assert_one_error(capsys.readouterr().err, beginning)


# Bad inputs.


def assert_one_error(stderr, beginning):
    """One line, `error: ` and what is wrong, and no traceback; a progress bar may stand before it."""
    lines = [line for line in re.split(r"[\n\r]", stderr) if "error: " in line]
    assert len(lines) == 1, stderr
    assert lines[0].startswith(f"error: {beginning}"), lines[0]
    assert stderr.rstrip("\n").endswith(lines[0]) and "Traceback" not in stderr


@pytest.fixture
def tree(voc_tree, tmp_path):
    """A copy of the VOC tree, to be damaged."""
    return Path(shutil.copytree(voc_tree, tmp_path / "tree"))


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def first_xml(tree):
    return sorted((tree / "Annotations").glob("train*.xml"))[0]


def remove_tree(tree):
    shutil.rmtree(tree / "Annotations")
    return f"{tree}: not a VOC tree"


def empty_split(tree):
    path = tree / "ImageSets" / "Main" / "train.txt"
    path.write_text("")
    return f"{path}: the image set is empty"


def break_xml(tree):
    first_xml(tree).write_text("<annotation><object>")
    return f"{first_xml(tree)}: not well-formed XML"


def remove_width(tree):
    first_xml(tree).write_text(re.sub(r"<width>\d+</width>", "", first_xml(tree).read_text()))
    return f"{first_xml(tree)}, size/width: missing field"


def write_infinity(tree):
    text = re.sub(r"<xmin>\d+</xmin>", "<xmin>inf</xmin>", first_xml(tree).read_text(), count=1)
    assert "inf" in text
    first_xml(tree).write_text(text)
    return f"{first_xml(tree)}, object 1, bndbox/xmin: expected a finite number (got 'inf')"


def remove_picture(tree):
    path = tree / "JPEGImages" / f"{first_xml(tree).stem}.jpg"
    path.unlink()
    return f"{first_xml(tree)}, filename: picture not found"


def write_text_for_a_picture(tree):
    path = tree / "JPEGImages" / f"{first_xml(tree).stem}.jpg"
    path.write_text("no picture")
    return f"{path}: cannot be read as a picture"


@pytest.mark.parametrize(
    "damage",
    [remove_tree, empty_split, break_xml, remove_width, write_infinity, remove_picture, write_text_for_a_picture],
)
def test_bad_data_are_one_line(tree, tmp_path, capsys, damage):
    beginning = damage(tree)
    assert alternate(*training_options(tree, tmp_path / "run")) == 2
    assert_one_error(capsys.readouterr().err, beginning)
    assert not (tmp_path / "run").exists()


def test_bad_data_are_one_line_in_a_process(tree, tmp_path):
    beginning = break_xml(tree)
    done = run("training.alternate", *training_options(tree, tmp_path / "run"))
    assert done.returncode == 2
    assert_one_error(done.stderr, beginning)


@pytest.mark.parametrize(
    ("options", "beginning"),
    [
        ("--weights imagenet21k", "--weights imagenet21k: unknown source of weights; use `imagenet`"),
        ("--weights /does/not/exist.h5", "/does/not/exist.h5"),
        ("--train nothing", "{tree}/ImageSets/Main/nothing.txt: image set not found"),
        ("--data /does/not/exist", "--data '/does/not/exist': unknown kind of data source"),
        ("--data voc:/does/not/exist", "/does/not/exist: folder not found"),
        ("--class-names horse", "{tree}/Annotations/train_00000"),
        ("--class-names horse horse", "class names: horse occurs more than once"),
        ("--short-side -64", "--short-side "),
        ("--long-side 0", "--long-side "),
        ("--anchor-scales 16 -32", "--anchor-scales "),
        ("--fc-units -1", "--fc-units "),
        ("--rois -1", "--rois "),
        ("--iterations 2 2 -2 2", "--iterations "),
        ("--steps 0 2 2 2", "--iterations "),
        ("--iterations 2 2 2", "--iterations "),
        ("--learning-rate 0.001 0.001 -1 0.001", "--learning-rate "),
        ("--learning-rate 0.001 0.001 nan 0.001", "--learning-rate "),
        ("--rpn-images 0", "--rpn-images "),
        ("--head-images -2", "--head-images "),
        ("--momentum -0.9", "--momentum "),
        ("--momentum 1.5", "--momentum "),
        ("--weight-decay -1", "--weight-decay "),
        ("--drop-at -0.5", "--drop-at "),
        ("--seed 10000000000", "--seed "),
        ("--anchor-ratios nan", "--anchor-ratios "),
        ("--dropout 1", "--dropout "),
        ("--nms-iou 0", "--nms-iou "),
        ("--min-size nan", "--min-size "),
        ("--accumulate 0", "--accumulate "),
        ("--clip-norm 0", "--clip-norm "),
        ("--warmup -1", "--warmup "),
        ("--checkpoint-iterations 0", "--checkpoint-iterations "),
        ("--checkpoint-minutes nan", "--checkpoint-minutes "),
        ("--checkpoints 0", "--checkpoints "),
        ("--feature-cache-gib -1", "--feature-cache-gib "),
        ("--validate-every 0", "--validate-every "),
        ("--validate-images 0", "--validate-images must be"),
        ("--patience 0 --validate-every 1", "--patience "),
        ("--patience 1", "--patience: needs measurements while a step trains; give --validate-every"),
        ("--keep best", "--keep best: needs measurements while a step trains; give --validate-every"),
        ("--validate-images 50", "--validate-images: needs measurements while a step trains; give --validate-every"),
    ],
)
def test_a_bad_option_is_one_line_and_leaves_no_run_folder(voc_tree, tmp_path, capsys, monkeypatch, options, beginning):
    # Later options win.  A value that is not refused must not start to train here.
    monkeypatch.setattr("training.run.training.train_step", lambda *_: pytest.fail("it was not refused"))
    folder = tmp_path / "run"
    assert alternate(*training_options(voc_tree, folder), *options.split()) == 2
    assert_one_error(capsys.readouterr().err, beginning.format(tree=voc_tree))
    assert not folder.exists()  # else the mended command would be refused as another run's


def test_a_cut_jpeg_stops_the_training_and_is_named(tree, tmp_path, capsys):
    path = tree / "JPEGImages" / "train_000002.jpg"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert alternate(*training_options(tree, tmp_path / "run", steps=(8, 1, 1, 1))) == 2
    assert_one_error(capsys.readouterr().err, f"{path}: not a readable picture (")


def test_a_cut_jpeg_stops_the_evaluation_and_is_named(tree, finished, capsys):
    path = tree / "JPEGImages" / "val_000001.jpg"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert evaluate("--model", finished[0], "--data", f"voc:{tree}", "--split", "val") == 2
    assert_one_error(capsys.readouterr().err, f"{path}: not a readable picture (")


@pytest.mark.parametrize("iou", ["-0.1", "1", "nan"])
def test_an_iou_of_evaluate_is_from_0_to_below_1(capsys, iou):
    assert evaluate("--model", "gone", "--data", "synthetic", "--iou", iou) == 2
    assert_one_error(capsys.readouterr().err, f"--iou must be at least 0 and less than 1 (got {float(iou)}).")


def test_bad_inputs_of_evaluate_are_one_line(saved, voc_tree, tmp_path, capsys):
    text = tmp_path / "text.keras"
    text.write_text("no model")
    for options, beginning in (
        (("--model", tmp_path), f"{tmp_path}/model.keras: no such model file"),
        (("--model", text), f"{text}: not a .keras file"),
        (("--nms-iou", "1.5"), "--nms-iou must be greater than 0 and at most 1 (got 1.5)"),
        (("--max-detections", "0"), "--max-detections must be greater than 0 and at most 100000 (got 0)"),
        (("--split", "nothing"), f"{voc_tree}/ImageSets/Main/nothing.txt: image set not found"),
        (("--data", "voc:/does/not/exist"), "/does/not/exist: folder not found"),
        ((), f"{voc_tree}/Annotations/val_000000.xml, object 1: class '"),  # not the model's classes
    ):
        assert evaluate("--model", saved, "--data", f"voc:{voc_tree}", "--split", "val", *options) == 2
        assert_one_error(capsys.readouterr().err, beginning)


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "picture.png"
    Image.new("RGB", (90, 60), (10, 200, 30)).save(path)
    return path


def test_a_file_where_a_folder_should_be_is_one_line(detect, saved, voc_tree, picture, tmp_path, capsys):
    file = tmp_path / "file"
    file.write_text("in the way")
    assert detect("--model", saved, picture, "--out", file) == 2
    assert_one_error(capsys.readouterr().err, f"{file}")
    assert alternate(*training_options(voc_tree, file)) == 2
    assert_one_error(capsys.readouterr().err, f"{file}: is a file, not a run folder")
    assert alternate(*training_options(voc_tree, file / "run")) == 2
    assert_one_error(capsys.readouterr().err, f"{file}")
    assert file.read_text() == "in the way"
