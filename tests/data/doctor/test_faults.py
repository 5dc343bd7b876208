"""Every kind of fault that is seeded into a clean data set is found, and nothing else."""

import numpy as np
import pytest
from PIL import Image

from keras_frcnn.data.doctor import examine, findings
from keras_frcnn.data.doctor.findings import NOTE
from keras_frcnn.data.doctor.splits import load_splits
from keras_frcnn.data.sources.spec import DataSpec
from keras_frcnn.facts.config import DetectorConfig

A, B = "train_000001", "train_000002"
IN_VAL = "val_000001"


@pytest.fixture(autouse=True)
def no_search(monkeypatch):
    """The search for anchors takes a second and has its own tests."""
    monkeypatch.setattr(examine, "suggest_anchors", lambda objects: None)


def visit(root):
    """The findings of the doctor on a VOC tree."""
    datasets, found = load_splits(DataSpec(data=f"voc:{root}"), None, "auto")
    examination = examine.examine(datasets, DetectorConfig(), 2, lambda pictures, count: pictures)
    return [*found, *examination.findings]


def truncate(tree):
    encoded = tree.picture(A).read_bytes()
    tree.picture(A).write_bytes(encoded[: len(encoded) // 2])


def damage(tree):
    """A PNG with a whole header and end, but broken pixels."""
    Image.fromarray(tree.pixels(A)).save(tree.picture(A), format="PNG")
    encoded = bytearray(tree.picture(A).read_bytes())
    encoded[len(encoded) // 2] ^= 0xFF
    tree.picture(A).write_bytes(bytes(encoded))


def no_picture(tree):
    tree.picture(A).write_text("<html>not found</html>")


def no_annotation(tree):
    tree.annotation(A).unlink()


def exif(tree):
    """Turned by 180 degrees, so that the stated size fits both ways."""
    with Image.open(tree.picture(A)) as image:
        tags = Image.Exif()
        tags[0x0112] = 3
        image.save(tree.picture(A), quality=95, exif=tags)


def wrong_size(tree):
    tree.edit(A, lambda root: root.find("size/width").__setattr__("text", "500"))


def no_area(tree):
    tree.add_object(A, (20, 30, 20, 60))


def outside(tree):
    tree.add_object(A, (300, 300, 340, 350))


def beyond(tree):
    tree.add_object(A, (100, 60, 150, 90))


def tiny(tree):
    tree.add_object(A, (3, 4, 4, 5))


def duplicate(tree):
    tree.add_object(A, (11, 11, 60, 60))
    tree.add_object(A, (11, 11, 60, 60))


def nearly_duplicate(tree):
    tree.add_object(A, (11, 11, 60, 60))
    tree.add_object(A, (11, 11, 60, 61))


def two_classes(tree):
    tree.add_object(A, (11, 11, 60, 60), "star")
    tree.add_object(A, (11, 11, 60, 60), "ring")


def exact_copy(tree):
    tree.copy_picture(A, "val_900000", "val")


def near_copy(tree):
    tree.copy_picture(A, "val_900000", "val")
    brighter = np.clip(tree.pixels(A) * 1.05 + 4.0, 0, 255).astype(np.uint8)
    tree.write_jpeg("val_900000", brighter, quality=60)


def copy_in_split(tree):
    tree.copy_picture(A, "train_900000", "train")


def in_two_splits(tree):
    tree.list_in("val", A)


def other_picture(tree):
    """The annotation of A names the picture of B, which leaves the split."""
    tree.unlist("train", B)
    tree.edit(A, lambda root: root.find("filename").__setattr__("text", f"{B}.jpg"))


def id_clash(tree):
    tree.copy_picture(B, A.upper(), "train")
    tree.write_jpeg(A.upper(), tree.pixels(B)[:, ::-1])
    tree.edit(A.upper(), lambda root: [root.remove(element) for element in root.findall("object")])


def name_variant(tree):
    tree.add_object(A, (11, 11, 60, 60), "Stars")
    tree.add_object(IN_VAL, (11, 11, 60, 60), "Stars")


def only_in_val(tree):
    tree.add_object(IN_VAL, (11, 11, 60, 60), "lamp")


def absent_in_val(tree):
    tree.add_object(A, (11, 11, 60, 60), "lamp")


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
    exact_copy: ({findings.EXACT_COPY}, "val_900000.jpg"),
    near_copy: ({findings.NEAR_DUPLICATE}, "val_900000.jpg"),
    copy_in_split: ({findings.COPY_IN_SPLIT}, "train_900000.jpg"),
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
