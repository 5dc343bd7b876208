"""The command that writes a data set in another format."""

import json

import pytest

from keras_frcnn.data import convert
from keras_frcnn.data.sources.loading import load_dataset
from keras_frcnn.data.sources.spec import DataSpec


def run(capsys, *arguments):
    """The exit status, the lines on standard output, and those on standard error."""
    try:
        convert.main([str(argument) for argument in arguments])
    except SystemExit as end:
        return end.code, *map(str.splitlines, capsys.readouterr())
    return 0, *map(str.splitlines, capsys.readouterr())


def test_all_splits_are_written_and_the_losses_are_printed(voc_tree, tmp_path, capsys):
    out = tmp_path / "out"
    status, lines, _ = run(capsys, f"voc:{voc_tree}", "--to", "coco", out)
    assert status == 0 and lines[-1] == f"To use them: --data coco:{out}"
    assert lines[0].startswith(f"{out}: wrote 4 pictures with ") and lines[0].endswith(" objects (train)")
    assert "coco cannot hold image ids that are not whole numbers: numbered from 1, file names keep the id (6)" in lines
    assert len(load_dataset(DataSpec(data=f"coco:{out}"), "train").examples) == 4

    status, lines, _ = run(capsys, f"coco:{out}", "--to", "yolo", tmp_path / "yolo", "--split", "val", "--link")
    assert status == 0 and "Nothing is lost." in lines and f"{tmp_path}/yolo: wrote 2 pictures" in lines[0]
    assert "train" not in (tmp_path / "yolo" / "data.yaml").read_text()


def test_one_json_file_is_one_split(voc_tree, tmp_path, capsys):
    run(capsys, f"voc:{voc_tree}", "--to", "coco", tmp_path / "coco")
    file = tmp_path / "coco" / "annotations" / "instances_val.json"
    status, lines, _ = run(capsys, f"coco:{file}", "--to", "yolo", tmp_path / "yolo")
    assert status == 0 and lines[0].endswith("objects (all)")
    assert len(load_dataset(DataSpec(data=f"yolo:{tmp_path / 'yolo'}"), "all").examples) == 2


def test_repaired_faults_and_mapped_classes(voc_tree, tmp_path, capsys):
    run(capsys, f"voc:{voc_tree}", "--to", "coco", tmp_path / "coco")
    file = tmp_path / "coco" / "annotations" / "instances_train.json"
    value = json.loads(file.read_text())
    value["annotations"][0]["bbox"][2] = 0
    file.write_text(json.dumps(value))
    (tmp_path / "map.json").write_text(json.dumps({value["categories"][0]["name"]: "shape"}))
    arguments = (f"coco:{tmp_path / 'coco'}", "--to", "voc", tmp_path / "voc")
    status, lines, _ = run(capsys, *arguments, "--class-map", tmp_path / "map.json")
    assert status == 0
    dropped = "box has no area: object dropped: 1 in instances_train.json, images[0]"
    assert lines[0] == f"warning: coco:{tmp_path / 'coco'} train: {dropped}"
    assert "shape" in load_dataset(DataSpec(data=f"voc:{tmp_path / 'voc'}"), "train+val").class_names
    status, _, errors = run(capsys, *arguments[:3], tmp_path / "strict", "--strict")
    assert status == 2 and len(errors) == 1 and "annotations[0]: box has no area" in errors[0]
    assert not (tmp_path / "strict").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("coco:{0}/no", "--to", "voc", "{0}/out"), "error: {0}/no: folder or file not found; use a COCO folder"),
        (("no:x", "--to", "voc", "{0}/out"), "error: --data 'no:x': unknown kind of data source"),
        (("voc:{1}", "--to", "voc", "{0}"), "error: {0}: already exists and is not an empty folder"),
        (("voc:{1}", "--to", "voc", "{0}/out", "--split", "no"), "image set not found"),
        (("voc:{1}", "--to", "pdf", "{0}/out"), "argument --to: invalid choice: 'pdf'"),
    ],
)
def test_bad_input_is_one_line(voc_tree, tmp_path, capsys, arguments, message):
    (tmp_path / "file").touch()
    status, _, errors = run(capsys, *(one.format(tmp_path, voc_tree) for one in arguments))
    assert status == 2 and message.format(tmp_path) in errors[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
