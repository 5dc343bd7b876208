"""Which operations a TFLite model has."""

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

from export.litemodel.flatbuffer import describe_operators


def test_an_operation_that_is_not_builtin_is_named(content):
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    model.operatorCodes[0].builtinCode, model.operatorCodes[0].customCode = schema.BuiltinOperator.CUSTOM, b"FlexWhile"
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    assert "CUSTOM: FlexWhile" in describe_operators(bytes(builder.Output()))
    assert describe_operators(content).endswith("all builtin")
