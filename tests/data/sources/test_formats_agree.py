"""The same pictures in several formats give the same examples: boxes and pixels to the last bit, and the classes.

The files are written here as the tools of each format write them, and not with the project's own writers.
"""

import csv
import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import tensorflow as tf

from keras_frcnn.data.pictures import images
from keras_frcnn.data.sources.loading import load_dataset
from keras_frcnn.data.sources.spec import DataSpec

VOC = Path(__file__).resolve().parents[4] / "shared" / "data" / "voc" / "VOC2007"
COUNT = 20

pytestmark = pytest.mark.skipif(not VOC.is_dir(), reason="needs the PASCAL VOC pictures")


@pytest.fixture(scope="module")
def names():
    """The first pictures of the tree, with one that has a difficult object among them."""
    return (VOC / "ImageSets/Main/minival.txt").read_text().split()[:COUNT]


@pytest.fixture(scope="module")
def voc_set(tmp_path_factory, names):
    """The 20 pictures, read from their XML files."""
    tree = tmp_path_factory.mktemp("voc")
    (tree / "ImageSets/Main").mkdir(parents=True)
    (tree / "ImageSets/Main/few.txt").write_text("\n".join(names))
    for folder in ("Annotations", "JPEGImages"):
        (tree / folder).symlink_to(VOC / folder)
    return load_dataset(DataSpec(data=f"voc:{tree}"), "few")


def annotated(name):
    """(width, height, [(class, xmin, ymin, xmax, ymax, difficult), ...]) of an XML file, as written."""
    root = ElementTree.parse(VOC / "Annotations" / f"{name}.xml").getroot()
    width, height = (int(root.find("size").find(side).text) for side in ("width", "height"))
    objects = [
        (one.find("name").text, *(int(one.find("bndbox").find(side).text) for side in ("xmin", "ymin", "xmax", "ymax")))
        + (int(one.find("difficult").text),)
        for one in root.findall("object")
    ]
    return width, height, objects


def assert_same(dataset, voc_set, names, difficult=True):
    """The data set holds the pictures `names` in order, with the objects and pixels of the VOC tree."""
    of_voc = {example.image_id: example for example in voc_set.examples}
    assert [Path(example.image_id).name for example in dataset.examples] == list(names)
    for example in dataset.examples:
        wanted = of_voc[Path(example.image_id).name]
        assert example.boxes.dtype == np.float32 and example.boxes.tobytes() == wanted.boxes.tobytes()
        labels, labels_of_voc = (
            [each.class_names[number - 1] for number in one.classes]
            for each, one in ((dataset, example), (voc_set, wanted))
        )
        assert labels == labels_of_voc
        assert not difficult or example.difficult.tolist() == wanted.difficult.tolist()
        assert (example.height, example.width) == (wanted.height, wanted.width)
        pixels = [images.decode_image(tf.io.read_file(one.image_path)).numpy() for one in (example, wanted)]
        assert pixels[0].tobytes() == pixels[1].tobytes()
    assert sum(len(example.boxes) for example in dataset.examples) > COUNT
    assert any(example.difficult.any() for example in voc_set.examples)


def test_csv_of_keras_retinanet(voc_set, names, tmp_path):
    """Without a header, pixels from 0; paths from the folder of the pictures."""
    with (tmp_path / "train.csv").open("w", newline="") as stream:
        for name in names:
            for label, xmin, ymin, xmax, ymax, _ in annotated(name)[2]:
                csv.writer(stream).writerow([f"{name}.jpg", xmin - 1, ymin - 1, xmax, ymax, label])
    spec = DataSpec(data=f"csv:{tmp_path}/train.csv", images_root=str(VOC / "JPEGImages"))
    dataset = load_dataset(spec, "all")
    assert_same(dataset, voc_set, names, difficult=False)
    assert dataset.class_names == voc_set.class_names and not dataset.problems


def test_csv_of_tensorflow(voc_set, names, tmp_path):
    """As xml_to_csv.py of the tutorials writes it: the numbers of the XML files."""
    with (tmp_path / "train_labels.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["filename", "width", "height", "class", "xmin", "ymin", "xmax", "ymax"])
        for name in names:
            width, height, objects = annotated(name)
            writer.writerows([f"{name}.jpg", width, height, *one[:5]] for one in objects)
    spec = DataSpec(data=f"csv:{tmp_path}", images_root=str(VOC / "JPEGImages"))
    dataset = load_dataset(spec, "train")
    assert_same(dataset, voc_set, names, difficult=False)
    assert dataset.class_names == voc_set.class_names and not dataset.problems


def test_coco(voc_set, names, tmp_path):
    """One JSON file: corner, width and height from 0, and category ids with gaps."""
    ids = {name: 3 * at for at, name in enumerate(voc_set.class_names, start=1)}
    pictures, annotations = [], []
    for number, name in enumerate(names, start=1):
        width, height, objects = annotated(name)
        pictures.append({"id": number, "file_name": f"{name}.jpg", "width": width, "height": height})
        for label, xmin, ymin, xmax, ymax, _ in objects:
            box = [xmin - 1, ymin - 1, xmax - xmin + 1, ymax - ymin + 1]
            one = {"image_id": number, "category_id": ids[label], "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
            annotations.append({"id": len(annotations) + 1, **one})
    categories = [{"id": number, "name": name} for name, number in ids.items()]
    values = {"images": pictures, "annotations": annotations, "categories": categories}
    (tmp_path / "few.json").write_text(json.dumps(values))
    dataset = load_dataset(DataSpec(data=f"coco:{tmp_path}/few.json", images_root=str(VOC / "JPEGImages")), "all")
    named = [one._replace(image_id=names[int(one.image_id) - 1]) for one in dataset.examples]
    assert_same(dataset._replace(examples=tuple(named)), voc_set, names, difficult=False)
    assert dataset.class_names == voc_set.class_names and not dataset.problems


def test_yolo(voc_set, names, tmp_path):
    """Centre and size as fractions in six decimals; rounding to 1/1024 pixel brings the exact boxes back."""
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    for name in names:
        (tmp_path / "images" / f"{name}.jpg").symlink_to(VOC / "JPEGImages" / f"{name}.jpg")
        width, height, objects = annotated(name)
        lines = []
        for label, xmin, ymin, xmax, ymax, _ in objects:
            centre = (xmin - 1 + xmax) / 2 / width, (ymin - 1 + ymax) / 2 / height
            fractions = (*centre, (xmax - xmin + 1) / width, (ymax - ymin + 1) / height)
            lines.append(" ".join([str(voc_set.class_names.index(label)), *(f"{one:.6f}" for one in fractions)]) + "\n")
        (tmp_path / "labels" / f"{name}.txt").write_text("".join(lines))
    (tmp_path / "data.yaml").write_text(f"train: images\nnames: {list(voc_set.class_names)}\n")
    dataset = load_dataset(DataSpec(data=f"yolo:{tmp_path}"), "train")
    assert_same(dataset, voc_set, sorted(names), difficult=False)
    assert dataset.class_names == voc_set.class_names


@pytest.mark.parametrize("with_names", [True, False])
def test_tfrecord(voc_set, names, tmp_path, monkeypatch, with_names):
    """In two shards, with names in the records or only in the label map."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    class_names = voc_set.class_names
    for shard in range(2):
        with tf.io.TFRecordWriter(f"{tmp_path}/train-{shard:05d}-of-00002.tfrecord") as writer:
            for name in names[shard * COUNT // 2 : (shard + 1) * COUNT // 2]:
                writer.write(record_of(name, class_names, with_names))
    items = (f"item {{\n  id: {at}\n  name: '{name}'\n}}\n" for at, name in enumerate(class_names, start=1))
    (tmp_path / "voc_label_map.pbtxt").write_text("".join(items))
    dataset = load_dataset(DataSpec(data=f"tfrecord:{tmp_path}"), "train")
    assert_same(dataset, voc_set, names)
    assert dataset.class_names == class_names and not dataset.problems


def record_of(name, class_names, with_names):
    """The record of a picture whose boxes are fractions of edges."""
    width, height, objects = annotated(name)
    labels, xmin, ymin, xmax, ymax, difficult = zip(*objects, strict=True)
    features = {
        "image/encoded": [(VOC / "JPEGImages" / f"{name}.jpg").read_bytes()],
        "image/source_id": [name.encode()],
        "image/height": [height],
        "image/width": [width],
        "image/object/bbox/xmin": [(x - 1) / width for x in xmin],
        "image/object/bbox/ymin": [(y - 1) / height for y in ymin],
        "image/object/bbox/xmax": [x / width for x in xmax],
        "image/object/bbox/ymax": [y / height for y in ymax],
        "image/object/class/label": [class_names.index(label) + 1 for label in labels],
        "image/object/difficult": list(difficult),
    }
    if with_names:
        features["image/object/class/text"] = [label.encode() for label in labels]
    return tf.train.Example(
        features=tf.train.Features(feature={key: as_feature(value) for key, value in features.items()})
    ).SerializeToString()


def as_feature(values):
    if isinstance(values[0], bytes):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
    if isinstance(values[0], float):
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def test_tfds_voc(voc_set, names, tmp_path, monkeypatch):
    """A builder with the features of the builder `voc` of TFDS, and its own reader of XML files."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.object_detection import voc

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with tfds.core.registered.skip_registration():

        class Voc(voc.Voc):
            name = "voc"
            pkg_dir_path = tmp_path
            url_infos = {}  # else TFDS looks for them beside the code of the builder

            def _split_generators(self, dl_manager):
                return {"train": self._generate_examples()}

            def _generate_examples(self):
                for name in names:
                    objects = list(voc._get_example_objects(VOC / f"Annotations/{name}.xml"))
                    labels = sorted({one["label"] for one in objects})
                    picture = {"image": str(VOC / f"JPEGImages/{name}.jpg"), "image/filename": f"{name}.jpg"}
                    yield name, picture | {"objects": objects, "labels": labels, "labels_no_difficult": []}

    Voc(config="2007", data_dir=tmp_path).download_and_prepare()
    dataset = load_dataset(DataSpec(data="tfds:voc/2007", tfds_dir=str(tmp_path)), "train")
    order = [example.image_id for example in dataset.examples]  # TFDS shuffles when it writes
    assert sorted(order) == sorted(names)
    assert_same(dataset, voc_set, order)
    assert len(dataset.class_names) == 20
