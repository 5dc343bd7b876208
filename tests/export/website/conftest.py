"""Shared by the tests of the web page: a small detector as a TFLite file."""

import pytest

from export.litemodel.graph import convert
from export.litemodel.metadata import add_files, with_metadata

SIZE = (64, 96)


@pytest.fixture(scope="package")
def exported(make_confident_model, tmp_path_factory):
    """The small detector, which finds many objects, as a TFLite file of 64 x 96 pixels in float32."""
    path, model = tmp_path_factory.mktemp("exported") / "detector.tflite", make_confident_model()
    path.write_bytes(with_metadata(convert(model, SIZE), SIZE))
    add_files(path, model.class_names, model.config, SIZE, "none")
    return path
