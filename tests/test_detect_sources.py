"""`keras_frcnn.detect` on pictures that are not files, and in slices."""

import io
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import keras_frcnn
from keras_frcnn.api.bulk import remote
from keras_frcnn.facts.errors import InputError

SCORE = "0.2"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    noise = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    Image.fromarray(noise).save(folder / "a b.png")
    Image.fromarray(noise[::-1]).save(folder / "c.webp", lossless=True)
    (folder / "text.jpg").write_text("no picture")
    return folder


@pytest.fixture(autouse=True)
def without_proxy(monkeypatch):
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def site(serve_folder, folder):
    """The address of a web server with the pictures of the folder."""
    with serve_folder(folder) as address:
        yield address


def shown(capsys):
    printed, errors = capsys.readouterr()
    return [json.loads(line) for line in printed.splitlines()], errors


def test_pictures_on_the_network_are_answered_as_their_files(detect, saved, folder, site, tmp_path, capsys):
    names, out = ["a%20b.png", "c.webp?size=large"], tmp_path / "out"
    urls = [f"{site}/{name}" for name in (*names, "gone.png", "text.jpg")]
    options = ("--allow-network", "--out", out, "--score", SCORE, "--write", "pictures", "voc")
    assert detect("--model", saved, *urls, *options) == 1
    found, errors = shown(capsys)
    assert [line["image"] for line in found] == urls
    assert errors.splitlines() == [
        "2 of 4 files could not be read:",
        f"  {urls[2]}: cannot be fetched (HTTP Error 404: File not found); check the address and the network",
        f"  {urls[3]}: not a readable picture (Unknown image file format. One of JPEG, PNG, GIF, BMP, WebP required); "
        "give a JPEG, PNG, GIF, BMP, WebP or TIFF file",
    ]
    detector = keras_frcnn.load(saved)
    for line, file in zip(found, ("a b.png", "c.webp"), strict=False):
        expected = detector.detect(folder / file, score=float(SCORE)).to_dict()
        assert expected["detections"] and line["detections"] == expected["detections"]
    assert {path.name for path in (out / "pictures").iterdir()} == {"a b.detections.png", "c.detections.png"}
    assert (out / "Annotations" / "a b.xml").is_file()


def test_a_list_may_hold_addresses(detect, saved, site, tmp_path, capsys):
    (tmp_path / "list.txt").write_text(f"{site}/a%20b.png\n")
    options = ("--write", "nothing", "--score", SCORE)
    assert detect("--model", saved, "--list", tmp_path / "list.txt", *options) == 2
    assert "is on the network" in shown(capsys)[1]
    assert detect("--model", saved, "--list", tmp_path / "list.txt", "--allow-network", *options) == 0
    assert len(shown(capsys)[0]) == 1


def test_an_answer_that_is_too_large_is_refused(site, monkeypatch):
    monkeypatch.setattr(remote, "MOST_MIB", 0)
    with pytest.raises(InputError, match="is larger than 0 MiB"):
        remote.fetch(f"{site}/text.jpg")


def test_standard_input_that_is_too_large_is_refused(monkeypatch):
    monkeypatch.setattr(remote, "MOST_MIB", 0)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"x")))
    with pytest.raises(InputError, match="standard input: is larger than 0 MiB"):
        remote.later("-").fetch()


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/a.png", "http://[::1/a.png", "http://a b/c.png"])
def test_an_address_that_leads_nowhere_is_an_input_error(url):
    with pytest.raises(InputError, match="cannot be fetched"):
        remote.fetch(url)


def test_a_picture_on_standard_input(detect, saved, folder, tmp_path, capsys, monkeypatch):
    content = io.BytesIO((folder / "c.webp").read_bytes())
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=content))
    assert detect("--model", saved, "-", "--out", tmp_path, "--score", SCORE) == 0
    ((line,), _) = shown(capsys)
    expected = keras_frcnn.load(saved).detect(folder / "c.webp", score=float(SCORE)).to_dict()
    assert expected["detections"] and line["detections"] == expected["detections"]
    assert line["image"] == "-" and line["picture"] == str(tmp_path / "pictures" / "standard input.detections.png")


def test_detections_are_only_printed_if_nothing_is_to_be_written(detect, saved, folder, capsys):
    before = sorted(folder.iterdir())
    assert detect("--model", saved, folder, "--write", "nothing", "--score", SCORE) == 1
    found, _ = shown(capsys)
    assert len(found) == 3 and "picture" not in found[0]
    assert sorted(folder.iterdir()) == before


def test_slices_find_more_and_are_part_of_the_record(detect, saved, folder, tmp_path, capsys):
    options = ("--model", saved, folder / "a b.png", "--out", tmp_path, "--score", SCORE)
    assert detect(*options, "--slice-size", "48") == 0
    ((line,), _) = shown(capsys)
    detector = keras_frcnn.load(saved)
    expected = detector.detect(folder / "a b.png", score=float(SCORE), slice_size=48)
    assert line["detections"] == expected.to_dict()["detections"]
    assert len(expected) > len(detector.detect(folder / "a b.png", score=float(SCORE)))
    assert detect(*options, "--resume") == 2
    assert "these detections were begun with another slice_size" in shown(capsys)[1]
