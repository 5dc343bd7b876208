"""Shared by the tests of the TFLite export: a small detector, converted and quantised in each way."""

import pytest
from ai_edge_litert import schema_py_generated as schema

from export.litemodel.graph import convert
from export.litemodel.metadata import add_files, with_metadata
from export.litemodel.quantisation import quantize
from export.shared.pictures import synthetic_images
from keras_frcnn.data.pictures.images import resize_picture

SIZE = (64, 96)


@pytest.fixture(scope="session")
def content(model):
    """The small detector in float32, as `convert` returns it."""
    return convert(model, SIZE)


@pytest.fixture(scope="session")
def pictures():
    return synthetic_images(4, (80, 100))  # resized by a different factor in each direction


@pytest.fixture(scope="session")
def contents(content, pictures):
    """The small detector in each quantisation."""
    calibration = [resize_picture(picture, SIZE).numpy() for picture in pictures]
    others = {name: quantize(content, name, calibration) for name in ("float16", "dynamic", "int8")}
    return {"none": content, **others}


@pytest.fixture(scope="session")
def exported(contents, model, tmp_path_factory):
    """A whole file with metadata and labels; the comparison is skipped."""
    path = tmp_path_factory.mktemp("exported") / "detector.tflite"
    path.write_bytes(with_metadata(contents["float16"], SIZE))
    add_files(path, model.class_names, model.config, SIZE, "float16")
    return path


@pytest.fixture(scope="session")
def graph_of():
    """A function that gives the one graph of a TFLite model, and the names of its operations in order."""

    def of(content):
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
        names = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
        (graph,) = model.subgraphs
        return graph, [names[model.operatorCodes[operator.opcodeIndex].builtinCode] for operator in graph.operators]

    return of
