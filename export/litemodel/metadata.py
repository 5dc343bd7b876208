"""What a TFLite file says about itself: metadata that TFLite apps read, and files beside the model in the same file.

The metadata are a flatbuffer of their own (`metadata_schema.fbs` of tflite-support, identifier M001) in a buffer of the
model named TFLITE_METADATA.  The files that they name are a ZIP archive after the model: `zipfile` opens the .tflite.

The package tflite-support can write both, but its last release is from 2023 and needs NumPy 1.  This module writes the
few tables that an object detector needs.  The numbers of fields are those of the schema.
"""

import json
import os
import zipfile
from collections.abc import Sequence

import flatbuffers
import numpy as np
from ai_edge_litert.schema_py_generated import BufferT, MetadataT

from export.litemodel.flatbuffer import pack, unpack
from keras_frcnn.api.exports.answers import DETECTION_OUTPUTS
from keras_frcnn.facts.config import DetectorConfig, config_to_dict
from keras_frcnn.facts.errors import InputError

NAME = "TFLITE_METADATA"
LABELS, CONFIG = "labels.txt", "config.json"
_IDENTIFIER = b"M001"
_PARSER_VERSION = "1.2.0"  # the first that knows groups of tensors
_TENSOR_VALUE_LABELS, _RGB, _BOUNDARIES, _RATIO = 3, 1, 1, 0  # members of the schema's enumerations
_FEATURE, _IMAGE, _BOUNDING_BOX = 1, 2, 3  # members of the union ContentProperties

Field = tuple[str, int]  # kind and value; the value of kind "offset" is a position in the buffer


def with_metadata(content: bytes, size: tuple[int, int]) -> bytes:
    """The TFLite model `content` with the metadata of `build_metadata`, its outputs in the order they describe."""
    model = unpack(content)
    (graph,), (signature,) = model.subgraphs, model.signatureDefs
    index_of = {output.name.decode(): output.tensorIndex for output in signature.outputs}
    graph.outputs = [index_of[name] for name in DETECTION_OUTPUTS]
    buffer, entry = BufferT(), MetadataT()
    buffer.data = np.frombuffer(build_metadata(size), np.uint8)
    entry.name, entry.buffer = NAME.encode(), len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or ()), entry]
    return pack(model)


def check_labels(class_names: Sequence[str]) -> None:
    """Raise InputError for a class name of several lines: labels.txt has one class in each line."""
    for name in class_names:
        if "".join(name.splitlines()) != name:
            raise InputError(
                f"class {name!r}",
                "has a line break, which labels.txt cannot hold",
                "rename it with --class-map and train again",
            )


def add_files(
    path: str | os.PathLike[str],
    class_names: Sequence[str],
    config: DetectorConfig,
    size: tuple[int, int],
    quantization: str,
    ranks: Sequence[int] | None = None,
) -> None:
    """Append labels.txt and config.json to the .tflite file `path`; `ranks` are those of fc6 and fc7 if they were cut.

    Line n of labels.txt, counted from 0, is class n of the outputs.  Line 0 is the background, which no detection has.
    """
    input_facts = {"height": size[0], "width": size[1], "channels": "RGB", "type": "uint8"}
    facts = {"input": input_facts, "quantization": quantization, "svd": ranks, "detector": config_to_dict(config)}
    with zipfile.ZipFile(path, "a") as archive:  # stored, not compressed: some readers map the files into memory
        archive.writestr(LABELS, "\n".join(("background", *class_names)) + "\n")
        archive.writestr(CONFIG, json.dumps(facts, indent=2) + "\n")


def build_metadata(size: tuple[int, int]) -> bytes:
    """The metadata of a detector that takes one uint8 RGB picture of `size` (height, width).

    TFLite's Task Library recognises an object detector by these names of the outputs and by their order.
    """
    writer = _Writer()
    image = _describe_image(writer, size)
    outputs = _describe_outputs(writer)
    names = writer.vector(*(writer.text(name)[1] for name in ("location", "category", "score")))
    group = writer.table(2, {0: writer.text("detection_result"), 1: names})
    subgraph = writer.table(10, {2: writer.vector(image), 3: writer.vector(*outputs), 8: writer.vector(group)})
    model = {
        0: writer.text("Faster R-CNN"),
        1: writer.text("Finds objects of known classes in a picture."),
        3: writer.vector(subgraph),
        7: writer.text(_PARSER_VERSION),
    }
    return writer.finish(writer.table(8, model))


def _describe_image(writer: "_Writer", size: tuple[int, int]) -> int:
    """Write the description of the input; returns its position."""
    height, width = size
    image_size = writer.table(2, {0: ("uint", width), 1: ("uint", height)})
    properties = writer.table(2, {0: ("byte", _RGB), 1: ("offset", image_size)})
    return writer.tensor("image", "Picture, RGB, 0 to 255, resized to this size.", _IMAGE, properties)


def _describe_outputs(writer: "_Writer") -> tuple[int, ...]:
    """Write the descriptions of the outputs, in the order of DETECTION_OUTPUTS; returns their positions."""
    # The positions of left, top, right and bottom in a box (ymin, xmin, ymax, xmax).
    index = writer.numbers(1, 0, 3, 2)
    boxes = writer.table(3, {0: index, 1: ("byte", _BOUNDARIES), 2: ("byte", _RATIO)})
    label_fields = {0: writer.text(LABELS), 1: writer.text("Class names by number."), 2: ("byte", _TENSOR_VALUE_LABELS)}
    label_file = writer.table(5, label_fields)
    tensor, feature = writer.tensor, writer.feature
    return (
        tensor("location", "Boxes: ymin, xmin, ymax, xmax in 0 to 1 of the picture.", _BOUNDING_BOX, boxes, 2),
        tensor("category", "Classes, from 1 on; 0 where there is no detection.", _FEATURE, feature(), 2, label_file),
        tensor("score", "Scores, best first; 0 where there is no detection.", _FEATURE, feature(), 2),
        tensor("number of detections", "How many rows are detections.", _FEATURE, feature()),
    )


class _Writer:
    """Writes the tables of the metadata, inner ones first, as flatbuffers require."""

    def __init__(self) -> None:
        self._builder = flatbuffers.Builder(1024)

    def text(self, value: str) -> Field:
        return "offset", self._builder.CreateString(value)

    def numbers(self, *values: int) -> Field:
        return "offset", self._builder.CreateNumpyVector(np.array(values, np.uint32))

    def vector(self, *offsets: int) -> Field:
        """A vector of tables or texts."""
        self._builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self._builder.PrependUOffsetTRelative(offset)
        return "offset", self._builder.EndVector()

    def table(self, count: int, fields: dict[int, Field]) -> int:
        """A table of `count` fields, of which `fields` are set, by number; returns its position."""
        prepend = {
            "offset": self._builder.PrependUOffsetTRelativeSlot,
            "byte": self._builder.PrependUint8Slot,
            "uint": self._builder.PrependUint32Slot,
            "int": self._builder.PrependInt32Slot,
        }
        self._builder.StartObject(count)
        for number, (kind, value) in fields.items():
            prepend[kind](number, value, 0)
        return self._builder.EndObject()

    def tensor(
        self,
        name: str,
        description: str,
        union_member: int,
        properties: int,
        values: int | None = None,
        file: int | None = None,
    ) -> int:
        """A TensorMetadata.  `values` is the number of axes with values of one detection."""
        content: dict[int, Field] = {0: ("byte", union_member), 1: ("offset", properties)}
        if values is not None:
            content[2] = ("offset", self.table(2, {0: ("int", values), 1: ("int", values)}))  # ValueRange
        fields = {0: self.text(name), 1: self.text(description), 3: ("offset", self.table(3, content))}
        if file is not None:
            fields[6] = self.vector(file)
        return self.table(7, fields)

    def feature(self) -> int:
        """FeatureProperties, which have no fields."""
        return self.table(0, {})

    def finish(self, root: int) -> bytes:
        self._builder.Finish(root, file_identifier=_IDENTIFIER)
        return bytes(self._builder.Output())
