"""The metadata and files in a TFLite file, read without the code that writes them."""

import json
import zipfile

import flatbuffers
import pytest
from ai_edge_litert import schema_py_generated as schema
from flatbuffers.number_types import Uint8Flags, Uint32Flags, UOffsetTFlags

from export.litemodel.metadata import check_labels
from keras_frcnn.facts.errors import InputError


class Table:
    """A table of a flatbuffer with its fields by their numbers in the schema.  It shares no code with the writer."""

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
    # The descriptions have the order of the tensors.
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


@pytest.mark.parametrize("name", ["cat\nfish", "cat\u2028fish", "cat\r"])
def test_a_class_name_of_several_lines_is_refused(name):
    with pytest.raises(InputError, match=r"class 'cat.*': has a line break, which labels.txt cannot hold; rename it"):
        check_labels(("dog", name))
    check_labels(("dog", "Käfer\t2"))
