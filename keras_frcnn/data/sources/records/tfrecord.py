"""Record files with the schema of the TF detection tools: `image/encoded`, `image/object/bbox/*` and so on.

Boxes are float32 fractions of the picture's sides.  Names come from `image/object/class/text`; where the records have
only numbers, from a label map (`*.pbtxt`) beside them.  The pictures are extracted into the cache folder.

Source: the guide "Preparing inputs" of the TensorFlow object detection API, and `tf_example_decoder` of tf-models.
"""

import functools
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
from google.protobuf.message import DecodeError
from official.vision.dataloaders.tf_example_decoder import TfExampleDecoder

from keras_frcnn.data.sources.records.extracted import ExtractedPicture, RecordedObject, RecordedPicture, extracted
from keras_frcnn.data.sources.records.label_map import read_label_map
from keras_frcnn.data.sources.records.record_files import record_files
from keras_frcnn.data.sources.shared.annotations import AnnotatedObject, AnnotatedPicture, Problems, SourcePictures
from keras_frcnn.data.sources.shared.image_ids import safe_image_id
from keras_frcnn.data.sources.shared.split_names import chosen_splits, joined
from keras_frcnn.data.sources.spec import Request
from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.structures import Tensor

_GZIP = b"\x1f\x8b"
_SCHEMA_FIX = "write records with the schema of the TF detection tools, or use tfds: for a TensorFlow data set"


def read(request: Request, problems: Problems) -> SourcePictures:
    """Read one split of `tfrecord:GLOB`; `record_files` describes GLOB and its splits.

    The identifier of a picture is `image/source_id`, or without it `image/filename`.  The classes are those of the
    label map; without one, none are declared.

    Raises:
      InputError: there is no such file or split; a record is damaged or has another schema; a number has no name; or an
        identifier occurs twice.
    """
    available = record_files(request)
    parts = []
    for split in chosen_splits(request, tuple(available)):
        files = available[split]
        names = _label_map(files[0].parent)
        title = f"{request.where}, {files[0].name}" + (f" and {len(files) - 1} more" if len(files) > 1 else "")
        pictures: dict[str, AnnotatedPicture] = {}
        for picture in extracted(title, files, functools.partial(_read_files, files)):
            if picture.image_id in pictures:
                problem = f"image id {picture.image_id!r} is already that of {pictures[picture.image_id].where}"
                raise InputError(picture.where, problem, "give each picture its own image/source_id")
            pictures[picture.image_id] = _annotated(picture, names)
        class_names = None if names is None else tuple(names.values())
        parts.append((split, SourcePictures(tuple(pictures.values()), class_names)))
    return joined(parts)


def splits(request: Request) -> tuple[str, ...]:
    """The splits that the names of the files state, sorted."""
    return tuple(record_files(request))


def _label_map(folder: Path) -> dict[int, str] | None:
    """The label map in the folder of the records or the one above; None if there is none."""
    files = next((found for each in (folder, folder.parent) if (found := sorted(each.glob("[!.]*.pbtxt")))), [])
    if len(files) > 1:
        problem = f"{len(files)} label maps: {', '.join(file.name for file in files)}"
        raise InputError(folder, problem, "keep the one that belongs to the records")
    return read_label_map(files[0]) if files else None


def _annotated(picture: ExtractedPicture, names: dict[int, str] | None) -> AnnotatedPicture:
    """The picture with the names of its objects."""
    objects = []
    for number, one in enumerate(picture.objects, start=1):
        name = one.class_name
        if name is None:
            if names is None:
                problem = f"class {one.class_number} has no name: the records have no image/object/class/text"
                raise InputError(picture.where, problem, "put a label map (.pbtxt) into the folder of the records")
            if one.class_number not in names:
                problem = f"class {one.class_number} is not in the label map"
                raise InputError(f"{picture.where}, object {number}", problem, "add it to the label map")
            name = names[one.class_number]
        objects.append(AnnotatedObject(f"object {number}", name, one.corners, one.difficult, one.crowd, one.area))
    size = None if picture.size is None else (float(picture.size[0]), float(picture.size[1]))
    return AnnotatedPicture(picture.image_id, picture.path, picture.where, size, tuple(objects), in_fractions=True)


# The records.


class _Decoder(TfExampleDecoder):
    """tf-models' decoder, which keeps the picture encoded and gives the fields that the original leaves out."""

    def __init__(self) -> None:
        super().__init__()
        self._keys_to_features["image/source_id"] = tf.io.FixedLenFeature((), tf.string, "")  # some tools leave it out
        self._more = {
            "image/encoded": tf.io.FixedLenFeature((), tf.string),
            "image/filename": tf.io.FixedLenFeature((), tf.string, ""),
            "image/source_id": tf.io.FixedLenFeature((), tf.string, ""),
            "image/object/class/text": tf.io.RaggedFeature(tf.string),
            "image/object/difficult": tf.io.RaggedFeature(tf.int64),
            "image/object/is_crowd": tf.io.RaggedFeature(tf.int64),
            "image/object/area": tf.io.RaggedFeature(tf.float32),  # the original computes it if it is missing
        }

    def _decode_image(self, parsed_tensors: dict[str, Tensor]) -> Tensor:
        return tf.zeros([0, 0, 3], tf.uint8)  # it only serves as the size if the record states none

    def decode(self, serialized_example: Tensor) -> dict[str, Tensor]:
        """The fields of the original, without pixels, and those of `_more`, each under the end of its name."""
        # TensorFlow's parser crashes on some damaged messages, which that of protobuf finds.
        is_example = tf.numpy_function(_is_example, [serialized_example], tf.bool)
        with tf.control_dependencies([tf.debugging.Assert(is_example, ["damaged tf.train.Example"])]):
            serialized_example = tf.identity(serialized_example)
        more = tf.io.parse_single_example(serialized_example, self._more)
        fields = super().decode(serialized_example)
        return fields | {name.rpartition("/")[2]: value for name, value in more.items()}


def _is_example(serialized: bytes) -> bool:
    try:
        tf.train.Example.FromString(serialized)
    except DecodeError:
        return False
    return True


def _read_files(files: Sequence[Path]) -> Iterator[RecordedPicture]:
    """The pictures of the record files, in order."""
    decoder = _Decoder()
    for file in files:
        with file.open("rb") as stream:
            compression = "GZIP" if stream.read(2) == _GZIP else ""
        # In order: after an error, the number of the record is that of the pictures so far.
        records = tf.data.TFRecordDataset(str(file), compression).map(decoder.decode, num_parallel_calls=os.cpu_count())
        number = 0
        try:
            for number, fields in enumerate(records.as_numpy_iterator(), start=1):
                yield _recorded(fields, f"{file}, record {number}")
        except tf.errors.DataLossError:
            problem = "damaged or not a record file"
            raise InputError(f"{file}, record {number + 1}", problem, "copy or write the file again") from None
        except tf.errors.InvalidArgumentError as error:
            problem = f"not a picture with boxes ({_first_sentence(error)})"
            raise InputError(f"{file}, record {number + 1}", problem, _SCHEMA_FIX) from None
        except UnicodeDecodeError:  # TensorFlow's message repeats bytes of the record
            problem = "not a picture with boxes, and its text is not UTF-8"
            raise InputError(f"{file}, record {number + 1}", problem, _SCHEMA_FIX) from None


def _recorded(fields: dict[str, Any], where: str) -> RecordedPicture:
    """One decoded record."""
    boxes = fields["groundtruth_boxes"].tolist()
    texts, numbers = _of_objects(fields, "text", boxes, where), _of_objects(fields, "groundtruth_classes", boxes, where)
    if boxes and texts is None and numbers is None:
        raise InputError(f"{where}, image/object/class", "boxes without classes are not labels", _SCHEMA_FIX)
    difficult, crowd, areas = (_of_objects(fields, name, boxes, where) for name in ("difficult", "is_crowd", "area"))
    objects = tuple(
        RecordedObject(
            None if texts is None else _text(texts[at], f"{where}, object {at + 1}"),
            None if numbers is None else int(numbers[at]),
            tuple(box),
            bool(difficult and difficult[at]),
            bool(crowd and crowd[at]),
            None if areas is None else float(areas[at]),
        )
        for at, box in enumerate(boxes)
    )
    height, width = int(fields["height"]), int(fields["width"])
    size = (height, width) if height > 0 and width > 0 else None
    image_id = _text(fields["source_id"] or fields["filename"], where) or where.rpartition("/")[2]
    return RecordedPicture(safe_image_id(image_id), where, size, objects, fields["encoded"])


def _of_objects(fields: dict[str, Any], name: str, boxes: Sequence, where: str) -> list | None:
    """A field with one value for each box; None if it is left out."""
    values = fields[name].tolist()
    if len(values) not in (0, len(boxes)):
        problem = f"{len(values)} values for {len(boxes)} boxes"
        raise InputError(f"{where}, {name}", problem, "write one value for each box")
    return values or None


def _text(value: bytes, where: str) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        raise InputError(where, f"{value!r} is not UTF-8", "write names in UTF-8") from None


def _first_sentence(error: tf.errors.OpError) -> str:
    """What TensorFlow says about a record, without the names of its operations."""
    first = error.message.splitlines()[0]
    return re.sub(r"^.*Iterator::Root[\w:\[\]]*:\s*|\s*\[Op:.*$|assertion failed: ", "", first)[:200]
