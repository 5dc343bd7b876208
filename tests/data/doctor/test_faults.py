"""Every kind of fault that is seeded into a clean data set is found, and nothing else."""

import json

import numpy as np
import pytest
from PIL import Image

from keras_frcnn.data.doctor import examine, findings
from keras_frcnn.data.doctor.findings import NOTE
from keras_frcnn.data.doctor.splits import load_splits
from keras_frcnn.data.sources.loading import load_dataset
from keras_frcnn.data.sources.spec import DataSpec
from keras_frcnn.data.validate import main
from keras_frcnn.facts.config import AnchorConfig, DetectorConfig

A, B = "train_000001", "train_000029"
IN_VAL = "val_000001"


@pytest.fixture(autouse=True)
def no_search(monkeypatch):
    """The search for anchors takes a second and has its own tests."""
    monkeypatch.setattr(examine, "suggest_anchors", lambda objects, rounding: None)


def visit(root):
    """The findings of the doctor on a VOC tree."""
    datasets, found = load_splits(DataSpec(data=f"voc:{root}"), None, "auto")
    examination = examine.examine(datasets, DetectorConfig(), 2, lambda pictures, count: pictures)
    return [*found, *examination.findings]


def truncate(tree, name=A):
    encoded = tree.picture(name).read_bytes()
    tree.picture(name).write_bytes(encoded[: len(encoded) // 2])


def damage(tree, name=A):
    """A PNG with a whole header and end, but broken pixels."""
    Image.fromarray(tree.pixels(name)).save(tree.picture(name), format="PNG")
    encoded = bytearray(tree.picture(name).read_bytes())
    encoded[len(encoded) // 2] ^= 0xFF
    tree.picture(name).write_bytes(bytes(encoded))


def no_picture(tree, name=A):
    tree.picture(name).write_text("<html>not found</html>")


def no_annotation(tree, name=A):
    tree.annotation(name).unlink()


def exif(tree, name=A):
    """Turned by 180 degrees, so that the stated size fits both ways."""
    with Image.open(tree.picture(name)) as image:
        tags = Image.Exif()
        tags[0x0112] = 3
        image.save(tree.picture(name), quality=95, exif=tags)


def wrong_size(tree, name=A):
    tree.edit(name, lambda root: root.find("size/width").__setattr__("text", "500"))


def no_area(tree, name=A):
    tree.add_object(name, (20, 30, 20, 60))


def outside(tree, name=A):
    tree.add_object(name, (300, 300, 340, 350))


def beyond(tree, name=A):
    tree.add_object(name, (100, 60, 150, 90))


def tiny(tree, name=A):
    tree.add_object(name, (3, 4, 4, 5))


def duplicate(tree, name=A):
    tree.add_object(name, (11, 11, 60, 60))
    tree.add_object(name, (11, 11, 60, 60))


def nearly_duplicate(tree, name=A):
    tree.add_object(name, (11, 11, 60, 60))
    tree.add_object(name, (11, 11, 60, 61))


def two_classes(tree, name=A):
    tree.add_object(name, (11, 11, 60, 60), "star")
    tree.add_object(name, (11, 11, 60, 60), "ring")


def exact_copy(tree, name=A):
    new = f"val_copy_of_{name}"
    tree.copy_picture(name, new, "val")


def near_copy(tree, name=A):
    new = f"val_copy_of_{name}"
    tree.copy_picture(name, new, "val")
    brighter = np.clip(tree.pixels(name) * 1.05 + 4.0, 0, 255).astype(np.uint8)
    tree.write_jpeg(new, brighter, quality=60)


def copy_in_split(tree, name=A):
    new = f"train_copy_of_{name}"
    tree.copy_picture(name, new, "train")


def in_two_splits(tree, name=A):
    tree.list_in("val", name)


def other_picture(tree, name=A):
    """The annotation names the picture of B, which leaves the split."""
    tree.unlist("train", B)
    tree.edit(name, lambda root: root.find("filename").__setattr__("text", f"{B}.jpg"))


def id_clash(tree, name=A):
    tree.copy_picture(B, name.upper(), "train")
    tree.write_jpeg(name.upper(), tree.pixels(B)[:, ::-1])
    tree.edit(name.upper(), lambda root: [root.remove(element) for element in root.findall("object")])


def name_variant(tree, name=A):
    tree.add_object(name, (11, 11, 60, 60), "Stars")
    tree.add_object(IN_VAL, (11, 11, 60, 60), "Stars")


def only_in_val(tree, name=A):
    tree.add_object(IN_VAL, (11, 11, 60, 60), "candle")


def absent_in_val(tree, name=A):
    tree.add_object(name, (11, 11, 60, 60), "lamp")


FAULTS = {  # what seeds a fault -> the kinds of errors and warnings that it must give, and a file that it names
    truncate: ({findings.TRUNCATED}, f"{A}.jpg"),
    damage: ({findings.UNREADABLE}, f"{A}.jpg"),
    no_picture: ({findings.UNUSABLE}, f"{A}.jpg"),
    no_annotation: ({findings.UNUSABLE}, f"{A}.xml"),
    wrong_size: ({findings.WRONG_SIZE}, f"{A}.xml"),
    no_area: ({findings.NO_AREA}, f"{A}.xml"),
    outside: ({findings.OUTSIDE}, f"{A}.xml"),
    beyond: ({findings.CLIPPED}, f"{A}.xml"),
    tiny: ({findings.TINY}, f"{A}.jpg"),
    duplicate: ({findings.DUPLICATE_BOX}, f"{A}.jpg"),
    nearly_duplicate: ({findings.NEAR_DUPLICATE_BOX}, f"{A}.jpg"),
    two_classes: ({findings.TWO_CLASSES}, f"{A}.jpg"),
    exact_copy: ({findings.EXACT_COPY}, f"val_copy_of_{A}.jpg"),
    near_copy: ({findings.NEAR_DUPLICATE}, f"val_copy_of_{A}.jpg"),
    copy_in_split: ({findings.COPY_IN_SPLIT}, f"train_copy_of_{A}.jpg"),
    in_two_splits: ({findings.IN_TWO_SPLITS}, f"{A}.jpg"),
    other_picture: ({findings.OTHER_PICTURE}, f"{A}.xml"),
    id_clash: ({findings.ID_CLASH}, f"{A.upper()}.jpg"),
    name_variant: ({findings.CLASS_VARIANTS}, None),
    only_in_val: ({findings.ONLY_IN_LATER_SPLIT}, None),
    absent_in_val: ({findings.ABSENT_CLASS}, None),
}


def serious(found):
    return {finding.kind for finding in found if finding.kind.severity != NOTE}


def test_nothing_is_wrong_with_the_clean_set(clean_tree):
    assert serious(visit(clean_tree)) == set()


def test_there_are_enough_kinds():
    assert len({kind.name for kinds, _ in FAULTS.values() for kind in kinds}) >= 15


@pytest.mark.parametrize("seed", FAULTS, ids=lambda seed: seed.__name__)
def test_a_seeded_fault_is_found_and_nothing_else(tree, seed):
    kinds, file = FAULTS[seed]
    seed(tree)
    found = visit(tree.root)
    assert serious(found) == kinds
    (finding,) = (finding for finding in found if finding.kind in kinds)
    assert finding.occurrences == 1 and finding.advice
    assert file is None or any(name.endswith(file) for name in finding.files)


def test_an_orientation_is_noted(tree):
    exif(tree)
    found = visit(tree.root)
    assert serious(found) == set()
    (finding,) = (finding for finding in found if finding.kind is findings.EXIF_APPLIED)
    assert finding.files == (str(tree.picture(A)),)


def test_all_faults_at_once_by_the_command_line(tree, tmp_path, capsys):
    names = [f"train_{number:06d}" for number in range(1, len(FAULTS) + 1)]
    for seed, name in zip(FAULTS, names, strict=True):
        seed(tree, name)
    with pytest.raises(SystemExit) as ended:
        main([f"voc:{tree.root}", "--json", str(tmp_path / "doctor.json"), "--quiet"])
    assert ended.value.code == 1
    answer = json.loads((tmp_path / "doctor.json").read_text())
    found = {finding["kind"] for finding in answer["findings"]}
    assert found >= {kind.name for kinds, _ in FAULTS.values() for kind in kinds} and len(found) >= 15
    printed = capsys.readouterr().out
    assert all(f": {finding['kind']}: {finding['count']}" in printed for finding in answer["findings"])


def test_the_exit_status_of_clean_and_of_bad_input(clean_tree, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main([f"voc:{clean_tree}", "--split", "train", "--quiet"])
    assert ended.value.code == 0 and "0 errors, 0 warnings" in capsys.readouterr().out
    (tmp_path / "file").write_text("")
    outputs = [["synthetic", name, f"{tmp_path}/file/new"] for name in ("--out", "--json")]
    for bad in ([f"voc:{tmp_path}/none", "--split", "train"], ["synthetic", "--jobs", "0"], ["no:such"], *outputs):
        with pytest.raises(SystemExit) as ended:
            main(bad)
        assert ended.value.code == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_the_quick_half_reads_no_picture_and_gives_no_notes(tree):
    two_classes(tree)
    tiny(tree)
    spec = DataSpec(data=f"voc:{tree.root}")
    train_set, val_set = load_dataset(spec, "train"), load_dataset(spec, "val")
    for path in (tree.root / "JPEGImages").iterdir():
        path.unlink()
    found = examine.quick_findings(train_set, val_set, DetectorConfig())
    assert [finding.kind for finding in found] == [findings.TINY, findings.TWO_CLASSES]
    small = DetectorConfig(anchors=AnchorConfig(scales=(16.0,)))
    (coverage,) = set(examine.quick_findings(train_set, val_set, small)) - set(found)
    assert coverage.kind is findings.POOR_COVERAGE and "cross 0%" in coverage.detail
