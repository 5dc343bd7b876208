"""--split-by: shares and files, with near-duplicates together, through the loading of data sets."""

import json
import shutil

import cv2
import numpy as np
import pytest
from PIL import Image

from keras_frcnn.data.sources.loading import dataset_splits, divide_data, load_dataset, read_pictures
from keras_frcnn.data.sources.shared.annotations import NO_AREA, Problems
from keras_frcnn.data.sources.shared.split_by import hash_pictures, parse_shares, write_splits
from keras_frcnn.data.sources.spec import ALL, DataSpec
from keras_frcnn.data.sources.synthetic import drawn
from keras_frcnn.data.sources.synthetic.drawn import draw_picture
from keras_frcnn.data.sources.voc.folders import NO_XML
from keras_frcnn.facts.errors import InputError

COUNT = 20


@pytest.fixture(scope="module")
def drawn_folder(tmp_path_factory):
    """20 drawn scenes with XML files beside them, without image sets."""
    root = tmp_path_factory.mktemp("drawn")
    drawn.write_synthetic(root / "tree", {"train": COUNT}, seed=0, size=(120, 160))
    folder = root / "data"
    folder.mkdir()
    for path in [*(root / "tree").rglob("*.jpg"), *(root / "tree").rglob("*.xml")]:
        shutil.copy(path, folder / path.name.removeprefix("train_"))
    return folder


@pytest.fixture
def folder(drawn_folder, tmp_path):
    return shutil.copytree(drawn_folder, tmp_path / "data")


def spec_of(folder, split_by="0.6/0.2/0.2", **settings):
    return DataSpec(data=f"voc:{folder}", split_by=str(split_by), **settings)


def ids(dataset):
    return [one.image_id for one in dataset.examples]


def test_shares_make_splits_of_all_pictures(folder, monkeypatch):
    spec = spec_of(folder)
    assert dataset_splits(spec) == ("train", "val", "test")
    divided = divide_data(spec)
    sets = {name: load_dataset(spec, name, divided=divided) for name in ("train", "val", "test")}
    assert [len(one.examples) for one in sets.values()] == [12, 4, 4]
    assert sorted(one for dataset in sets.values() for one in ids(dataset)) == ids(load_dataset(spec, ALL))
    assert ids(load_dataset(spec, "val+train", divided=divided)) == ids(sets["val"]) + ids(sets["train"])
    assert ids(load_dataset(spec, "test")) == ids(sets["test"])  # divided in the call
    assert ids(load_dataset(spec_of(folder, split_seed=1), "test")) != ids(sets["test"])
    monkeypatch.setattr("keras_frcnn.data.sources.loading.divide", None)
    assert ids(load_dataset(spec, "test", divided=divided)) == ids(sets["test"])  # not divided again
    assert divided.splits.lines == ("--split-by 0.6/0.2/0.2, seed 0: train 12, val 4, test 4 pictures",)
    assert sets["train"].name == f"voc:{folder} train"


def test_the_classes_are_those_of_all_pictures(folder):
    xml = folder / "000000.xml"
    names = {name for name in load_dataset(spec_of(folder), ALL).class_names}
    xml.write_text(xml.read_text().replace("<name>", "<name>rare "))
    spec = spec_of(folder)
    divided = divide_data(spec)
    (holder,) = (name for name, members in divided.splits.members.items() if "000000" in members)
    for name in divided.splits.members:
        found = load_dataset(spec, name, divided=divided).class_names
        assert set(found) > names and {one.partition(" ")[0] for one in set(found) - names} == {"rare"}, (name, holder)
    named = load_dataset(spec_of(folder, class_names=found[::-1]), "val", divided=divided)
    assert named.class_names == found[::-1]


def test_near_duplicates_stay_in_one_split(folder):
    for number in range(8):  # changed copies of four pictures, as JPEG and PNG
        picture = cv2.imread(str(folder / f"{number % 4:06d}.jpg"))
        small = cv2.resize(picture, None, fx=0.8, fy=0.8, interpolation=cv2.INTER_AREA)
        name = f"copy{number}"
        cv2.imwrite(str(folder / f"{name}.{'png' if number < 4 else 'jpg'}"), np.clip(small * 1.05 + 3, 0, 255))
        xml = (folder / f"{number % 4:06d}.xml").read_text()
        (folder / f"{name}.xml").write_text(xml.replace(f"train_{number % 4:06d}.jpg", ""))
    for seed in range(3):
        splits = divide_data(spec_of(folder, split_seed=seed)).splits
        split_of = {one: name for name, members in splits.members.items() for one in members}
        for number in range(4):
            copies = (f"{number:06d}", f"copy{number}", f"copy{number + 4}")
            assert len({split_of[one] for one in copies}) == 1
        text = "12 pictures have near-duplicates, which stay in one split: 4 groups, the largest of 3 pictures"
        assert splits.lines[1:] == (text,)


@pytest.mark.parametrize("size", [(480, 640), (70, 100)])
def test_the_hash_of_a_jpeg_is_near_that_of_its_png(tmp_path, size):
    scene = draw_picture(3, "train", 0, size).image
    Image.fromarray(scene).save(tmp_path / "a.jpg", quality=90)
    Image.fromarray(scene).save(tmp_path / "a.png")
    (tmp_path / "b.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:1500])
    shown = []

    def progress(hashes, count):
        for one in hashes:
            shown.append(count)
            yield one

    a, b, c = hash_pictures([tmp_path / name for name in ("a.jpg", "a.png", "b.jpg")], progress)
    assert (a ^ b).bit_count() <= 2 and c is None and shown == [3, 3, 3]


def test_a_picture_over_the_limit_is_not_decoded(tmp_path):
    Image.fromarray(draw_picture(3, "train", 0, (60, 80)).image).save(tmp_path / "a.png")
    assert hash_pictures([tmp_path / "a.png"], max_pixels=60 * 80) != [None]
    assert hash_pictures([tmp_path / "a.png"], max_pixels=60 * 80 - 1) == [None]


def test_a_picture_that_cannot_be_decoded_is_shared_out_alone(folder):
    for name in ("000000.jpg", "000001.jpg"):
        (folder / name).write_bytes((folder / name).read_bytes()[:2000])
    splits = divide_data(spec_of(folder)).splits
    assert sum(map(len, splits.members.values())) == COUNT
    assert splits.lines[1:] == ("2 pictures cannot be decoded, and were not compared with the others",)


def test_data_with_splits_of_its_own_are_shared_out_anew(tmp_path):
    drawn.write_synthetic(tmp_path / "tree", {"a": 3, "train": 3, "val": 3, "test": 3}, seed=0, size=(120, 160))
    spec = spec_of(tmp_path / "tree", "0.5/0.5")
    assert dataset_splits(spec) == ("train", "val")
    splits = divide_data(spec).splits
    assert [len(members) for members in splits.members.values()] == [6, 6]
    line = "--split-by replaces the splits that the data has (a, test, train and 1 more): it divides all pictures"
    assert splits.lines[1:] == (line,)


def test_problems_are_those_of_the_split(folder):
    """Faults found in reading are told once, with the split that has the picture."""
    (folder / "unlabelled.jpg").write_bytes((folder / "000000.jpg").read_bytes())
    for number in range(COUNT):  # each first box without area, each XML naming another picture of the folder
        xml = folder / f"{number:06d}.xml"
        text = xml.read_text().replace(f"train_{number:06d}.jpg", f"{(number + 1) % COUNT:06d}.jpg")
        head, _, rest = text.partition("<xmax>")
        xml.write_text(f"{head}<xmax>0{rest[rest.index('</xmax>') :]}")
    spec = spec_of(folder)
    divided = divide_data(spec)
    for name, members in divided.splits.members.items():
        files = tuple(f"{folder}/{one}.xml" for one in members)
        problems = load_dataset(spec, name, divided=divided).problems
        assert problems.pop(NO_AREA) == files and problems.pop(NO_XML) == (f"{folder}/unlabelled.jpg",)
        assert list(problems.values()) == [files]
        counted = Problems()
        assert len(read_pictures(spec, name, counted).pictures) == len(members)
        assert {kind: len(paths) for kind, paths in counted.by_kind().items()} == dict(
            zip(counted.by_kind(), (len(members), 1), strict=True)
        )


def test_with_keep_going_the_errors_are_kept(folder):
    (folder / "000003.xml").write_text("<annotation>")
    problems = Problems(keep_going=True)
    read = read_pictures(spec_of(folder), "train", problems)
    assert len(read.pictures) in (11, 12) and "000003.xml" in str(problems.errors)
    with pytest.raises(InputError, match="000003.xml: not well-formed"):
        read_pictures(spec_of(folder), "train", Problems())


def test_written_splits_are_read_again(folder, tmp_path):
    spec = spec_of(folder)
    divided = divide_data(spec)
    path = tmp_path / "run" / "splits.json"
    write_splits(path, divided.splits)
    stored = json.loads(path.read_text())
    assert {key: stored[key] for key in ("data", "split_by", "split_seed")} == {
        "data": f"voc:{folder}",
        "split_by": "0.6/0.2/0.2",
        "split_seed": 0,
    }
    again = spec_of(folder, path)
    assert dataset_splits(again) == ("train", "val", "test")
    for name, members in divided.splits.members.items():
        assert tuple(ids(load_dataset(again, name))) == members
    assert divide_data(again).splits.members == divided.splits.members
    assert divide_data(again).splits.lines == (f"--split-by {path}: train 12, val 4, test 4 pictures",)


def test_a_file_does_not_look_at_pixels(folder, tmp_path, monkeypatch):
    write_splits(tmp_path / "splits.json", divide_data(spec_of(folder)).splits)
    monkeypatch.setattr("keras_frcnn.data.sources.shared.split_by.hash_pictures", None)
    assert len(load_dataset(spec_of(folder, tmp_path / "splits.json"), "val").examples) == 4


def test_a_file_with_other_pictures_than_the_data_is_refused(folder, tmp_path):
    write_splits(tmp_path / "splits.json", divide_data(spec_of(folder)).splits)
    (folder / "000004.xml").rename(folder / "new.xml")
    (folder / "000004.jpg").rename(folder / "new.jpg")
    for number in range(10, 15):
        (folder / f"{number:06d}.xml").unlink()
    message = (
        rf"^--split-by {tmp_path}/splits\.json: it lists pictures that the data lacks: 000004, 000010, 000011 "
        "and 3 more; it lacks pictures of the data: new; restore the data, or give shares"
    )
    with pytest.raises(InputError, match=message):
        load_dataset(spec_of(folder, tmp_path / "splits.json"), "train")


def test_joined_sources_are_shared_out_together(folder):
    other = shutil.copytree(folder, folder.parent / "other")
    spec = DataSpec(data=f"voc:{folder}+voc:{other}", split_by="0.5/0.5")
    splits = divide_data(spec).splits
    for members in splits.members.values():
        assert len(members) == COUNT
        numbers = [one.partition("/")[::2] for one in members]
        assert {name for source, name in numbers if source == "1"} == {
            name for source, name in numbers if source == "2"
        }


@pytest.mark.parametrize(
    ("text", "shares"),
    [
        ("0.8/0.1/0.1", {"train": 0.8, "val": 0.1, "test": 0.1}),
        (".75/.25", {"train": 0.75, "val": 0.25}),
        ("runs/mine/splits.json", None),
        ("splits", None),
    ],
)
def test_shares_and_files_are_told_apart(text, shares):
    assert parse_shares(text) == shares


@pytest.mark.parametrize(
    "text", ["0.8", "0.8/0.1", "0.8/0.3", "80/10/10", "1/0", "0.5/0.6/-0.1", "nan/1", "0.4/0.3/0.2/0.1"]
)
def test_bad_shares_are_refused_before_anything_is_read(tmp_path, text):
    message = rf"^--split-by {text}: expected two or three shares over 0 that add up to 1; write 0\.8/0\.1/0\.1"
    with pytest.raises(InputError, match=message):
        load_dataset(spec_of(tmp_path / "nothing", text), "train")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, ": cannot be read .No such file"),
        ("{", ": is not JSON .*; give shares such as 0.8/0.1/0.1"),
        ("[]", ", field pictures: missing, or not an object of splits; give shares"),
        ('{"pictures": {}}', ", field pictures: missing"),
        ('{"pictures": {"train": "a"}}', ", field pictures.train: not a list of image ids"),
        ('{"pictures": {"train": ["a"], "val": ["a"]}}', ", field pictures.val: picture a is also in train; list each"),
    ],
)
def test_a_bad_file_is_named(tmp_path, text, message):
    path = tmp_path / "splits.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=f"^--split-by {path}{message}"):
        load_dataset(spec_of(tmp_path, path), "train")


def test_a_split_that_shares_do_not_give_is_refused(folder):
    with pytest.raises(InputError, match="^split 'test': --split-by gives no split 'test'; use one of train, val, or"):
        load_dataset(spec_of(folder, "0.8/0.2"), "test")
    with pytest.raises(InputError, match=r"^split 'val\+val': picture .* is in it twice; name each split once"):
        load_dataset(spec_of(folder), "val+val")


def test_a_split_without_pictures_is_refused(folder):
    with pytest.raises(
        InputError, match="^--split-by 0.98/0.02: the split val gets none of the 20 pictures; give it a"
    ):
        load_dataset(spec_of(folder, "0.98/0.02"), "train")
    for path in folder.glob("*.jpg"):
        shutil.copy(folder / "000000.jpg", path) if path.name != "000000.jpg" else None
    with pytest.raises(InputError, match="val gets none of the 20 pictures, of which up to 20 are near-duplicates and"):
        load_dataset(spec_of(folder), "train")


def test_image_ids_that_occur_twice_are_refused(folder, monkeypatch):
    from keras_frcnn.data.sources.voc import reading as voc

    read = voc.read
    monkeypatch.setattr(voc, "read", lambda *given: (one := read(*given))._replace(pictures=one.pictures * 2))
    with pytest.raises(InputError, match="^--data voc:.*: image ids occur twice: 000000, 000001, 000002 and 17 more; "):
        divide_data(spec_of(folder))
