"""Files that are not a TFLite file of this project are one error that names them."""

import zipfile

import pytest

from keras_frcnn.api.exports.tflite import read_tflite
from keras_frcnn.facts.errors import InputError


def write_encrypted(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("labels.txt", "background\ncat\n")
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(content)


def write_bomb(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("labels.txt", "\n" * 10**8)


@pytest.mark.parametrize(("write", "reason"), [(write_encrypted, "encrypted"), (write_bomb, "unpacks to 100000000")])
def test_a_damaged_archive_is_refused(tmp_path, write, reason):
    path = tmp_path / "model.tflite"
    write(path)
    problem = f"^{path}: is not a TFLite file of this project .*{reason}.*; give a file that export.tflite wrote$"
    with pytest.raises(InputError, match=problem):
        read_tflite(path)
