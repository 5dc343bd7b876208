"""Quantisation: which tensors have which type, and how the sizes fall."""

import pytest
from ai_edge_litert import schema_py_generated as schema


@pytest.mark.parametrize(
    ("quantization", "weights", "activations"),
    [("none", "FLOAT32", "FLOAT32"), ("float16", "FLOAT32", "FLOAT32"), ("dynamic", "INT8", "FLOAT32"),
     ("int8", "INT8", "INT8")],
)  # fmt: skip
def test_only_layers_are_quantised(graph_of, contents, quantization, weights, activations):
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
