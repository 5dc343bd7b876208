"""What a TFLite file says of itself: metadata as TFLite apps read it, and files beside the model in the same file.

The metadata are a flatbuffer of their own (`metadata_schema.fbs` of tflite-support, identifier M001) in a buffer of the
model named TFLITE_METADATA.  The files they name are a ZIP archive behind the model: `zipfile` opens the .tflite.  The
package tflite-support, which writes both, has not been released since 2023 and needs a NumPy before 2; the few tables
an object detector needs are written here, fields by their number in the schema.
"""

import json
import zipfile

import flatbuffers
import numpy as np

from keras_frcnn.facts.config import DetectorConfig, config_to_dict

NAME = "TFLITE_METADATA"
LABELS, CONFIG = "labels.txt", "config.json"
_IDENTIFIER = b"M001"
_PARSER_VERSION = "1.2.0"  # the first that knows groups of tensors
_TENSOR_VALUE_LABELS, _RGB, _BOUNDARIES, _RATIO = 3, 1, 1, 0  # members of the schema's enumerations
_FEATURE, _IMAGE, _BOUNDING_BOX = 1, 2, 3  # members of the union ContentProperties


def add_files(path, class_names, config: DetectorConfig, size: tuple[int, int], quantization: str):
    """Append labels.txt and config.json to the .tflite file `path`.

    Line n of labels.txt is class n of the outputs: line 0 is the background, as no detection has class 0.
    """
    input_facts = {"height": size[0], "width": size[1], "channels": "RGB", "type": "uint8"}
    facts = {"input": input_facts, "quantization": quantization, "detector": config_to_dict(config)}
    with zipfile.ZipFile(path, "a") as archive:  # stored, not compressed: some readers map them into memory
        archive.writestr(LABELS, "\n".join(("background", *class_names)) + "\n")
        archive.writestr(CONFIG, json.dumps(facts, indent=2) + "\n")


def build_metadata(size: tuple[int, int]) -> bytes:
    """The metadata of a detector that takes one uint8 RGB picture of `size` (height, width).

    Names and order of the outputs are those by which TFLite's Task Library knows an object detector.
    """
    builder = flatbuffers.Builder(1024)

    def text(value):
        return "offset", builder.CreateString(value)

    def tables(*offsets):
        builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            builder.PrependUOffsetTRelative(offset)
        return "offset", builder.EndVector()

    def table(count, fields):
        """A table of `count` fields; `fields` has kind and value of those that are set, by number."""
        prepend = {
            "offset": builder.PrependUOffsetTRelativeSlot,
            "byte": builder.PrependUint8Slot,
            "uint": builder.PrependUint32Slot,
            "int": builder.PrependInt32Slot,
        }
        builder.StartObject(count)
        for number, (kind, value) in fields.items():
            prepend[kind](number, value, 0)
        return builder.EndObject()

    def tensor(name, description, union_member, properties, values=None, files=None):
        """TensorMetadata: `values` numbers a detection has."""
        content = {0: ("byte", union_member), 1: ("offset", properties)}
        if values is not None:
            content[2] = ("offset", table(2, {0: ("int", values), 1: ("int", values)}))  # ValueRange
        fields = {0: text(name), 1: text(description), 3: ("offset", table(3, content))}
        if files is not None:
            fields[6] = tables(files)
        return table(7, fields)

    def feature():
        return table(0, {})

    height, width = size
    image_size = table(2, {0: ("uint", width), 1: ("uint", height)})
    image = tensor(
        "image", "Picture, RGB, 0 to 255, resized to this size.", _IMAGE,
        table(2, {0: ("byte", _RGB), 1: ("offset", image_size)}),
    )  # fmt: skip

    # Where left, top, right and bottom stand in a box (ymin, xmin, ymax, xmax).
    index = builder.CreateNumpyVector(np.array([1, 0, 3, 2], np.uint32))
    boxes = table(3, {0: ("offset", index), 1: ("byte", _BOUNDARIES), 2: ("byte", _RATIO)})
    label_file = table(5, {0: text(LABELS), 1: text("Class names by number."), 2: ("byte", _TENSOR_VALUE_LABELS)})
    outputs = (
        tensor("location", "Boxes: ymin, xmin, ymax, xmax in 0 to 1 of the picture.", _BOUNDING_BOX, boxes, 2),
        tensor("category", "Classes, from 1 on; 0 where there is no detection.", _FEATURE, feature(), 2, label_file),
        tensor("score", "Scores, best first; 0 where there is no detection.", _FEATURE, feature(), 2),
        tensor("number of detections", "How many rows are detections.", _FEATURE, feature()),
    )
    names = tables(*(builder.CreateString(name) for name in ("location", "category", "score")))
    group = table(2, {0: text("detection_result"), 1: names})
    subgraph = table(10, {2: tables(image), 3: tables(*outputs), 8: tables(group)})
    model = {
        0: text("Faster R-CNN"),
        1: text("Finds objects of known classes in a picture."),
        3: tables(subgraph),
        7: text(_PARSER_VERSION),
    }
    builder.Finish(table(8, model), file_identifier=_IDENTIFIER)
    return bytes(builder.Output())
