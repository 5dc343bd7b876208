"""The pictures that a command names: each once, in order, with outputs of their own."""

import io
import os

import pytest

from keras_frcnn.api.bulk.frames import is_video
from keras_frcnn.api.bulk.inputs import PictureFile, find_pictures
from keras_frcnn.facts.errors import InputError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """photos/ with pictures in two levels and files that are none; also the working folder's own file."""
    for name in (
        "a.jpg",
        "b.PNG",
        "b.detections.png",
        ".hidden.jpg",
        "notes.txt",
        "sub/a.jpg",
        "sub/c.webp",
        ".git/x.jpg",
    ):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    (tmp_path / "one picture.jpg").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_folder_gives_its_pictures_and_those_of_its_subfolders(folder):
    assert find_pictures(["photos"], None, beside=False) == [
        PictureFile("photos/a.jpg", "a"),
        PictureFile("photos/b.PNG", "b"),
        PictureFile("photos/sub/a.jpg", "sub/a"),
        PictureFile("photos/sub/c.webp", "sub/c"),
    ]


def test_files_and_patterns_are_taken_in_the_order_of_their_names_each_once(folder):
    named = ["one picture.jpg", "photos/sub/c.webp", "photos/**/*.jpg", str(folder / "one picture.jpg")]
    assert find_pictures(named, None, beside=False) == [
        PictureFile("one picture.jpg", "one picture"),
        PictureFile("photos/sub/c.webp", "c"),
        PictureFile("photos/a.jpg", "a"),
        PictureFile("photos/sub/a.jpg", "sub/a"),
    ]


def test_a_pattern_that_matches_one_folder_gives_places_in_it(folder):
    assert [one.place for one in find_pictures(["photos/sub/*"], None, beside=False)] == ["a", "c"]


def test_drawn_copies_match_no_pattern(folder):
    (folder / "photos" / "clip.detections.mp4").write_bytes(b"")
    named = find_pictures(["photos/*.*"], None, beside=False)
    assert [one.path for one in named] == ["photos/a.jpg", "photos/b.PNG", "photos/notes.txt"]


@pytest.mark.parametrize("url", ["https://h/my%20dog.jpg", "https://h/%04d.png", "https://h/a%2d"])
def test_an_address_is_never_numbered_pictures(folder, url):
    (found,) = find_pictures([url], None, beside=False, allow_network=True)
    assert found.place in ("my dog", "_d", "a-") and not is_video(url)


@pytest.mark.parametrize("end", ["/.", "/..", "/a/..", "/%2e%2e", "/", ""])
def test_an_address_without_a_name_is_named_after_its_host(folder, end):
    (found,) = find_pictures([f"http://host{end}"], None, beside=False, allow_network=True)
    assert found.place == "host"


@pytest.mark.parametrize("url", ["http://[x", "http://", "http://../", "http://./.."])
def test_an_address_that_is_none_is_an_input_error(folder, url):
    with pytest.raises(InputError, match="is not an address"):
        find_pictures([url], None, beside=False, allow_network=True)


def test_a_name_with_the_signs_of_a_pattern_may_be_a_file(folder):
    (folder / "scan[1].png").write_bytes(b"")
    assert find_pictures(["scan[1].png"], None, beside=False) == [PictureFile("scan[1].png", "scan[1]")]


def test_a_list_may_come_from_a_file_or_from_standard_input(folder, monkeypatch):
    (folder / "list.txt").write_text("photos/a.jpg\r\n\n  gone.jpg\nphotos/b.PNG", encoding="utf-8")
    expected = [PictureFile("photos/a.jpg", "a"), PictureFile("  gone.jpg", "  gone"), PictureFile("photos/b.PNG", "b")]
    assert find_pictures([], "list.txt", beside=False) == expected
    monkeypatch.setattr("sys.stdin", io.StringIO("photos/b.PNG\n"))
    assert find_pictures(["photos/a.jpg"], "-", beside=False) == [expected[0], expected[2]]


def test_pictures_that_differ_only_in_their_suffix_keep_it(folder):
    (folder / "photos" / "a.png").write_bytes(b"")
    places = [one.place for one in find_pictures(["photos"], None, beside=False)]
    assert places == ["a.jpg", "a.png", "b", "sub/a", "sub/c"]


def test_outputs_beside_the_pictures_are_named_after_them(folder):
    named = ["photos/a.jpg", "photos/sub/a.jpg", "photos/**/*.PNG"]
    assert [one.place for one in find_pictures(named, None, beside=True)] == ["a", "a", "b"]


@pytest.mark.parametrize(("beside", "fix"), [(True, "rename one of them"), (False, "name a folder that holds them")])
def test_outputs_never_overwrite_each_other(folder, beside, fix):
    for name in ("photo.jpg", "photo.png", "photo.jpg.bmp"):  # the last would give up its suffix
        (folder / name).write_bytes(b"")
    problem = f"^pictures photo.jpg: 2 of them have this name and would share their outputs; {fix}.*, or run"
    with pytest.raises(InputError, match=problem):
        find_pictures(["photo*"], None, beside)


def test_addresses_have_no_outputs_beside_them(folder):
    urls = ["http://h/a?size=1", "http://h/a?size=2"]
    assert [one.path for one in find_pictures(urls, None, beside=True, allow_network=True)] == urls


def test_outputs_of_long_names_have_names_that_fit(folder):
    long = ["x" * 245 + end for end in (".jpg", ".png")] + ["y" * 245 + ".jpg"]
    for name in long:
        (folder / "photos" / "sub" / name).write_bytes(b"")
    places = {one.path: one.place for one in find_pictures(["photos"], None, beside=False)}
    short = [places[f"photos/sub/{name}"] for name in long]
    assert len(set(short)) == 3 and all(place.startswith("sub/") and len(place) == 204 for place in short)
    (url,) = find_pictures([f"https://h/{'z' * 1000}.jpg"], None, beside=False, allow_network=True)
    assert len(url.place) == 200


def test_a_line_of_a_list_that_is_no_file_has_a_place(folder):
    (folder / "list.txt").write_text("/\n.\n", encoding="utf-8")
    found = find_pictures(["photos/a.jpg"], "list.txt", beside=True)
    assert [one.place for one in found] == ["a", "_", "_"]


@pytest.mark.parametrize(
    ("named", "list_file", "problem"),
    [
        ([], None, "pictures: none are named; name files, folders or patterns, or give --list FILE"),
        (["gone.jpg"], None, "gone.jpg: no such file; give the path of a picture, a folder, or a pattern"),
        (["*.gif"], None, "*.gif: no file matches; correct the pattern"),
        (["photos/.git/empty"], None, "photos/.git/empty: holds no pictures (.jpg .jpeg .png"),
        (["pipe"], None, "pipe: is neither a file nor a folder; give the path of a picture"),
        ([], "gone.txt", "--list gone.txt: cannot be read ("),
        ([], "latin.txt", "--list latin.txt: cannot be read ('utf-8' codec"),
        (["photos/a.jpg", "photos/sub/a.jpg"], None, "pictures a.jpg: 2 of them have this name and would share"),
    ],
)
def test_what_cannot_be_meant_is_an_error(folder, named, list_file, problem):
    (folder / "photos" / ".git" / "empty").mkdir()
    (folder / "latin.txt").write_bytes("käfer.jpg".encode("latin-1"))
    os.mkfifo(folder / "pipe")
    with pytest.raises(InputError) as caught:
        find_pictures(named, list_file, beside=False)
    assert str(caught.value).startswith(problem)
