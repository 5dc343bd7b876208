"""TensorFlow data sets (`tensorflow-datasets`) whose examples have a picture and a sequence of objects.

An object has a box (`BBoxFeature`, fractions of the sides) and a label (`ClassLabel`).  The encoded pictures are
extracted into the cache folder without decoding them.

The builder `voc` of the package divides the numbers of the XML files by the picture's size as they are, 1-based with
inclusive ends, while the fractions of other data sets are edges.  This module converts the boxes of `voc` like those of
the XML files, so that both give the same boxes.

Source: tensorflow_datasets/object_detection/voc.py, `_get_example_objects`.
"""

import functools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import tensorflow_datasets as tfds
from tensorflow_datasets.core.read_only_builder import builder_from_files

from keras_frcnn.data.sources.records.extracted import ExtractedPicture, RecordedObject, RecordedPicture, extracted
from keras_frcnn.data.sources.shared.annotations import AnnotatedObject, AnnotatedPicture, Problems, SourcePictures
from keras_frcnn.data.sources.shared.fractions import to_pixels
from keras_frcnn.data.sources.shared.image_ids import safe_image_id
from keras_frcnn.data.sources.shared.picture_header import read_picture_header
from keras_frcnn.data.sources.shared.split_names import chosen_splits, joined
from keras_frcnn.data.sources.spec import Request
from keras_frcnn.data.sources.voc.xml import continuous_corners
from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.files import user_path

_VOC = "voc"  # the builder whose fractions are not edges
_CROWD = ("is_crowd", "is_group_of")  # fields that mark a region of many objects, in COCO and Open Images
_DIFFICULT = ("is_difficult",)


class _Fields(NamedTuple):
    """The names of the features that describe a picture and its objects."""

    picture: str
    objects: str
    box: str
    label: str
    class_names: tuple[str, ...]
    others: frozenset[str]  # the other features of an object


def read(request: Request, problems: Problems) -> SourcePictures:
    """Read one split of `tfds:NAME[/CONFIG][:VERSION]`.

    The identifier of a picture is `image/id`, or without it `image/filename` without suffix, or else the key that TFDS
    gives it.  The classes are those of the label, in their order.

    Raises:
      InputError: the data set is not prepared and must not be downloaded, has no such split, or no objects with boxes
        and labels.
    """
    builder = _builder(request)
    fields = _find_fields(builder.info.features, request.where)
    parts = []
    for split in chosen_splits(request, sorted(builder.info.splits)):
        files = [Path(file) for file in builder.info.splits[split].filepaths]
        title = f"tfds:{builder.info.full_name} {split}"
        pictures = extracted(title, files, functools.partial(_read_records, builder, split, fields, title))
        repeated = [image_id for image_id, times in Counter(one.image_id for one in pictures).items() if times > 1]
        if repeated:
            problem = f"{len(repeated)} image ids occur twice, the first is {repeated[0]}"
            raise InputError(title, problem, "use a data set whose pictures have different ids")
        annotated = tuple(_annotated(picture, builder.name) for picture in pictures)
        parts.append((split, SourcePictures(annotated, fields.class_names)))
    return joined(parts)


def splits(request: Request) -> tuple[str, ...]:
    """The splits of the data set, sorted."""
    return tuple(sorted(_builder(request).info.splits))


def _builder(request: Request) -> tfds.core.DatasetBuilder:
    """The prepared data set; prepares it if the request allows to download."""
    if not request.argument:
        raise InputError("--data tfds", "the name is missing", "use tfds:NAME, e.g. tfds:voc/2007")
    directory = None if request.tfds_dir is None else user_path(request.tfds_dir)
    try:
        # Only the files: the builder's own code would look for the data set on the network.
        return builder_from_files(request.argument, data_dir=directory)
    except tfds.core.DatasetNotFoundError:
        if not request.allow_download:
            problem = f"no such data set is prepared in {directory or tfds.core.constants.DATA_DIR}"
            fix = "give its folder with --tfds-dir, or let it be downloaded with --allow-download"
            raise InputError(request.where, problem, fix) from None
    except ValueError as error:
        raise InputError(request.where, f"not a name ({error})", "use tfds:NAME/CONFIG:VERSION") from None
    try:
        builder = tfds.builder(request.argument, data_dir=directory)
        builder.download_and_prepare()
    except ModuleNotFoundError as error:
        problem = f"needs the package {error.name} to prepare the data set"
        raise InputError(request.where, problem, f"pip install {error.name}") from None
    except Exception as error:  # downloads fail in many ways
        problem = f"cannot be downloaded and prepared ({str(error).strip().partition(chr(10))[0][:200]})"
        raise InputError(request.where, problem, "check the name, the network and the free space") from error
    return builder


def _find_fields(features: tfds.features.FeaturesDict, where: str) -> _Fields:
    """The features of the picture and of the objects, found by their kinds."""
    pictures = [name for name, feature in features.items() if isinstance(feature, tfds.features.Image)]
    found = [fields for name, feature in features.items() if (fields := _object_fields(name, feature)) is not None]
    found = [fields for fields in found if fields.objects == "objects"] or found
    if len(pictures) != 1 or len(found) != 1:
        problem = f"expected one picture and one sequence of objects (got {len(pictures)} and {len(found)})"
        raise InputError(where, problem, "use a data set for object detection, with boxes and labels")
    return found[0]._replace(picture=pictures[0])


def _object_fields(name: str, feature: tfds.features.FeatureConnector) -> _Fields | None:
    """The names of the features of an object; None if `feature` is not a sequence of objects with boxes and labels."""
    inner = getattr(feature, "feature", None)
    if not isinstance(inner, tfds.features.FeaturesDict):
        return None
    boxes = [key for key, each in inner.items() if isinstance(each, tfds.features.BBoxFeature)]
    labels = [key for key, each in inner.items() if isinstance(each, tfds.features.ClassLabel)]
    label = next((key for key in labels if key == "label"), labels[0] if labels else None)
    if not boxes or label is None:
        return None
    return _Fields("", name, boxes[0], label, tuple(inner[label].names), frozenset(inner.keys()) - {boxes[0], label})


def _read_records(
    builder: tfds.core.DatasetBuilder, split: str, fields: _Fields, title: str
) -> Iterator[RecordedPicture]:
    """The pictures of a split with their encoded bytes, in the order of the files."""
    in_order = tfds.ReadConfig(add_tfds_id=True, interleave_cycle_length=1, try_autocache=False)
    encoded = {fields.picture: tfds.decode.SkipDecoding()}
    records = builder.as_dataset(split=split, shuffle_files=False, decoders=encoded, read_config=in_order)
    for number, record in enumerate(records.as_numpy_iterator(), start=1):
        where = f"{title}, record {number}"
        objects = record[fields.objects]
        rows = range(len(objects[fields.box]))
        found = tuple(_recorded(objects, at, fields, f"{where}, object {at + 1}") for at in rows)
        yield RecordedPicture(_image_id(record), where, None, found, record[fields.picture])


def _recorded(objects: dict[str, Any], at: int, fields: _Fields, where: str) -> RecordedObject:
    """One object of a record."""
    label = int(objects[fields.label][at])
    if not 0 <= label < len(fields.class_names):
        raise InputError(f"{where}, {fields.label}", f"{label} is not the number of a class", "use another split")
    area = float(objects["area"][at]) if "area" in fields.others else None

    def marked(names: tuple[str, ...]) -> bool:
        return any(bool(objects[name][at]) for name in names if name in fields.others)

    box = tuple(objects[fields.box][at].tolist())
    return RecordedObject(fields.class_names[label], label, box, marked(_DIFFICULT), marked(_CROWD), area)


def _image_id(record: dict[str, Any]) -> str:
    """The identifier of a picture."""
    if "image/id" in record:
        value = record["image/id"]
        return safe_image_id(value.decode() if isinstance(value, bytes) else str(value))
    if "image/filename" in record:
        return safe_image_id(str(PurePosixPath(record["image/filename"].decode()).with_suffix("")))
    return safe_image_id(record["tfds_id"].decode())


def _annotated(picture: ExtractedPicture, builder_name: str) -> AnnotatedPicture:
    """The picture with its objects; the boxes of `voc` are converted to pixels."""
    is_voc = builder_name == _VOC
    header = read_picture_header(picture.path) if is_voc else None
    objects = []
    for number, one in enumerate(picture.objects, start=1):
        corners: tuple[float, float, float, float] | None = one.corners
        if header is not None:
            ymin, xmin, ymax, xmax = to_pixels(one.corners, header.height, header.width)
            corners = continuous_corners(xmin, ymin, xmax, ymax)
        where = f"object {number}"
        objects.append(AnnotatedObject(where, str(one.class_name), corners, one.difficult, one.crowd, one.area))
    return AnnotatedPicture(
        picture.image_id, picture.path, picture.where, None, tuple(objects), in_fractions=not is_voc
    )
