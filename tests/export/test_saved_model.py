"""The SavedModel: its answers in a bare process, what it is made of, what it survives, and its command line."""

import contextlib
import dataclasses
import io
import pickle
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework import op_def_registry

from export import saved_model
from export.savedmodel import signatures
from export.shared.parity import Tolerance, compare, format_parity, reference_detections, reference_proposals, synthetic_images
from export.saved_model import main
from keras_frcnn.facts.config import config_to_dict
from keras_frcnn.facts.files import read_json
from keras_frcnn.network import forward
from keras_frcnn.data.images import decode_image
from keras_frcnn.network.model import FasterRCNN

TOLERANCE = Tolerance(1e-3, 1e-4)
OUTPUTS = ("detection_boxes", "detection_classes", "detection_scores", "num_detections")


def run(*arguments):
    """The exit status of the command line, called in this process."""
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as exit_:
        return exit_.code or 0
    return 0


@pytest.fixture(scope="module")
def detector(make_confident_model, tmp_path_factory):
    """(the Keras model, its file)"""
    path = tmp_path_factory.mktemp("run") / "model.keras"
    model = make_confident_model()
    model.save(path)
    return model, path


@pytest.fixture(scope="module")
def picture_files(tmp_path_factory):
    """Two drawn scenes, as files: comparing on large ones would take long."""
    folder = tmp_path_factory.mktemp("pictures")
    for index, image in enumerate(synthetic_images(2, (96, 128))):
        Image.fromarray(image).save(folder / f"{index}.png")
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def exported(detector, picture_files, tmp_path_factory):
    """(folder, what the command line printed)"""
    folder = tmp_path_factory.mktemp("served") / "detector" / "3"
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert run("--model", detector[1], "--out", folder, "--images", *picture_files) == 0
    return folder, printed.getvalue()


@pytest.fixture(scope="module")
def loaded(exported):
    return tf.saved_model.load(str(exported[0]))


def rows(outputs, row=0):
    count = int(outputs["num_detections"][row])
    return tuple(np.asarray(outputs[name][row, :count]) for name in OUTPUTS[:3])


def png(image):
    return tf.io.encode_png(image).numpy()


def assert_parity(model, reference, answers, test=None, least=10):
    parity = compare(reference, answers, TOLERANCE, test or model.config.test)
    assert parity.detections >= least, format_parity(parity)
    assert parity.unmatched == parity.apart == 0 and parity.matched == parity.detections, format_parity(parity)


# Answers.

BARE = """
import pickle, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("keras_frcnn", "training", "export", "keras", "tf_keras"):
            raise ImportError(f"{name} is not to be imported")

import tensorflow as tf
for name in [name for name in sys.modules if name.split(".")[0] in ("keras", "keras_frcnn", "export", "training")]:
    del sys.modules[name]
sys.meta_path.insert(0, Blocked())
loaded = tf.saved_model.load(sys.argv[1])
requests = pickle.load(open(sys.argv[2], "rb"))
answers = []
for signature, name, value in requests:
    outputs = loaded.signatures[signature](**{name: tf.constant(value)})
    answers.append({key: output.numpy() for key, output in outputs.items()})
answers.append([name for name in sys.modules if name.split(".")[0] in ("keras", "keras_frcnn", "export", "training")])
pickle.dump(answers, open(sys.argv[3], "wb"))
"""


def test_in_a_bare_process_all_signatures_answer_as_the_keras_model(detector, exported, tmp_path):
    model, _ = detector
    same = synthetic_images(3, (64, 96))
    others = [*synthetic_images(1, (60, 90)), *synthetic_images(1, (150, 40)), *synthetic_images(1, (32, 200))]
    requests = [
        ("serving_default", "images", np.stack(same)),
        *(("serving_default", "images", image[None]) for image in same),
        ("image_bytes", "image_bytes", [png(image) for image in others]),
        *(("image_bytes", "image_bytes", [png(image)]) for image in others),
        ("proposals", "images", np.stack(same)),
    ]
    (tmp_path / "requests").write_bytes(pickle.dumps(requests))
    command = [sys.executable, "-I", "-c", BARE, exported[0], tmp_path / "requests", tmp_path / "answers"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    *answers, imported = pickle.loads((tmp_path / "answers").read_bytes())
    assert imported == []
    batch, singles, files, single_files, proposals = answers[0], answers[1:4], answers[4], answers[5:8], answers[8]

    reference = reference_detections(model, same)
    scores = np.concatenate([scores for *_, scores in reference])
    assert np.ptp(scores) > 0.5  # else scores would be close whatever the export computes
    assert_parity(model, reference, [rows(batch, row) for row in range(3)])
    assert_parity(model, reference_detections(model, others), [rows(files, row) for row in range(3)])
    assert files["image_errors"].tolist() == [b""] * 3
    for together, alone in ((batch, singles), (files, single_files)):
        for row, single in enumerate(alone):
            for name in OUTPUTS:
                np.testing.assert_allclose(together[name][row], single[name][0], rtol=1e-4, atol=1e-5, err_msg=name)

    counts = proposals["num_proposals"].astype(int)
    found = [
        (proposals["proposal_boxes"][row, :count], np.zeros(count), proposals["proposal_scores"][row, :count])
        for row, count in enumerate(counts)
    ]
    all_rows = dataclasses.replace(model.config.test, score_threshold=0.0, max_detections=40)
    assert_parity(model, reference_proposals(model, same), found, all_rows)


def test_outputs_follow_tensorflows_convention(loaded):
    image = synthetic_images(1, (96, 128))[0]
    outputs = {name: value.numpy() for name, value in loaded.signatures["serving_default"](images=image[None]).items()}
    assert {name: value.shape for name, value in outputs.items()} == {
        "detection_boxes": (1, 20, 4), "detection_classes": (1, 20), "detection_scores": (1, 20), "num_detections": (1,)
    }  # fmt: skip
    assert {value.dtype for value in outputs.values()} == {np.dtype(np.float32)}
    count = int(outputs["num_detections"][0])
    boxes, classes, scores = (outputs[name][0] for name in OUTPUTS[:3])
    assert 0 < count and (boxes >= 0).all() and (boxes <= 1).all()
    assert (boxes[:count, 2:] > boxes[:count, :2]).all() and set(classes[:count]) <= {1.0, 2.0, 3.0}
    assert (np.diff(scores[:count]) <= 0).all() and (scores[:count] > 0.05).all()


def test_thresholds_and_rows_are_the_configurations_and_the_rest_is_zero(detector):
    model, _ = detector
    test = dataclasses.replace(model.config.test, score_threshold=0.6, nms_iou=0.1, max_detections=15)
    strict = FasterRCNN(dataclasses.replace(model.config, test=test), model.class_names)
    strict.set_weights(model.get_weights())
    image = synthetic_images(1, (96, 128))[0]
    outputs = signatures.make_signatures(strict, strict.head)["serving_default"](images=image[None])
    count = int(outputs["num_detections"][0])
    assert 0 < count < 15 and outputs["detection_boxes"].shape == (1, 15, 4)
    assert (outputs["detection_scores"][0, :count].numpy() > 0.6).all()
    for name in OUTPUTS[:3]:
        assert not outputs[name][0, count:].numpy().any() and outputs[name][0, :count].numpy().any()
    assert_parity(strict, reference_detections(strict, [image]), [rows(outputs)], least=count)


# What it is made of.


@pytest.fixture(scope="module")
def graph(exported):
    content = saved_model_pb2.SavedModel.FromString((exported[0] / "saved_model.pb").read_bytes())
    return content.meta_graphs[0]


def test_all_ops_are_tensorflows_own(graph):
    library = graph.graph_def.library
    nodes = [*graph.graph_def.node, *(node for function in library.function for node in function.node_def)]
    functions = {function.signature.name for function in library.function}
    ops = {node.op for node in nodes} - functions
    assert {"Conv2D", "CropAndResize", "NonMaxSuppressionV4", "DecodeImage", "DecodeJpeg", "ResizeBilinear"} <= ops
    assert {name for name in ops if op_def_registry.get(name) is None} == set()
    assert not {name for name in ops if "PyFunc" in name or "Python" in name or "Generator" in name}


def test_its_objects_are_variables_and_assets(exported, loaded, graph, detector):
    model, _ = detector
    kinds = [node.WhichOneof("kind") for node in graph.object_graph_def.nodes]
    assert kinds.count("variable") == len(model.variables) and kinds.count("asset") == 2
    assert "function" not in kinds  # none that Python could call but the signatures
    identifiers = {node.user_object.identifier for node in graph.object_graph_def.nodes}
    assert not {name for name in identifiers if "keras" in name.lower()}
    assert set(loaded.signatures) == {"serving_default", "image_bytes", "proposals"}
    stored = sum(path.stat().st_size for path in (exported[0] / "variables").iterdir())
    assert 4 * model.count_params() < stored < 4.2 * model.count_params()  # once, not once a signature


def test_labels_and_configuration_are_assets(exported, loaded, detector):
    model, _ = detector
    assert read_json(loaded.labels.asset_path.numpy().decode()) == {"1": "cat", "2": "dog", "3": "hen"}
    assert read_json(loaded.config.asset_path.numpy().decode()) == {
        "detector": config_to_dict(model.config), "precision": "float32", "svd": None
    }  # fmt: skip
    assert sorted(path.name for path in (exported[0] / "assets").iterdir()) == ["config.json", "labels.json"]


def test_the_signatures_read_well(graph):
    def described(tensors):
        return {
            name: (tf.as_dtype(info.dtype).name, *(dimension.size for dimension in info.tensor_shape.dim))
            for name, info in tensors.items()
        }

    detections = {
        "detection_boxes": ("float32", -1, 20, 4),
        "detection_classes": ("float32", -1, 20),
        "detection_scores": ("float32", -1, 20),
        "num_detections": ("float32", -1),
    }
    images = {"images": ("uint8", -1, -1, -1, 3)}
    found = {name: graph.signature_def[name] for name in ("serving_default", "image_bytes", "proposals")}
    assert {name: (described(each.inputs), described(each.outputs)) for name, each in found.items()} == {
        "serving_default": (images, detections),
        "image_bytes": ({"image_bytes": ("string", -1)}, {**detections, "image_errors": ("string", -1)}),
        "proposals": (
            images,
            {
                "proposal_boxes": ("float32", -1, 40, 4),
                "proposal_scores": ("float32", -1, 40),
                "num_proposals": ("float32", -1),
            },
        ),
    }


# What it survives.


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def black_png(height, width):
    """A grey PNG of one bit a pixel, made without its pixels in memory at once."""
    pack = zlib.compressobj(1)
    line = bytes(1 + (width + 7) // 8)
    body = b"".join([*(pack.compress(line * 100) for _ in range(height // 100)), pack.compress(line * (height % 100)),
                     pack.flush()])  # fmt: skip
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def turned():
    """EXIF that says: to be shown turned by 90 degrees."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


@pytest.fixture(scope="module")
def scene():
    return Image.fromarray(synthetic_images(1, (96, 128))[0])


BAD = {
    "nothing": (lambda scene: b"", b"no bytes"),
    "text": (lambda scene: b"this is no picture", b"neither JPEG nor PNG"),
    "gif": (lambda scene: encoded(scene, "GIF"), b"neither JPEG nor PNG"),
    "bmp": (lambda scene: encoded(scene, "BMP"), b"neither JPEG nor PNG"),
    "jpeg start alone": (lambda scene: b"\xff\xd8\xff\xe0 and no more", b"damaged: cannot be decoded"),
    "cut png": (lambda scene: encoded(scene, "PNG")[:3000], b"damaged: cannot be decoded"),
    "cut jpeg": (lambda scene: encoded(scene, "JPEG")[:2000], b"damaged: cannot be decoded"),
    "png header alone": (lambda scene: encoded(scene, "PNG")[:33], b"damaged: cannot be decoded"),
    "no columns": (lambda scene: encoded(scene, "PNG")[:16] + bytes(17), b"neither JPEG nor PNG"),
    "large png": (
        lambda scene: black_png(20000, 20000), b"20000 x 20000 pixels are over the limit of 67108864 in all"
    ),
    "large jpeg": (
        lambda scene: encoded(scene, "JPEG").replace(
            struct.pack(">HH", 96, 128), struct.pack(">HH", 65000, 64000), 1
        ),
        b"65000 x 64000 pixels are over the limit of 67108864 in all",
    ),
    "claims 2**32": (
        lambda scene: b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", b"\xff" * 8 + b"\x08\x02\0\0\0"),
        b"4294967295 x 4294967295 pixels are over the limit of 67108864 in all",
    ),
}  # fmt: skip
FINE = {
    "grey": lambda scene: encoded(scene.convert("L"), "PNG"),
    "grey jpeg": lambda scene: encoded(scene.convert("L"), "JPEG"),
    "palette": lambda scene: encoded(scene.convert("P"), "PNG"),
    "alpha": lambda scene: encoded(scene.convert("RGBA"), "PNG"),
    "grey and alpha": lambda scene: encoded(scene.convert("LA"), "PNG"),
    "cmyk": lambda scene: encoded(scene.convert("CMYK"), "JPEG"),
    "16 bit": lambda scene: encoded(Image.fromarray(np.asarray(scene.convert("L")).astype(np.uint16) * 257), "PNG"),
    "one bit": lambda scene: encoded(scene.convert("1"), "PNG"),
    "progressive": lambda scene: encoded(scene, "JPEG", progressive=True),
    "turned by exif": lambda scene: encoded(scene, "JPEG", exif=turned()),
    "one pixel": lambda scene: encoded(Image.new("RGB", (1, 1)), "PNG"),
    "one row": lambda scene: black_png(1, 20000),
    "one column": lambda scene: black_png(20000, 1),
}  # fmt: skip


def test_one_bad_picture_does_not_cost_the_others(loaded, scene):
    contents = [encoded(scene, "PNG"), *(make(scene) for make, _ in BAD.values()), encoded(scene, "PNG")]
    answer = {name: value.numpy() for name, value in loaded.signatures["image_bytes"](
        image_bytes=tf.constant(contents)).items()}  # fmt: skip
    assert dict(zip(BAD, answer["image_errors"][1:-1], strict=True)) == {name: why for name, (_, why) in BAD.items()}
    assert answer["image_errors"][0] == answer["image_errors"][-1] == b""
    for name in OUTPUTS:
        assert not answer[name][1:-1].any()
    alone = loaded.signatures["image_bytes"](image_bytes=tf.constant(contents[:1]))
    assert alone["num_detections"].numpy().all()
    for row in (0, -1):
        for name in OUTPUTS:
            np.testing.assert_allclose(answer[name][row], alone[name][0], rtol=1e-4, atol=1e-5)


def test_every_kind_of_picture_is_seen_as_in_training(detector, loaded, scene):
    model, _ = detector
    contents = [make(scene) for make in FINE.values()]
    answer = loaded.signatures["image_bytes"](image_bytes=tf.constant(contents))
    assert dict(zip(FINE, answer["image_errors"].numpy(), strict=True)) == dict.fromkeys(FINE, b"")
    images = [decode_image(content).numpy() for content in contents]
    answers = [rows(answer, row) for row in range(len(contents))]
    assert_parity(model, reference_detections(model, images), answers)
    assert sum(len(scores) > 0 for *_, scores in answers) >= 10


MEMORY = """
import re, sys
import tensorflow as tf
signature = tf.saved_model.load(sys.argv[1]).signatures["image_bytes"]
small, *large = (open(path, "rb").read() for path in sys.argv[2:])
for content in (small, *large):
    print(signature(image_bytes=tf.constant([content, small]))["image_errors"].numpy()[0].decode())
    print(re.search(r"VmHWM:\\s*(\\d+) kB", open("/proc/self/status").read())[1])  # the most it has ever been
"""


@pytest.mark.slow
def test_large_pictures_take_bounded_memory(exported, scene, tmp_path):
    contents = [encoded(scene, "PNG"), black_png(20000, 20000), black_png(8192, 8192)]
    paths = [tmp_path / str(index) for index in range(3)]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    done = subprocess.run([sys.executable, "-I", "-c", MEMORY, exported[0], *paths], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    before, refused, decoded = (int(line) / 2**10 for line in done.stdout.splitlines()[1::2])  # MiB
    assert done.stdout.splitlines()[::2] == ["", "20000 x 20000 pixels are over the limit of 67108864 in all", ""]
    assert refused - before < 100 < decoded - before < 400  # 1200 MB of pixels; 201 MB


@pytest.mark.parametrize("shape", [(0, 8, 8, 3), (1, 0, 8, 3), (1, 8, 0, 3)])
@pytest.mark.parametrize("signature", ["serving_default", "proposals"])
def test_no_pixels_are_a_clear_error(loaded, signature, shape):
    with pytest.raises(tf.errors.InvalidArgumentError, match="images holds no pixels: give at least one picture"):
        loaded.signatures[signature](images=tf.zeros(shape, tf.uint8))


def test_no_picture_is_a_clear_error(loaded):
    with pytest.raises(tf.errors.InvalidArgumentError, match="image_bytes is empty: give at least one picture"):
        loaded.signatures["image_bytes"](image_bytes=tf.constant([], tf.string))


# The command line.


def test_it_says_what_it_did(exported):
    folder, text = exported
    for name in ("serving_default", "image_bytes", "proposals"):
        assert f"{name}: 2 pictures, " in text
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert f"written: {size / 1e6:.1f} MB, 6 warm-up requests in it" in text
    assert text.splitlines()[-1].endswith(f"SavedModel: {folder}")
    assert [path.name for path in folder.parent.iterdir()] == ["3"]


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_is_stored_and_computed(detector, picture_files, tmp_path, precision):
    model, path = detector
    folder = tmp_path / "1"
    assert run("--model", path, "--out", folder, "--images", *picture_files, "--precision", precision) == 0
    stored = sum(file.stat().st_size for file in (folder / "variables").iterdir())
    assert 2 * model.count_params() < stored < 2.2 * model.count_params()
    graph = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes()).meta_graphs[0].graph_def
    nodes = [node for function in graph.library.function for node in function.node_def]
    kinds = {
        # An attribute at its default, float32, is not written.
        op: {tf.as_dtype(node.attr["T"].type or "float32").name for node in nodes if node.op == op}
        for op in ("Conv2D", "MatMul", "CropAndResize", "NonMaxSuppressionV4")
    }
    assert kinds == {
        "Conv2D": {precision}, "MatMul": {precision}, "CropAndResize": {"float32"}, "NonMaxSuppressionV4": {"float32"}
    }  # fmt: skip
    assert read_json(folder / "assets" / "config.json")["precision"] == precision


@pytest.mark.slow
def test_svd_is_written_and_its_map_is_told(detector, picture_files, voc_tree, tmp_path, capsys):
    model, path = detector
    folder = tmp_path / "1"
    arguments = ["--model", path, "--out", folder, "--images", *picture_files]
    arguments += ["--svd", 8, 4, "--calibrate", *picture_files]
    # The classes of the detector are others than the scenes', so that the data set must be one of its own.
    annotations = tmp_path / "voc"
    write_voc(annotations, synthetic_images(2, (64, 96)))
    assert run(*arguments, "--data", f"voc:{annotations}", "--split", "test") == 0
    text = capsys.readouterr().out
    assert "fc6 and fc7 cut to the ranks 8 and 4" in text
    assert f"mAP 11-point on voc:{annotations} test: Keras model 0." in text
    assert read_json(folder / "assets" / "config.json")["svd"] == [8, 4]
    variables = dict(tf.train.list_variables(str(folder / "variables" / "variables")))
    shapes = [tuple(shape) for shape in variables.values()]
    assert all(shape in shapes for shape in ((25088, 8), (8, 32), (32, 4), (4, 32))) and (25088, 32) not in shapes


def write_voc(directory, images):
    """A VOC tree with one object in each picture."""
    for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (directory / name).mkdir(parents=True)
    for index, image in enumerate(images):
        Image.fromarray(image).save(directory / "JPEGImages" / f"{index}.jpg")
        (directory / "Annotations" / f"{index}.xml").write_text(
            f"<annotation><filename>{index}.jpg</filename><size><width>96</width><height>64</height><depth>3</depth>"
            "</size><object><name>dog</name><bndbox><xmin>10</xmin><ymin>10</ymin><xmax>50</xmax><ymax>50</ymax>"
            "</bndbox></object></annotation>"
        )
    (directory / "ImageSets" / "Main" / "test.txt").write_text("".join(f"{i}\n" for i in range(len(images))))


def assert_refused(capsys, status, beginning):
    lines = capsys.readouterr().err.splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    assert len(errors) == 1 and errors[0].startswith(f"error: {beginning}"), lines
    assert "Traceback" not in "".join(lines)


def test_an_export_that_answers_otherwise_is_not_put_in_place(detector, picture_files, tmp_path, capsys, monkeypatch):
    folder = tmp_path / "served" / "1"
    right = signatures._zero_to_one
    monkeypatch.setattr(signatures, "_zero_to_one", lambda boxes, sizes: right(boxes, sizes) * 0.99)
    assert run("--model", detector[1], "--out", folder, "--images", *picture_files) == 1
    assert_refused(capsys, 1, f"{folder}: not written: ")
    assert list(folder.parent.iterdir()) == []


@pytest.mark.slow
def test_a_wrong_export_does_not_replace_a_good_one(detector, exported, picture_files, tmp_path, monkeypatch):
    folder = Path(shutil.copytree(exported[0], tmp_path / "1"))
    before = {path: path.read_bytes() for path in folder.rglob("*.pb")}
    monkeypatch.setitem(saved_model.PRECISIONS, "float32", (0.0, 0.0, 1.0))
    monkeypatch.setattr(signatures.forward, "detect", detections_halved)
    assert run("--model", detector[1], "--out", folder, "--images", *picture_files, "--force") == 1
    assert {path: path.read_bytes() for path in folder.rglob("*.pb")} == before
    assert [path.name for path in tmp_path.iterdir()] == ["1"]


def detections_halved(*arguments, detect=forward.detect):
    detections = detect(*arguments)
    return detections._replace(scores=detections.scores / 2)


@pytest.mark.slow
def test_pictures_without_detections_prove_nothing(detector, picture_files, tmp_path, capsys):
    folder = tmp_path / "1"
    arguments = ["--model", detector[1], "--out", folder, "--images", *picture_files, "--score-threshold", 0.99999]
    assert run(*arguments) == 1
    assert_refused(capsys, 1, f"{folder}: not written: the Keras model finds nothing on the 2 pictures")
    assert not folder.exists()


@pytest.mark.slow
def test_a_version_is_replaced_with_force_alone(detector, exported, picture_files, tmp_path, capsys):
    folder = Path(shutil.copytree(exported[0], tmp_path / "1"))
    (folder / "old").write_text("")
    arguments = ["--model", detector[1], "--out", folder, "--images", *picture_files]
    assert run(*arguments) == 2
    assert_refused(capsys, 2, f"{folder}: is there already; give another --out, or --force to replace it")
    assert (folder / "old").exists()
    assert run(*arguments, "--force") == 0
    assert not (folder / "old").exists() and (folder / "saved_model.pb").is_file()


def test_a_folder_of_something_else_is_not_replaced(detector, tmp_path, capsys):
    folder = tmp_path / "2024"
    folder.mkdir()
    (folder / "photo.jpg").write_text("")
    assert run("--model", detector[1], "--out", folder, "--force") == 2
    assert_refused(capsys, 2, f"{folder}: is no SavedModel, and is not replaced; ")
    assert (folder / "photo.jpg").exists()


@pytest.mark.parametrize(
    ("arguments", "beginning"),
    [
        (["--out", "served/detector"], "--out served/detector: does not end in a version number; give "),
        (["--out", "1", "--svd", "8"], "--svd: 1 ranks; give two"),
        (["--out", "1", "--calibrate", "a.jpg"], "--calibrate: has no use without --svd; "),
        (["--out", "1", "--svd"], "--svd: 1536 is no rank to cut fc6 to; give one from 1 to 31"),
        (["--out", "1", "--score-threshold", "2"], "--score-threshold must be at least 0 and less than 1 (got 2.0)."),
        (["--out", "1", "--images", "nowhere.jpg"], "nowhere.jpg: not a readable picture"),
        (["--out", "1", "--data", "nowhere"], "--data 'nowhere': unknown kind of data source"),
        (["--out", "file/1"], "file: is no folder to write to"),
    ],
)
def test_what_is_wrong_is_named_with_the_mend(detector, tmp_path, capsys, monkeypatch, arguments, beginning):
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    assert run("--model", detector[1], *arguments) == 2
    assert_refused(capsys, 2, beginning)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_missing_model_is_named(tmp_path, capsys):
    assert run("--model", tmp_path / "none", "--out", tmp_path / "1") == 2
    assert_refused(capsys, 2, f"{tmp_path / 'none'}: no such model file")
