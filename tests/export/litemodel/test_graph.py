"""The converted graph: only builtin operations, named inputs and outputs, and TensorFlow's answers."""

import dataclasses

import flatbuffers
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from hypothesis import given, settings
from hypothesis import strategies as st

from export.litemodel.comparison import keras_detector
from export.litemodel.graph import convert, detection_function, fold_transposed_weights, with_exact_thresholds
from keras_frcnn.data.pictures.images import resize_picture
from keras_frcnn.network.roi_pooling import GROUP
from keras_frcnn.rules.suppression import suppress

SIZE = (64, 96)


def test_all_operations_are_builtin(graph_of, contents):
    for content in contents.values():
        model = schema.Model.GetRootAs(content, 0)
        for index in range(model.OperatorCodesLength()):
            code = model.OperatorCodes(index)
            assert code.CustomCode() is None and code.BuiltinCode() != schema.BuiltinOperator.CUSTOM
        _, names = graph_of(content)
        assert names.count("NON_MAX_SUPPRESSION_V4") == 1 + 3  # of proposals, and of each class
        assert not {"WHILE", "IF", "CALL", "CALL_ONCE", "VAR_HANDLE", "DELEGATE"} & set(names)


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


def test_weights_that_the_converter_leaves_transposed_are_folded(graph_of):
    rng = np.random.default_rng(0)
    x, weights = rng.normal(size=(3, 7)).astype(np.float32), rng.normal(size=(7, 3)).astype(np.float32)

    @tf.function(input_signature=[tf.TensorSpec([3, 7]), tf.TensorSpec([7, 3])])
    def product(x, weights):
        return {"y": x * tf.transpose(weights)}

    converter = tf.lite.TFLiteConverter.from_concrete_functions([product.get_concrete_function()], tf.Module())
    # Make the input a constant: the converter leaves such a graph for weights that are too large for it to transpose.
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

    after = fold_transposed_weights(before)
    assert "TRANSPOSE" not in graph_of(after)[1]
    answer = Interpreter(model_content=after).get_signature_runner()(x=x)["y"]
    np.testing.assert_allclose(answer, x * weights.T, rtol=1e-6)


def test_roi_pooling_is_matrix_products_of_groups(graph_of, make_model, small_config):
    """No tensor holds the samples of all regions, and nothing of the features is gathered."""
    config = dataclasses.replace(small_config, test=dataclasses.replace(small_config.test, post_nms_topk=2 * GROUP + 7))
    graph, names = graph_of(convert(make_model(config=config), SIZE))
    assert names.count("BATCH_MATMUL") == 2 * 3
    shapes = [tuple(graph.tensors[operator.outputs[0]].shape) for operator in graph.operators]
    pooled = [
        shape for shape, name in zip(shapes, names, strict=True) if name == "MAX_POOL_2D" and shape[1:3] == (7, 7)
    ]
    assert [shape[0] for shape in pooled] == [GROUP, GROUP, 7]
    assert not [
        shape for shape, name in zip(shapes, names, strict=True) if name.startswith("GATHER") and shape[-1] == 512
    ]


def test_rows_without_a_detection_hold_zeros(make_model, small_config, pictures):
    # A threshold between the scores leaves some detections and some empty rows.
    picture = pictures[0]
    _, _, scores = keras_detector(make_model(), SIZE)(picture)
    threshold = float(np.mean(scores[len(scores) // 2 - 1 : len(scores) // 2 + 1]))
    test = dataclasses.replace(small_config.test, score_threshold=threshold)
    model = make_model(config=dataclasses.replace(small_config, test=test))
    outputs = detection_function(model, SIZE, model.head)(resize_picture(picture, SIZE)[None])
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
    # With few values, some boxes coincide, have no area or overlap by exactly half, and some scores are equal.
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
    config = with_exact_thresholds(
        dataclasses.replace(small_config, test=dataclasses.replace(small_config.test, nms_iou=1.0))
    )
    assert np.float32(config.rpn.nms_iou) == np.nextafter(np.float32(0.7), np.float32(1))
    assert config.test.nms_iou == 1.0
