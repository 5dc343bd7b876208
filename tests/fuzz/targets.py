"""What is fuzzed: each reader of files and answers that may come from strangers, with small files to begin with."""

import gzip
import io
import json
import pathlib
import struct
import zipfile
from collections.abc import Callable
from typing import Any, NamedTuple

import h5py
import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from export import client
from keras_frcnn.api.model_file import load_model
from keras_frcnn.api.pictures import to_pixels
from keras_frcnn.data.pictures.files import Reading
from keras_frcnn.data.sources.loading import load_dataset
from keras_frcnn.data.sources.shared.class_map import read_class_map
from keras_frcnn.data.sources.shared.picture_header import read_picture_header
from keras_frcnn.data.sources.spec import ALL, DataSpec
from keras_frcnn.evaluation.detections.coco_results import own_ids, read_coco_results
from keras_frcnn.facts.config import AnchorConfig, DetectorConfig, HeadConfig, ImageConfig, RPNConfig
from keras_frcnn.facts.errors import InputError
from keras_frcnn.network.model import FasterRCNN
from keras_frcnn.network.weights.pretrained import load_pretrained
from keras_frcnn.network.weights.warm_start import read_detector
from training.run.options.declared import AlternationOptions
from training.run.options.reading import read_request

Read = Callable[[pathlib.Path], Any]  # reads the fuzzed file
EXPECTED: tuple[type[Exception], ...] = (InputError, client.InputError, client.ServerError)


class Target(NamedTuple):
    """One reader."""

    file: str  # the fuzzed file, in the folder of the target
    seeds: tuple[bytes, ...]  # contents to begin with
    prepare: Callable[[pathlib.Path], Read]  # fills the folder of the target; returns what reads the file
    wrap: Callable[[bytes], bytes] = bytes  # from what the fuzzer makes to the content of the file
    readable: bool = True  # whether the first seed can be read; a whole file of weights would be too large


def picture(kind: str, mode: str = "RGB", **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


EXIF = Image.Exif()
EXIF[0x0112] = 6
PNG, JPEG = picture("PNG"), picture("JPEG", exif=EXIF)
PICTURES = (
    PNG, JPEG, picture("PNG", "P"), picture("PNG", "LA"), picture("JPEG", "CMYK"), picture("JPEG", progressive=True),
    picture("BMP"), picture("GIF", "P"), picture("WEBP"), picture("WEBP", lossless=True), picture("TIFF"),
    picture("TIFF", compression="tiff_lzw"),
)  # fmt: skip


def data_set(spec: str) -> Callable[[pathlib.Path], Read]:
    """Loads a data set in the folder, where the fuzzed file is one file of it and a.png a picture."""

    def prepare(folder: pathlib.Path) -> Read:
        (folder / "a.png").write_bytes(PNG)
        return lambda path: load_dataset(DataSpec(data=spec.format(folder=folder)), ALL)

    return prepare


def voc(folder: pathlib.Path) -> Read:
    (folder / "Annotations").mkdir()
    (folder / "JPEGImages").mkdir()
    (folder / "JPEGImages" / "a.png").write_bytes(PNG)
    return lambda path: load_dataset(DataSpec(data=f"voc:{folder}"), ALL)


def yolo(folder: pathlib.Path) -> Read:
    for part in ("images", "labels"):
        (folder / part / "train").mkdir(parents=True)
    (folder / "images" / "train" / "a.png").write_bytes(PNG)
    (folder / "labels" / "train" / "a.txt").write_text("0 0.5 0.5 0.4 0.4\n")
    if not (folder / "data.yaml").exists():
        (folder / "data.yaml").write_text("train: images/train\nnames: [cat, dog]\n")
    return lambda path: load_dataset(DataSpec(data=f"yolo:{folder}/data.yaml"), "train")


def example(**changes: Any) -> bytes:
    values: dict[str, Any] = {
        "image/encoded": [PNG], "image/source_id": [b"a"], "image/height": [6], "image/width": [8],
        "image/object/bbox/ymin": [0.1], "image/object/bbox/xmin": [0.1], "image/object/bbox/ymax": [0.9],
        "image/object/bbox/xmax": [0.9], "image/object/class/text": [b"cat"], **changes,
    }  # fmt: skip
    kinds = {bytes: "bytes_list", int: "int64_list", float: "float_list"}
    features = tf.train.Features()
    for name, value in values.items():
        getattr(features.feature[name], kinds[type(value[0])]).value.extend(value)
    return tf.train.Example(features=features).SerializeToString()


def as_record(content: bytes) -> bytes:
    """The content as a record with right checksums.

    The first byte says whether the record file is compressed (254), or consists of the content itself (255).
    """
    if content[:1] == b"\xff":
        return content[1:]
    buffer = io.BytesIO()
    length = struct.pack("<Q", len(content) - 1 if content else 0)
    body = content[1:]
    for part in (length, body):
        buffer.write(part + struct.pack("<I", masked_checksum(part)))
    return gzip.compress(buffer.getvalue()) if content[:1] == b"\xfe" else buffer.getvalue()


def masked_checksum(content: bytes) -> int:
    """CRC32C with the mask of TFRecord (tensorflow/core/lib/hash/crc32c.h)."""
    value = 0xFFFFFFFF
    for byte in content:
        value = TABLE[(value ^ byte) & 0xFF] ^ (value >> 8)
    value ^= 0xFFFFFFFF
    return ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _entry(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
    return byte


TABLE = [_entry(byte) for byte in range(256)]


def small_model() -> FasterRCNN:
    config = DetectorConfig(
        anchors=AnchorConfig(scales=(16.0,)),
        image=ImageConfig(short_side=32, long_side=48),
        rpn=RPNConfig(channels=4),
        head=HeadConfig(fc_units=4, pool_size=1),
    )
    return FasterRCNN(config, ("cat",), seed=0)


def as_keras(content: bytes) -> bytes:
    """A model file with a fuzzed configuration and without weights; with a first byte of 255, the content itself."""
    if content[:1] == b"\xff":
        return content[1:]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("config.json", content)
        archive.writestr("metadata.json", '{"keras_version": "3.12.0"}')
        archive.writestr("model.weights.h5", b"")
    return buffer.getvalue()


def as_npz(content: bytes) -> bytes:
    """An .npz file whose only array is the fuzzed content; with a first byte of 255, the content itself."""
    if content[:1] == b"\xff":
        return content[1:]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("block1_conv1/kernel.npy", content)
    return buffer.getvalue()


def hdf5() -> bytes:
    """A weight file in the legacy layout, with one layer."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.attrs["layer_names"] = [b"block1_conv1"]
        group = file.create_group("block1_conv1")
        group.attrs["weight_names"] = [b"kernel", b"bias"]
        group["kernel"], group["bias"] = np.zeros((3, 3, 3, 2), np.float32), np.zeros(2, np.float32)
    return buffer.getvalue()


def npy() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((3, 3, 3, 64), np.float32))
    return buffer.getvalue()


def answers(path: pathlib.Path) -> Any:
    """The client's reading of an answer of a server."""
    text = path.read_bytes().decode("utf-8", "replace")
    client._post = lambda *_: (200, text)
    found = client.detect([PNG], server="localhost:1", model="detector", timeout=0.0)
    return client.report("a.png", str(path.with_name("drawn.png")), PNG, found[0], 0.5, None)


def answer(**changes: Any) -> bytes:
    row = {
        "detection_boxes": [[0.1, 0.1, 0.9, 0.9], [0.0, 0.0, 0.0, 0.0]], "detection_classes": [1.0, 0.0],
        "detection_scores": [0.9, 0.0], "num_detections": 1.0, "image_errors": "", "image_orientations": 1.0, **changes,
    }  # fmt: skip
    return json.dumps({"predictions": [row]}).encode()


COCO = {
    "images": [{"id": 1, "file_name": "a.png", "height": 6, "width": 8}],
    "categories": [{"id": 1, "name": "cat", "supercategory": "animal"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 4, 3], "area": 12, "iscrowd": 0},
        {"id": 2, "image_id": 1, "category_id": 1, "segmentation": [[1, 1, 4, 1, 4, 4]], "iscrowd": 0},
    ],
}
XML = (
    b"<annotation><filename>a.png</filename><size><width>8</width><height>6</height></size><object><name>cat</name>"
    b"<difficult>0</difficult><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>4</xmax><ymax>4</ymax></bndbox></object>"
    b"</annotation>"
)
YAMLS = (b"train: images/train\nnames: [cat, dog]\n", b"path: .\ntrain: [a]\nnames: {0: a}\nnc: 1\n")
CONFIGURATION = {"options": {"iterations": [2, 2, 2, 2], "seed": 0}, "detector": {"rpn": {"nms_iou": 0.7}}}
RESULTS = [{"image_id": "a", "category_id": 1, "bbox": [1, 1, 4, 3], "score": 0.5}]


def reads(function: Callable[[str], Any]) -> Callable[[pathlib.Path], Read]:
    return lambda folder: lambda path: function(str(path))


def _request(path: str) -> Any:
    given = ["--config", path, "--data", "synthetic", "--run", "run", "--weights", "none"]
    return read_request(AlternationOptions, "fuzz", "", given)


def _results(path: str) -> Any:
    return read_coco_results(path, ("cat", "dog"), own_ids(("a", "b"), ("cat", "dog")))


def make_targets() -> dict[str, Target]:
    """All targets by name."""
    model = json.dumps(keras.saving.serialize_keras_object(small_model())).encode()
    records = (b"\x00" + example(), b"\xfe" + example())
    rows = b"image,xmin,ymin,xmax,ymax,class\na.png,1,1,4,4,cat\na.png,2,2,5,5,dog\n"
    return {
        "pictures": Target("picture", PICTURES, lambda _: lambda path: to_pixels(path, Reading(turned=True))),
        "picture headers": Target("picture", PICTURES, lambda _: read_picture_header),
        "VOC XML": Target("Annotations/a.xml", (XML,), voc),
        "COCO JSON": Target("a.json", (json.dumps(COCO).encode(),), data_set("coco:{folder}/a.json")),
        "CSV": Target("a.csv", (rows,), data_set("csv:{folder}/a.csv")),
        "YOLO labels": Target("labels/train/a.txt", (b"0 0.5 0.5 0.4 0.4\n1 0.1 0.1 0.9 0.1 0.9 0.9\n",), yolo),
        "YOLO YAML": Target("data.yaml", YAMLS, yolo),
        "TFRecord": Target("a.tfrecord", records, data_set("tfrecord:{folder}/a.tfrecord"), as_record),
        "class map": Target("map.json", (b'{"cat": "dog", "hen": null}',), reads(read_class_map)),
        "configuration": Target("config.json", (json.dumps(CONFIGURATION).encode(),), reads(_request)),
        "COCO results": Target("results.json", (json.dumps(RESULTS).encode(),), reads(_results)),
        "answers": Target("answer", (answer(), answer(image_errors="damaged", num_detections=0)), lambda _: answers),
        ".npz weights": Target("weights.npz", (npy(),), reads(load_pretrained), as_npz, False),
        ".h5 weights": Target("weights.h5", (hdf5(),), reads(load_pretrained), readable=False),
        ".keras file": Target("model.keras", (model,), reads(load_model), as_keras, False),
        "run to start from": Target(
            "model.keras", (model,), lambda folder: lambda _: read_detector(folder), as_keras, False
        ),
    }
