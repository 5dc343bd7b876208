"""The TFLite export: what is in the file, its answers against the Keras model, and its use where nothing else is."""

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import types
import zipfile
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from flatbuffers.number_types import Uint8Flags, Uint32Flags, UOffsetTFlags
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from export import tflite
from export.shared.parity import ParityError, check, compare, synthetic_images
from keras_frcnn.rules.suppression import suppress

ROOT = Path(__file__).resolve().parents[2]
SIZE = (64, 96)


@pytest.fixture(scope="module")
def content(model):
    """The small detector in float32, as the converter gives it."""
    return tflite.convert(model, SIZE)


@pytest.fixture(scope="module")
def pictures():
    return synthetic_images(4, (80, 100))  # to be resized, in neither direction by the same factor


@pytest.fixture(scope="module")
def contents(content, pictures):
    """The small detector in each quantisation."""
    calibration = [tflite.resize_picture(picture, SIZE) for picture in pictures]
    others = {name: tflite.quantize(content, name, calibration) for name in ("float16", "dynamic", "int8")}
    return {"none": content, **others}


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "model.keras"
    model.save(path)
    return path


@pytest.fixture(scope="module")
def exported(contents, model, tmp_path_factory):
    """A whole file, metadata and labels in it, without the comparison."""
    from export.litemodel.metadata import add_files

    path = tmp_path_factory.mktemp("exported") / "detector.tflite"
    path.write_bytes(tflite.with_metadata(contents["float16"], SIZE))
    add_files(path, model.class_names, model.config, SIZE, "float16")
    return path


def graph_of(content):
    """The one graph of a TFLite model, and the names of its operations in order."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    names = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
    (graph,) = model.subgraphs
    return graph, [names[model.operatorCodes[operator.opcodeIndex].builtinCode] for operator in graph.operators]


# --- What is in the file.


def test_all_operations_are_builtin(contents):
    for content in contents.values():
        model = schema.Model.GetRootAs(content, 0)
        for index in range(model.OperatorCodesLength()):
            code = model.OperatorCodes(index)
            assert code.CustomCode() is None and code.BuiltinCode() != schema.BuiltinOperator.CUSTOM
        _, names = graph_of(content)
        assert names.count("NON_MAX_SUPPRESSION_V4") == 1 + 3  # of proposals, and of each class
        assert not {"WHILE", "IF", "CALL", "CALL_ONCE", "VAR_HANDLE", "DELEGATE"} & set(names)


def test_an_operation_that_is_not_builtin_is_told(content):
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    model.operatorCodes[0].builtinCode, model.operatorCodes[0].customCode = schema.BuiltinOperator.CUSTOM, b"FlexWhile"
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    assert "CUSTOM: FlexWhile" in tflite.describe_operators(bytes(builder.Output()))
    assert tflite.describe_operators(content).endswith("all builtin")


def test_inputs_and_outputs_are_named(contents):
    for content in contents.values():
        runner = Interpreter(model_content=content).get_signature_runner("serving_default")
        inputs, outputs = runner.get_input_details(), runner.get_output_details()
        assert {name: (list(facts["shape"]), facts["dtype"]) for name, facts in inputs.items()} == {
            "images": ([1, 64, 96, 3], np.uint8)
        }
        assert {name: (list(facts["shape"]), facts["dtype"]) for name, facts in outputs.items()} == {
            "detection_boxes": ([1, 20, 4], np.float32),
            "detection_classes": ([1, 20], np.float32),
            "detection_scores": ([1, 20], np.float32),
            "num_detections": ([1], np.float32),
        }


@pytest.mark.parametrize(
    ("quantization", "weights", "activations"),
    [("none", "FLOAT32", "FLOAT32"), ("float16", "FLOAT32", "FLOAT32"), ("dynamic", "INT8", "FLOAT32"),
     ("int8", "INT8", "INT8")],
)  # fmt: skip
def test_only_layers_are_quantised(contents, quantization, weights, activations):
    graph, names = graph_of(contents[quantization])
    kinds = {code: name for name, code in vars(schema.TensorType).items() if isinstance(code, int)}

    def type_of(index):
        return kinds[graph.tensors[index].type]

    layers = [op for op, name in zip(graph.operators, names, strict=True) if name in ("CONV_2D", "FULLY_CONNECTED")]
    assert len(layers) == 13 + 3 + 4
    for operator in layers:
        name = graph.tensors[operator.outputs[0]].name.decode()
        # float16 weights are cast back by a DEQUANTIZE each.
        assert type_of(operator.inputs[1]) == weights, name
        raw = any(layer in name for layer in ("rpn_scores", "rpn_deltas", "class_logits", "box_deltas"))
        assert type_of(operator.outputs[0]) == ("FLOAT32" if raw else activations), name
    for operator, name in zip(graph.operators, names, strict=True):
        if name in ("NON_MAX_SUPPRESSION_V4", "TOPK_V2", "EXP", "GATHER", "SOFTMAX", "MINIMUM", "MAXIMUM", "PACK"):
            used = {type_of(index) for index in (*operator.inputs, *operator.outputs)}
            assert used <= {"FLOAT32", "INT32", "BOOL"}
    halves = [tensor for tensor in graph.tensors if kinds[tensor.type] == "FLOAT16"]
    assert len(halves) == (20 if quantization == "float16" else 0)


def test_sizes_fall_with_the_bits(contents):
    sizes = {name: len(content) / len(contents["none"]) for name, content in contents.items()}
    assert sizes["float16"] < 0.51 and sizes["dynamic"] < 0.27 and sizes["int8"] < 0.27


def test_weights_that_the_converter_leaves_transposed_are_folded():
    rng = np.random.default_rng(0)
    x, weights = rng.normal(size=(3, 7)).astype(np.float32), rng.normal(size=(7, 3)).astype(np.float32)

    @tf.function(input_signature=[tf.TensorSpec([3, 7]), tf.TensorSpec([7, 3])])
    def product(x, weights):
        return {"y": x * tf.transpose(weights)}

    converter = tf.lite.TFLiteConverter.from_concrete_functions([product.get_concrete_function()], tf.Module())
    # What the converter makes of weights too large for it to transpose: make the input a constant.
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(converter.convert(), 0))
    (graph,), (signature,) = model.subgraphs, model.signatureDefs
    (entry,) = [entry for entry in signature.inputs if entry.name == b"weights"]
    signature.inputs.remove(entry)
    graph.inputs = [index for index in graph.inputs if index != entry.tensorIndex]
    buffer = schema.BufferT()
    buffer.data = weights.view(np.uint8).ravel()
    model.buffers.append(buffer)
    graph.tensors[entry.tensorIndex].buffer = len(model.buffers) - 1
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    before = bytes(builder.Output())
    assert "TRANSPOSE" in graph_of(before)[1]

    after = tflite.fold_transposed_weights(before)
    assert "TRANSPOSE" not in graph_of(after)[1]
    answer = Interpreter(model_content=after).get_signature_runner()(x=x)["y"]
    np.testing.assert_allclose(answer, x * weights.T, rtol=1e-6)


def test_only_the_corners_of_one_sample_are_gathered_at_a_time(content):
    """A delegate takes arithmetic in parts: a gather that waits for none before would be done before all of it."""
    graph, names = graph_of(content)
    waits = {}  # whether a tensor needs the corners of pooled size that some gather gives
    free = 0
    for operator, name in zip(graph.operators, names, strict=True):
        waiting = any(waits.get(index, False) for index in operator.inputs)
        corners = name == "GATHER" and list(graph.tensors[operator.outputs[0]].shape) == [1, 40, 7, 7, 512]
        free += corners and not waiting
        waits.update({index: waiting or corners for index in operator.outputs})
    assert free == 4


class Table:
    """A table of a flatbuffer, its fields by their number in the schema: an oracle without the writer's code."""

    def __init__(self, data, position=None):
        start = flatbuffers.encode.Get(UOffsetTFlags.packer_type, data, 0) if position is None else position
        self.table = flatbuffers.table.Table(data, start)

    def _offset(self, field):
        return self.table.Offset(4 + 2 * field)

    def text(self, field):
        return self.table.String(self._offset(field) + self.table.Pos).decode()

    def number(self, field, flags=Uint8Flags):
        offset = self._offset(field)
        return self.table.Get(flags, offset + self.table.Pos) if offset else 0

    def inner(self, field):
        return Table(self.table.Bytes, self.table.Indirect(self._offset(field) + self.table.Pos))

    def rows(self, field):
        offset = self._offset(field)
        start = self.table.Vector(offset)
        return [
            Table(self.table.Bytes, self.table.Indirect(start + 4 * row)) for row in range(self.table.VectorLen(offset))
        ]

    def numbers(self, field):
        offset = self._offset(field)
        start = self.table.Vector(offset)
        return [self.table.Get(Uint32Flags, start + 4 * row) for row in range(self.table.VectorLen(offset))]


def test_metadata_are_those_of_an_object_detector(exported):
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(exported.read_bytes(), 0))
    (entry,) = [entry for entry in model.metadata if entry.name == b"TFLITE_METADATA"]
    data = bytearray(model.buffers[entry.buffer].data)
    assert data[4:8] == b"M001"
    # Fields by their numbers in metadata_schema.fbs of tflite-support 0.4.4.
    (subgraph,) = Table(data).rows(3)
    (image,) = subgraph.rows(2)
    content = image.inner(3)
    assert content.number(0) == 2  # ImageProperties
    assert content.inner(1).number(0) == 1  # RGB
    size = content.inner(1).inner(1)
    assert (size.number(0, Uint32Flags), size.number(1, Uint32Flags)) == (96, 64)  # width first
    outputs = subgraph.rows(3)
    assert [tensor.text(0) for tensor in outputs] == ["location", "category", "score", "number of detections"]
    boxes = outputs[0].inner(3)
    assert boxes.number(0) == 3 and boxes.inner(1).numbers(0) == [1, 0, 3, 2]  # left, top, right, bottom in yxyx
    assert boxes.inner(1).number(1) == 1 and boxes.inner(1).number(2) == 0  # boundaries, as ratios
    (labels,) = outputs[1].rows(6)
    assert labels.text(0) == "labels.txt" and labels.number(2) == 3  # labels of values
    (group,) = subgraph.rows(8)
    assert group.text(0) == "detection_result"
    # They stand in the order of the tensors they describe.
    (graph,) = model.subgraphs
    assert [list(graph.tensors[index].shape) for index in graph.outputs] == [[1, 20, 4], [1, 20], [1, 20], [1]]
    (signature,) = model.signatureDefs
    index_of = {entry.name.decode(): entry.tensorIndex for entry in signature.outputs}
    names = ("detection_boxes", "detection_classes", "detection_scores", "num_detections")
    assert [index_of[name] for name in names] == list(graph.outputs)


def test_labels_and_configuration_are_files_in_the_file(exported, model):
    with zipfile.ZipFile(exported) as archive:
        assert archive.testzip() is None and archive.namelist() == ["labels.txt", "config.json"]
        assert archive.read("labels.txt").decode().splitlines() == ["background", "cat", "dog", "hen"]
        facts = json.loads(archive.read("config.json"))
    assert facts["input"] == {"height": 64, "width": 96, "channels": "RGB", "type": "uint8"}
    assert facts["quantization"] == "float16"
    assert facts["detector"]["test"]["max_detections"] == model.config.test.max_detections


# --- Its answers.


@pytest.mark.parametrize("quantization", tflite.QUANTIZATIONS)
def test_detections_are_those_of_the_keras_model(contents, model, pictures, quantization, tmp_path):
    path = tmp_path / "detector.tflite"
    path.write_bytes(contents[quantization])
    ours, theirs = tflite.keras_detector(model, SIZE), tflite.tflite_detector(path, SIZE)
    reference, answers = [ours(picture) for picture in pictures], [theirs(picture) for picture in pictures]
    tolerance = tflite.tolerances()[quantization]
    parity = compare(reference, answers, tolerance, model.config.test)
    assert parity.detections > 40
    check(parity, tolerance)
    if quantization == "none":
        assert parity.box_difference < 1e-5 and parity.score_difference < 1e-5
        for (_, our_classes, _), (_, their_classes, _) in zip(reference, answers, strict=True):
            np.testing.assert_array_equal(their_classes, our_classes)
    for boxes, classes, scores in answers:
        assert np.all((boxes >= 0) & (boxes <= 1 + 1e-6)) and set(classes) <= {1, 2, 3}
        assert np.all(np.diff(scores) <= 0) and np.all(scores > model.config.test.score_threshold)


def test_rows_without_a_detection_hold_zeros(make_model, small_config, pictures):
    # A threshold between the scores: some detections, and some rows without.
    picture = pictures[0]
    _, _, scores = tflite.keras_detector(make_model(), SIZE)(picture)
    threshold = float(np.mean(scores[len(scores) // 2 - 1 : len(scores) // 2 + 1]))
    test = dataclasses.replace(small_config.test, score_threshold=threshold)
    model = make_model(config=dataclasses.replace(small_config, test=test))
    outputs = tflite.detection_function(model, SIZE)(tflite.resize_picture(picture, SIZE)[None])
    found = int(outputs["num_detections"][0])
    assert 0 < found < small_config.test.max_detections
    for name in ("detection_boxes", "detection_classes", "detection_scores"):
        assert np.all(outputs[name][0, :found].numpy().any(axis=-1)) and not np.any(outputs[name][0, found:])


@pytest.fixture(scope="module")
def tflite_suppress():
    """`suppress` of 12 boxes for 6 rows over IoU 0.5, as TFLite runs it."""

    @tf.function(input_signature=[tf.TensorSpec([12, 4]), tf.TensorSpec([12]), tf.TensorSpec([12], tf.bool)])
    def run(boxes, scores, valid):
        threshold = float(np.nextafter(np.float32(0.5), np.float32(1.0)))
        return dict(zip(("indices", "kept"), suppress(boxes, scores, valid, 6, threshold), strict=True))

    converter = tf.lite.TFLiteConverter.from_concrete_functions([run.get_concrete_function()], tf.Module())
    return Interpreter(model_content=converter.convert()).get_signature_runner()


@settings(deadline=None, max_examples=150)
@given(
    # Few values, so that boxes coincide, have no area, overlap by just half, and scores are equal.
    boxes=st.lists(st.lists(st.sampled_from([0.0, 1.0, 2.0, 4.0]), min_size=4, max_size=4), min_size=12, max_size=12),
    scores=st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0, np.nan, np.inf]), min_size=12, max_size=12),
    valid=st.lists(st.booleans(), min_size=12, max_size=12),
)
def test_tflite_suppresses_as_tensorflow_does(tflite_suppress, boxes, scores, valid):
    boxes, scores, valid = np.float32(boxes), np.float32(scores), np.array(valid)
    boxes = np.concatenate([np.sort(boxes[:, ::2]), np.sort(boxes[:, 1::2])], axis=-1)[:, [0, 2, 1, 3]]
    indices, kept = suppress(tf.constant(boxes), tf.constant(scores), tf.constant(valid), 6, 0.5)
    answer = tflite_suppress(boxes=boxes, scores=scores, valid=valid)
    np.testing.assert_array_equal(answer["kept"], kept)
    np.testing.assert_array_equal(answer["indices"][answer["kept"]], indices[kept])


def test_thresholds_are_the_next_float(small_config):
    config = tflite.with_exact_thresholds(
        dataclasses.replace(small_config, test=dataclasses.replace(small_config.test, nms_iou=1.0))
    )
    assert np.float32(config.rpn.nms_iou) == np.nextafter(np.float32(0.7), np.float32(1))
    assert config.test.nms_iou == 1.0


# --- Where nothing else is.

ALLOWED = ("ai_edge_litert", "numpy", "numpy.libs", "PIL", "pillow.libs")


@pytest.fixture(scope="module")
def bare_packages(tmp_path_factory):
    """A folder of packages with those that the sample needs, and no other."""
    folder = tmp_path_factory.mktemp("packages")
    places = [Path(module.__file__).parents[1] for module in (np, Image)] + [Path(schema.__file__).parents[1]]
    for name in ALLOWED:
        place = next((place / name for place in places if (place / name).exists()), None)
        if place is not None:  # the .libs are there in wheels of some platforms only
            (folder / name).symlink_to(place)
    return folder


def run_bare(packages, program, *arguments):
    """Run Python text without site-packages, the user's packages or this project; gives what it printed."""
    begin = f"import sys; sys.path.append({str(packages)!r}); sys.argv[0] = 'sample'\n"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", begin + program, *map(str, arguments)],
        capture_output=True, text=True, env=environment, cwd=packages, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_sample_runs_with_litert_numpy_and_pillow_alone(exported, bare_packages, pictures, tmp_path):
    picture, photo = tflite.resize_picture(pictures[0], SIZE), tmp_path / "photo.png"
    Image.fromarray(picture).save(photo)
    look = "import importlib.util\nprint([importlib.util.find_spec(name) for name in ('tensorflow', 'keras_frcnn')])"
    assert run_bare(bare_packages, look).strip() == "[None, None]"
    sample = (ROOT / "export" / "tflite_sample.py").read_text(encoding="utf-8")
    lines = run_bare(bare_packages, sample, exported, photo).splitlines()

    boxes, classes, scores = tflite.tflite_detector(exported, SIZE)(picture)
    assert len(lines) == len(scores) > 10
    height, width = SIZE
    for line, box, number, score in zip(lines, boxes, classes, scores, strict=True):
        y0, x0, y1, x1 = box * [height, width, height, width]
        place = f"y {y0:.1f} to {y1:.1f}, x {x0:.1f} to {x1:.1f}"
        assert line == f"{score:.3f}  {('background', 'cat', 'dog', 'hen')[number]:16}  {place}"


@pytest.mark.parametrize("size", [(64, 96), (37, 51), (200, 33)])
def test_the_sample_resizes_as_training_does(size):
    image = np.random.default_rng(0).integers(0, 256, (80, 100, 3), np.uint8)
    ours = tflite.resize_picture(image, size).astype(int)
    pillow = Image.fromarray(image).transform(
        size[::-1], Image.Transform.EXTENT, (0, 0, 100, 80), Image.Resampling.BILINEAR
    )
    assert np.abs(np.asarray(pillow).astype(int) - ours).max() <= 1  # Pillow cuts off what is rounded here


# --- The command line.


def export(*options):
    """Run the command in this process; gives its exit status."""
    try:
        tflite.main([str(option) for option in options])
    except SystemExit as end:
        return end.code
    return 0


@pytest.fixture
def converted(monkeypatch, content, model):
    """The conversion is done already, and the model is loaded: each takes seconds."""
    monkeypatch.setattr(tflite, "convert", lambda model, size: content)
    monkeypatch.setattr("keras_frcnn.api.model_file.load_model", lambda path: model)


def test_the_command_writes_a_file_that_answers(saved, converted, exported, tmp_path, capsys, pictures):
    out = tmp_path / "new" / "detector.tflite"
    options = ("--model", saved, "--size", "64x96", "--out", out, "--quantize", "float16")
    assert export(*options) == 0
    printed = capsys.readouterr().out
    for part in ("all builtin", "quantised to float16", "compared with the Keras model: 4 pictures", f"to {out}: "):
        assert part in printed
    assert [path.name for path in out.parent.iterdir()] == ["detector.tflite"]
    answers = (tflite.tflite_detector(path, SIZE)(pictures[0]) for path in (out, exported))
    for ours, theirs in zip(*answers, strict=True):
        np.testing.assert_array_equal(ours, theirs)

    # A second time it is not replaced unless that is said.
    before = out.stat().st_mtime_ns
    assert export(*options) == 2
    refusal = capsys.readouterr().err.splitlines()[-1]
    assert refusal.startswith(f"error: {out}: is there already; give another --out, or --force")
    assert out.stat().st_mtime_ns == before
    assert export(*options, "--force") == 0
    assert out.stat().st_mtime_ns > before


def test_int8_measures_on_the_pictures_given(saved, converted, pictures, tmp_path, capsys):
    photos = [tmp_path / f"{index}.png" for index in range(3)]
    for photo, picture in zip(photos, pictures, strict=False):
        Image.fromarray(picture).save(photo)
    out = tmp_path / "detector.tflite"
    options = ("--model", saved, "--size", "64x96", "--quantize", "int8", "--out", out)
    assert export(*options, "--calibrate", *photos, "--images", *photos) == 0
    assert "quantised to int8 on 3 pictures" in capsys.readouterr().out and out.is_file()


def test_a_file_that_finds_nothing_is_not_written(saved, converted, tmp_path, capsys):
    out = tmp_path / "detector.tflite"
    assert export("--model", saved, "--size", "64x96", "--out", out, "--score-threshold", "0.999") == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"error: {out}: not written: the Keras model finds nothing on the 4 pictures")
    assert not list(tmp_path.iterdir())


def test_a_file_that_answers_otherwise_is_not_written(saved, make_model, monkeypatch, contents, tmp_path, capsys):
    # int8 is within its own tolerance, but not within that of float32.
    monkeypatch.setattr(tflite, "convert", lambda model, size: contents["int8"])
    out = tmp_path / "detector.tflite"
    out.write_text("of before")
    assert export("--model", saved, "--size", "64x96", "--out", out, "--force") == 1
    assert f"error: {out}: not written: " in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["detector.tflite"] and out.read_text() == "of before"


@pytest.mark.parametrize(
    ("after", "refused"), [(0.85, True), (0.879, True), (0.881, False), (0.95, False), (np.nan, True)]
)
def test_a_loss_of_map_is_refused(exported, model, pictures, monkeypatch, after, refused):
    means = iter([0.9, after])
    monkeypatch.setattr("export.shared.parity.mean_average_precision", lambda detect, dataset, title: next(means))
    dataset, lines = types.SimpleNamespace(name="cells"), []
    with pytest.raises(ParityError, match="mAP falls by") if refused else contextlib.nullcontext():
        tflite.compare_with_keras(exported, model, SIZE, "float16", pictures[:1], dataset, lines.append)
    assert lines[1] == f"mAP on cells at this size: 0.9000 of the Keras model, {after:.4f} of the file"


@pytest.mark.parametrize(
    ("options", "beginning"),
    [
        ("--quantize int8", "--calibrate: is missing; int8 needs some dozens of real pictures"),
        ("--calibrate photo.jpg", "--calibrate: has no use in --quantize none"),
        ("--quantize int8 --calibrate /no/photo.jpg", "/no/photo.jpg: not a readable picture"),
        ("--size 480", "--size: '480' is no size"),
        ("--size 0x96", "--size: '0x96' is no size"),
        ("--size 64x-96", "--size: '64x-96' is no size"),
        ("--size 64x15", "--size: 64x15 leaves no cell of features"),
        ("--score-threshold nan", "--score-threshold"),
        ("--out .", ".: is a folder"),
        ("--model /no/run", "/no/run: no such model file"),
    ],
)  # fmt: skip
def test_a_bad_option_is_one_line(saved, tmp_path, monkeypatch, capsys, options, beginning):
    monkeypatch.setattr(tflite, "convert", lambda *_: pytest.fail("it was not refused"))
    monkeypatch.chdir(tmp_path)
    assert export("--model", saved, "--size", "64x96", "--out", "detector.tflite", *options.split()) == 2
    errors = capsys.readouterr().err.splitlines()
    assert errors[-1].startswith(f"error: {beginning}"), errors[-1]
    assert not list(tmp_path.iterdir())
