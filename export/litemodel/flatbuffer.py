"""A TFLite model as objects that can be changed, and which operations it holds."""

from collections import Counter

import numpy as np
from ai_edge_litert.schema_py_generated import BuiltinOperator, ModelT, OperatorT
from ai_edge_litert.tools.flatbuffer_utils import convert_object_to_bytearray, read_model_from_bytearray


def unpack(content: bytes) -> ModelT:
    """The tables of a TFLite model as objects."""
    model = read_model_from_bytearray(content)
    for buffer in model.buffers:
        if isinstance(buffer.data, bytes):  # `pack` would copy bytes one by one in Python, which takes minutes
            buffer.data = np.frombuffer(buffer.data, np.uint8)
    return model


def pack(model: ModelT) -> bytes:
    """The inverse of `unpack`."""
    return bytes(convert_object_to_bytearray(model))


def operators(content: bytes) -> Counter[str]:
    """How many operations of each kind a TFLite model has.  "CUSTOM: " precedes names that are not builtin."""
    names = {code: name for name, code in vars(BuiltinOperator).items() if isinstance(code, int)}
    model = unpack(content)

    def name(operator: OperatorT) -> str:
        code = model.operatorCodes[operator.opcodeIndex]
        custom = code.customCode
        return names[code.builtinCode] if custom is None else f"CUSTOM: {custom.decode()}"

    return Counter(name(operator) for graph in model.subgraphs for operator in graph.operators)


def describe_operators(content: bytes) -> str:
    """How many operations a TFLite model has, and which of them are not builtin, for people."""
    counts = operators(content)
    custom = [name for name in counts if name.startswith("CUSTOM")]
    return f"{sum(counts.values())} operations of {len(counts)} kinds, {', '.join(custom) or 'all builtin'}"
