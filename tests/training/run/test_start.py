"""A run belongs to its data: the same command on changed data is refused, and nothing in the run folder changes."""

import shutil
from pathlib import Path

import pytest
from PIL import Image

from keras_frcnn.facts.config import DetectorConfig, ImageConfig
from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.files import PARTIAL, read_json
from training.alternate import parse_arguments
from training.run.start import check_feature_folder, locked, new_model, open_run, read_data


@pytest.fixture
def tree(voc_tree, tmp_path):
    """A copy of the VOC tree, to be changed."""
    return Path(shutil.copytree(voc_tree, tmp_path / "tree"))


def opened(tree: Path, *more: str, exif: str = "ignore", run: str = "run"):
    """The run of these options, with data of which a check decided `exif`."""
    given = ("--data", f"voc:{tree}", "--run", str(tree.parent / run), "--weights", "none", *more)
    options = parse_arguments(given).options
    data = read_data(options)
    decided = {"train_set": data.train_set._replace(exif=exif), "val_set": data.val_set._replace(exif=exif)}
    return open_run(options, data._replace(**decided))


def refused(tree: Path, change: str):
    folder = tree.parent / "run"
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(InputError) as caught:
        opened(tree)
    assert str(caught.value).startswith(f"{folder}/data.json: the data changed since this run was started: {change}")
    assert str(caught.value).endswith("; restore the data, or give another folder with --run")
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_the_same_data_resumes(tree):
    run = opened(tree)
    names = sorted(path.name for path in run.folder.iterdir())
    assert names == ["config.json", "data.json", "labels.json"]
    for path in tree.rglob("*.*"):
        path.touch()
    assert opened(tree).folder == run.folder


def test_data_may_be_moved(tree):
    run = opened(tree)
    before = {path: path.read_bytes() for path in run.folder.iterdir()}
    assert opened(tree.rename(tree.parent / "moved")).folder == run.folder
    assert {path: path.read_bytes() for path in run.folder.iterdir()} == before


def test_a_renamed_class_is_refused(tree):
    opened(tree)
    for path in (tree / "Annotations").iterdir():
        path.write_text(path.read_text().replace("<name>star<", "<name>asterisk<"))
    refused(tree, "class 1 was ")  # the names are sorted, so that the new one shifts others


def test_a_changed_box_is_refused(tree):
    opened(tree)
    path = tree / "Annotations" / "val_000001.xml"
    head, tag, tail = path.read_text().partition("<xmax>")
    number, end, rest = tail.partition("</xmax>")
    path.write_text(f"{head}{tag}{int(number) - 1}{end}{rest}")
    refused(tree, "the annotation of image val_000001 of the validation set changed;")


def test_another_list_of_pictures_is_refused(tree):
    opened(tree)
    path = tree / "ImageSets" / "Main" / "train.txt"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[::-1]))
    order = "the order of the images of the training set changed"
    refused(tree, f"{order}: place 1 was train_000000, is now train_000003;")


@pytest.mark.parametrize("decided", ["apply", pytest.param("ignore", marks=pytest.mark.slow)])
def test_the_model_has_the_decision_and_config_json_what_was_given(tree, decided):
    for _ in range(2):  # the second time, the run is resumed
        run = opened(tree, exif=decided)
        assert run.config == DetectorConfig(image=ImageConfig(exif=decided))
        assert new_model(run, None).config.image.exif == decided
        assert read_json(run.folder / "config.json")["detector"]["image"]["exif"] == "auto"


@pytest.mark.parametrize("forced", ["apply", "ignore"])
def test_a_forced_policy_wins_over_the_data(tree, forced):
    run = opened(tree, "--exif", forced, exif={"apply": "ignore", "ignore": "apply"}[forced])
    assert run.config.image.exif == forced
    assert read_json(run.folder / "config.json")["detector"]["image"]["exif"] == forced


@pytest.mark.parametrize(("forced", "policy", "orientation"), [((), "apply", 6), (("--exif", "ignore"), "ignore", 1)])
def test_pictures_stored_turned_are_recognised(tree, stored_turned, forced, policy, orientation):
    """The XML files state the size of the pictures as they are shown."""
    for path in (tree / "JPEGImages").iterdir():
        stored, exif = stored_turned(Image.open(path), 6)
        stored.save(path, exif=exif)
    options = parse_arguments(
        ("--data", f"voc:{tree}", "--run", str(tree.parent / "run"), "--weights", "none", *forced)
    ).options
    run = open_run(options, read_data(options))
    assert run.config.image.exif == policy
    for dataset in (run.train_set, run.val_set):
        assert dataset.exif == policy and {example.orientation for example in dataset.examples} == {orientation}


def test_a_training_without_objects_is_refused(tree):
    for path in (tree / "Annotations").glob("train*"):
        path.write_text(path.read_text().replace("<difficult>0<", "<difficult>1<"))
    with pytest.raises(InputError, match="train: there is no object to train on in 4 pictures; check --train"):
        opened(tree)
    assert not (tree.parent / "run").exists()


def test_a_run_folder_has_one_process(tmp_path):
    half = write_half(tmp_path)
    with locked(tmp_path):
        assert not half.exists()  # of an earlier process
        half = write_half(tmp_path)  # of this one
        with pytest.raises(InputError) as refused, locked(tmp_path):
            pass
        problem = "another process is training in this run folder; wait until it ends, or give another folder"
        assert str(refused.value) == f"{tmp_path}: {problem} with --run"
        assert half.exists()
    with locked(tmp_path):
        assert not half.exists()


def write_half(folder: Path) -> Path:
    """A file that a process began to write when it was killed."""
    half = folder / f".{PARTIAL}1.model.keras"
    half.write_bytes(b"half")
    return half


def test_a_feature_folder_that_cannot_be_written_is_named_before_the_training(tree, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        InputError, match=r"--feature-cache-folder .*/file/cache: cannot be written \(Not a directory\)"
    ):
        check_feature_folder(opened(tree, "--feature-cache-folder", str(tmp_path / "file" / "cache")))
    check_feature_folder(opened(tree, "--feature-cache-folder", str(tmp_path / "cache"), run="other"))
    assert list((tmp_path / "cache").iterdir()) == []
