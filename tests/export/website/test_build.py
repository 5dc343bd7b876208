"""The folder of the web page: what is in it, and what is refused."""

import base64
import functools
import hashlib
import io
import json
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export.web import main
from export.website import build, runtime
from export.website.runtime import CORE, WASM_UTILS, Package, fetched, write_runtime
from keras_frcnn.facts.errors import InputError

SCRIPT = b'import { createWasmLib } from "@litertjs/wasm-utils";\nrun();\n//# sourceMappingURL=index.js.map\n'
WASM = [
    f"wasm/litert_wasm_{variant}internal.{kind}" for variant in ("", "compat_", "threaded_") for kind in ("js", "wasm")
]


def archive(**files):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as packed:
        for name, data in files.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(data)
            packed.addfile(member, io.BytesIO(data))
    return content.getvalue()


ARCHIVES = {
    CORE: archive(**{"dist/index.js": SCRIPT, **{name: name.encode() for name in WASM}}),
    WASM_UTILS: archive(**{"dist/index.js": b"export { createWasmLib };\n//# sourceMappingURL=index.js.map"}),
}


@pytest.fixture
def web(run_here, monkeypatch):
    """The command line, with a LiteRT.js of a few bytes."""
    monkeypatch.setattr(build, "fetch_runtime", lambda: ARCHIVES)
    return functools.partial(run_here, main)


def test_a_site_has_all_that_the_page_loads(web, exported, tmp_path, capsys):
    site = tmp_path / "new" / "site"
    assert web("--model", exported, "--out", site, "--title", "Cats & dogs") == 0
    assert f"written to {site}: " in capsys.readouterr().out
    files = {path.relative_to(site).as_posix() for path in site.rglob("*") if path.is_file()}
    own = {
        "app.js",
        "detector.js",
        "drawing.js",
        "icon.svg",
        "index.html",
        "service_worker.js",
        "style.css",
        "worker.js",
    }
    assert files == own | {"model.tflite", "model.json", "litert/index.js", "litert/wasm_utils.js"} | {
        f"litert/{name}" for name in WASM
    }
    assert (site / "model.tflite").read_bytes() == exported.read_bytes()
    settings = json.loads((site / "model.json").read_text())
    version = settings.pop("version")
    assert settings == {
        "title": "Cats & dogs", "runtime": "@litertjs/core 2.5.3", "labels": ["cat", "dog", "hen"], "size": [64, 96],
        "turned": False, "leastScore": settings["leastScore"], "modelBytes": exported.stat().st_size,
        "runtimeBytes": len("wasm/litert_wasm_threaded_internal.wasm"),
    }  # fmt: skip
    assert 0 < settings["leastScore"] < 1
    assert f'VERSION = "{version}"' in (site / "service_worker.js").read_text()
    assert (site / "litert" / "index.js").read_bytes() == b'import { createWasmLib } from "./wasm_utils.js";\nrun();\n'
    text = "".join((site / name).read_text() for name in own)
    assert "://" not in text.replace("http://www.w3.org/2000/svg", "")  # the page names no other place


def test_the_version_is_that_of_the_content(web, exported, tmp_path):
    def version(name, model):
        assert web("--model", model, "--out", tmp_path / name) == 0
        return json.loads((tmp_path / name / "model.json").read_text())["version"]

    other = tmp_path / "other.tflite"
    other.write_bytes(exported.read_bytes())
    with zipfile.ZipFile(other, "a") as files:
        files.writestr("notes.txt", "another file")
    assert version("a", exported) == version("b", exported) != version("c", other)


def test_a_trained_model_is_exported_first(web, saved, model, exported, tmp_path, capsys, monkeypatch):
    given = []

    def write_file(options):
        given.append(options)
        return Path(shutil.copyfile(exported, options.out))

    monkeypatch.setattr(build.litemodel, "write_file", write_file)
    assert web("--model", saved, "--out", tmp_path / "site", "--images", "a.jpg") == 0
    assert (given[0].size, given[0].quantize, given[0].model) == ("64x85", "dynamic", str(saved))
    assert "size: 64x85" in capsys.readouterr().out
    assert web("--model", saved, "--out", tmp_path / "other", "--size", "64x64", "--quantize", "none") == 0
    assert (given[1].size, given[1].quantize) == ("64x64", "none")


@pytest.mark.parametrize(
    ("arguments", "beginning"),
    [
        (["--model", "{exported}", "--out", "{site}"], "{site}: already exists; give another --out, or --force"),
        (["--model", "{exported}", "--out", "{picture}"], "{picture}: is a file; give the name of a folder"),
        (["--model", "gone.tflite", "--out", "new"], "gone.tflite: no such file"),
        (["--model", "gone", "--out", "new", "--images", "{picture}"], "gone: no such model file"),
        (["--model", "gone", "--out", "new"], "--images: is missing; give some pictures like those of the training"),
        (
            ["--model", "gone", "--out", "new", "--quantize", "int8"],
            "--calibrate: is missing; give some dozens of real",
        ),
        (["--model", "gone", "--out", "new", "--images", "{picture}", "--size", "abc"], "--size: 'abc' is not a size"),
        (["--model", "{exported}", "--out", "new", "--size", "9x9"], "--size: has no effect on a TFLite file"),
        (["--model", "{exported}", "--out", "new", "--nms-iou", "0.5"], "--nms-iou: has no effect on a TFLite file"),
        (["--model", "{other}", "--out", "new"], "{other}: is not a TFLite file of this project"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(web, exported, tmp_path, capsys, monkeypatch, arguments, beginning):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(build, "fetch_runtime", lambda: pytest.fail("it was fetched before the options were checked"))
    names = {
        "exported": exported,
        "site": tmp_path / "site",
        "picture": tmp_path / "a.png",
        "other": tmp_path / "o.tflite",
    }
    (tmp_path / "site").mkdir()
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(names["picture"])
    names["other"].write_bytes(b"TFL3")
    assert web(*(argument.format(**names) for argument in arguments)) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith(f"error: {beginning.format(**names)}"), line
    assert not (tmp_path / "new").exists() and not list((tmp_path / "site").iterdir())


def test_force_replaces_a_site(web, exported, tmp_path):
    assert web("--model", exported, "--out", tmp_path, "--force") == 0
    (tmp_path / "old.html").write_text("old")
    assert web("--model", exported, "--out", tmp_path, "--force") == 0
    assert (tmp_path / "index.html").is_file() and not (tmp_path / "old.html").exists()


def test_force_replaces_nothing_but_a_site(web, exported, tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("mine")
    assert web("--model", exported, "--out", tmp_path, "--force") == 2
    assert "is not a page of export.web, so it is not replaced; give another --out" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_the_version_is_that_of_all_files(web, exported, tmp_path):
    """A visitor's browser keeps the files of one version: another title must be another version."""
    versions = set()
    for title in ("Cats", "Dogs"):
        assert web("--model", exported, "--out", tmp_path / title, "--title", title) == 0
        version = json.loads((tmp_path / title / "model.json").read_text())["version"]
        assert f'"{version}"' in (tmp_path / title / "service_worker.js").read_text()
        versions.add(version)
    assert len(versions) == 2


def test_the_runtime_is_fetched_before_anything_else(web, exported, tmp_path, monkeypatch):
    def fail():
        raise InputError("npm", "is not installed", "install it")

    monkeypatch.setattr(build, "fetch_runtime", fail)
    monkeypatch.setattr(build, "_model", lambda *_: pytest.fail("the model was made first"))
    assert web("--model", exported, "--out", tmp_path / "site") == 2


# LiteRT.js.


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package with a known archive, which a program named npm packs, and an empty cache folder."""
    content = archive(**{"dist/index.js": SCRIPT})
    known = Package("@x/y", "1.0.0", base64.b64encode(hashlib.sha512(content).digest()).decode())
    (tmp_path / "archive").write_bytes(content)
    npm = tmp_path / "bin" / "npm"
    npm.parent.mkdir()
    npm.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\ncp {tmp_path}/archive "$6/x-y-1.0.0.tgz"\n')
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{npm.parent}:/usr/bin:/bin")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return known, content, npm


def test_a_package_is_fetched_once(package, tmp_path):
    known, content, _ = package
    assert fetched(known) == fetched(known) == content
    (call,) = (tmp_path / "calls").read_text().splitlines()
    assert call.startswith("pack @x/y@1.0.0 --silent --ignore-scripts --pack-destination ")
    assert [path.name for path in (tmp_path / "cache" / "keras_frcnn").iterdir()] == ["x-y-1.0.0.tgz"]


def test_a_damaged_archive_in_the_cache_is_fetched_again(package, tmp_path):
    known, content, _ = package
    (tmp_path / "cache" / "keras_frcnn").mkdir(parents=True)
    (tmp_path / "cache" / "keras_frcnn" / "x-y-1.0.0.tgz").write_bytes(content[:-1])
    assert fetched(known) == content and (tmp_path / "calls").is_file()


def test_another_archive_than_the_known_one_is_refused(package, tmp_path):
    known, content, _ = package
    (tmp_path / "archive").write_bytes(content + b"0")
    with pytest.raises(InputError, match="@x/y: the archive is not the expected one; check the registry of npm"):
        fetched(known)
    assert not (tmp_path / "cache").exists()


def test_npm_that_fails_or_is_missing_is_an_input_error(package, monkeypatch):
    known, _, npm = package
    npm.write_text('#!/bin/sh\necho "npm error 404 not found" >&2\nexit 1\n')
    with pytest.raises(
        InputError, match=r"@x/y@1.0.0: npm could not fetch it \(npm error 404 not found\); check npm's"
    ):
        fetched(known)
    monkeypatch.setattr(runtime.shutil, "which", lambda name: None)
    with pytest.raises(InputError, match="npm: is not installed; it fetches LiteRT.js for the page; install Node.js"):
        fetched(known)


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"dist/index.js": b"run();"}, "does not import its other package as expected"),
        ({"dist/index.js": SCRIPT}, "has no file wasm/litert_wasm_threaded_internal.js"),
        ({}, "has no file dist/index.js"),
    ],
)
def test_a_package_with_other_files_is_an_input_error(tmp_path, files, problem):
    archives = {**ARCHIVES, CORE: archive(**files)}
    with pytest.raises(InputError, match=problem):
        write_runtime(tmp_path / "litert", archives)
