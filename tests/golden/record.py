"""The golden record: what the whole pipeline computes on fixed seeds, as hashes and a few numbers.

    python tests/golden/record.py           # compares this checkout with tests/golden/record.json
    python tests/golden/record.py --write   # replaces the record, after a change of arithmetic that was intended

It covers batches, targets, losses, gradients, proposals, detections, the weights after the four steps and after joint
training, and the answers of both exports.  A change of structure must leave all of it as it is.  About four minutes.

Everything runs on one thread with TensorFlow's deterministic operations, so that float32 results are the same bits
each time on one type of CPU.  Another CPU may round differently: where the CPU is another one than the record's, only
the numbers are compared, to a relative tolerance of 1e-3.
"""

import argparse
import contextlib
import hashlib
import io
import json
import os
import platform
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RECORD = Path(__file__).with_suffix(".json")
ONE_THREAD = {
    "CUDA_VISIBLE_DEVICES": "-1",
    "OMP_NUM_THREADS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "TF_NUM_INTEROP_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
}
TOLERANCE = 1e-3  # relative, between CPUs of different types
SMALL = (
    "--short-side 64 --long-side 128 --fc-units 32 --anchor-scales 16 32 --min-size 4 --rois 16 --weights none "
    "--deterministic --quiet"
).split()
TREE = {"train": 6, "val": 3}  # pictures of the drawn data set
SIZE = (64, 96)  # of its pictures, and of the TFLite export


def summarise(array) -> dict:
    """Hash, shape and a few numbers of one array; floating point numbers as float32."""
    import numpy as np

    array = np.asarray(array)
    array = array.astype(np.float32) if array.dtype.kind in "fV" else array.astype(np.int64)
    plain = array.astype(np.float64)
    return {
        "shape": list(array.shape),
        "sha256": hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16],
        "numbers": [float(f"{value:.6g}") for value in (plain.sum(), abs(plain).sum(), *plain.ravel()[:3])],
    }


def flatten(prefix: str, values) -> Iterator[tuple[str, object]]:
    """(name, array) of every array in nested named tuples, dictionaries and lists."""
    if hasattr(values, "_asdict"):
        values = values._asdict()
    if isinstance(values, dict):
        for name, value in values.items():
            yield from flatten(f"{prefix}/{name}", value)
    elif isinstance(values, list | tuple) and not all(isinstance(value, float) for value in values):
        for index, value in enumerate(values):
            yield from flatten(f"{prefix}/{index}", value)
    else:
        yield prefix, values.numpy() if hasattr(values, "numpy") else values


def record_functions(tree: Path) -> Iterator[tuple[str, object]]:
    """Batches, losses, gradients, proposals and detections, computed in this process."""
    import tensorflow as tf

    from keras_frcnn.data.sources.loading import load_dataset
    from keras_frcnn.data.sources.spec import DataSpec
    from keras_frcnn.data.stream.pipeline import training_batches
    from keras_frcnn.facts.config import AnchorConfig, DetectorConfig, HeadConfig, ImageConfig, RPNConfig, TestConfig
    from keras_frcnn.network.model import FasterRCNN
    from training.engine.objectives import head_losses, joint_losses, rpn_losses
    from training.engine.trainer import loss_and_gradients

    config = DetectorConfig(
        anchors=AnchorConfig(scales=(16.0, 32.0)),
        image=ImageConfig(short_side=64, long_side=128),
        rpn=RPNConfig(channels=32, min_size=4.0, train_post_nms_topk=50, batch_size=16),  # not all negatives
        head=HeadConfig(fc_units=32, batch_size=32),
        test=TestConfig(pre_nms_topk=100, post_nms_topk=40, max_detections=20),
    )
    dataset = load_dataset(DataSpec(data=f"voc:{tree}"), "train")
    model = FasterRCNN(config, dataset.class_names, seed=3)
    for layer in (model.rpn.scores, model.head.class_logits):  # scores far apart: near-ties would turn on rounding
        layer.kernel.assign(layer.kernel * 20.0)

    batch = next(iter(training_batches(dataset, config.image, 2, seed=5)))
    yield from flatten("batch", batch._replace(image_ids=tf.strings.to_hash_bucket_fast(batch.image_ids, 1 << 30)))
    yield from flatten("detections", model((batch.images, batch.image_sizes)))
    proposals = detached_proposals(model, batch)
    yield from flatten("proposals", proposals)
    batch = batch._replace(proposals=proposals)
    parts = {
        "rpn": (rpn_losses, ("backbone", "rpn")),
        "head": (head_losses, ("backbone", "head")),
        "joint": (joint_losses, ("backbone", "rpn", "head")),
    }
    for name, (losses, names) in parts.items():
        variables = [variable for part in names for variable in getattr(model, part).trainable_variables]
        means, total, gradients, samples = in_graph(loss_and_gradients, model, losses, batch, variables, True)
        yield from flatten(f"losses/{name}", {"means": means, "total": total, "samples": samples})
        yield f"gradients/{name}", joined(gradients)


def in_graph(function, *arguments):
    """The result of `function(*arguments)`, computed in a graph as training does."""
    import tensorflow as tf

    return tf.function(lambda: function(*arguments))()


def detached_proposals(model, batch):
    """The proposals that a detector trains on."""
    from keras_frcnn.network.forward import detector_training_counts, propose

    features = model.backbone(batch.images, batch.image_sizes)
    return propose(model.parts, features, batch.image_sizes, detector_training_counts(model.config))


def run(module: str, *arguments):
    """Run one of the command lines on one thread; an exit status other than 0 is an error with its output."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **ONE_THREAD, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}\nexit status {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def weights(path: Path) -> list:
    """The arrays of a .keras file, in the order of their names."""
    import h5py

    found = {}
    with zipfile.ZipFile(path) as archive, h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as file:
        file.visititems(lambda name, item: found.update({name: item[()]} if isinstance(item, h5py.Dataset) else {}))
    return [found[name] for name in sorted(found)]


def joined(arrays):
    """All values of several arrays as one row."""
    import numpy as np

    return np.concatenate([np.ravel(array) for array in arrays])


def record_commands(tree: Path, folder: Path) -> Iterator[tuple[str, object]]:
    """The four steps, joint training, evaluation, detection and both exports, through their command lines."""
    picture = sorted((tree / "JPEGImages").glob("*.jpg"))[0]
    data = ("--data", f"voc:{tree}")
    for name, iterations in (("alternate", (3, 3, 3, 3)), ("joint", (3,))):
        run(f"training.{name}", *data, "--run", folder / name, *SMALL, "--iterations", *iterations)
        yield f"{name}/weights", joined(weights(folder / name / "model.keras"))
        for path in sorted((folder / name / "evaluation").glob("*.json")):
            result = json.loads(path.read_text())
            measured = {key: numbers_in(result[key]) for key in ("recall", "ap") if key in result}
            yield from flatten(f"{name}/{path.stem}", measured)
    model = folder / "alternate"
    out = folder / "measured"
    run("training.evaluate", "--model", model, *data, "--split", "val", "--out", out)
    measured = json.loads((out / "evaluation.json").read_text())
    yield from flatten("evaluate", {"all": numbers_in([measured["ap"], measured["recall"]])})
    answer = run("keras_frcnn.detect", "--model", model, "--score", "0", "--out", out, picture)
    found = json.loads(answer)["detections"]
    yield "detect", [float(value) for detection in found for value in (*detection["box"], detection["score"])]
    compared = ("--model", model, "--score-threshold", "0.01", "--images", picture)
    run("export.saved_model", *compared, "--out", folder / "saved" / "1")
    run("export.tflite", *compared, "--out", folder / "lite.tflite", "--size", "{}x{}".format(*SIZE))
    yield from answers_of_exports(folder / "saved" / "1", folder / "lite.tflite", picture)


def numbers_in(value) -> list[float]:
    """Every number in a JSON value, in its order; missing ones as -1."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [number for entry in value for number in numbers_in(entry)]
    if value is None:
        return [-1.0]
    return [float(value)] if isinstance(value, int | float) else []


def answers_of_exports(saved: Path, lite: Path, picture: Path) -> Iterator[tuple[str, object]]:
    """What the SavedModel's signatures and the TFLite file answer for one picture."""
    import numpy as np
    import tensorflow as tf
    from ai_edge_litert.interpreter import Interpreter
    from PIL import Image

    encoded = picture.read_bytes()
    pixels = np.asarray(Image.open(picture).convert("RGB"))
    loaded = tf.saved_model.load(str(saved))
    inputs = {"images": tf.constant(pixels[None])}
    for signature in ("serving_default", "proposals"):
        yield from flatten(f"saved_model/{signature}", loaded.signatures[signature](**inputs))
    outputs = loaded.signatures["image_bytes"](image_bytes=tf.constant([encoded]))
    outputs.pop("image_errors")
    yield from flatten("saved_model/image_bytes", outputs)
    runner = Interpreter(str(lite), num_threads=1).get_signature_runner()
    yield from flatten("tflite", runner(images=pixels[None]))


def collect() -> dict[str, dict]:
    import tensorflow as tf

    from keras_frcnn.data.sources.synthetic.drawn import write_synthetic

    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.experimental.enable_op_determinism()
    with tempfile.TemporaryDirectory() as directory:
        tree = Path(directory, "tree")
        write_synthetic(tree, TREE, seed=0, size=SIZE)
        with contextlib.chdir(directory):
            found = [*record_functions(tree), *record_commands(tree, Path(directory))]
    return {name: summarise(array) for name, array in found}


def cpu() -> str:
    """The model of this CPU, as far as the system tells."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def differences(old: dict, new: dict, exact: bool) -> list[str]:
    """One line for each entry that is missing, new or different."""
    lines = [f"missing: {name}" for name in old.keys() - new.keys()]
    lines += [f"not in the record: {name}" for name in new.keys() - old.keys()]
    for name in old.keys() & new.keys():
        a, b = old[name], new[name]
        if exact and a["sha256"] == b["sha256"]:
            continue
        close = a["shape"] == b["shape"] and all(
            abs(x - y) <= TOLERANCE * max(abs(x), abs(y), 1e-3) for x, y in zip(a["numbers"], b["numbers"], strict=True)
        )
        if exact or not close:
            kind = "bits differ" if close else "numbers differ"
            lines.append(f"{kind}: {name}: {a['shape']} {a['numbers']} -> {b['shape']} {b['numbers']}")
    return sorted(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description="Compare the pipeline's results with the golden record.")
    parser.add_argument("--write", action="store_true", help="replace the record by what this checkout computes")
    options = parser.parse_args()
    new = collect()
    if options.write:
        content = {"cpu": cpu(), "entries": new}
        lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(entry)}" for name, entry in sorted(new.items()))
        RECORD.write_text(f'{{"cpu": {json.dumps(content["cpu"])}, "entries": {{\n{lines}\n}}}}\n')
        print(f"{len(new)} entries written to {RECORD.relative_to(ROOT)}")
        return 0
    stored = json.loads(RECORD.read_text())
    exact = stored["cpu"] == cpu()
    found = differences(stored["entries"], new, exact)
    print("\n".join(found))
    how = "bit for bit" if exact else f"to {TOLERANCE:g}, as the record was made on another CPU ({stored['cpu']})"
    print(f"{len(new)} entries compared {how}: {len(found)} differ")
    return 1 if found else 0


if __name__ == "__main__":
    os.environ.update(ONE_THREAD)
    sys.path.insert(0, str(ROOT))
    raise SystemExit(main())
