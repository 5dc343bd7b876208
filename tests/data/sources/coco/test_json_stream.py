"""JSON files read piece by piece: the same values as `json.load` gives, whatever the size of the pieces."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_frcnn.data.sources.coco import json_stream
from keras_frcnn.data.sources.coco.json_stream import TOP, read_entries
from keras_frcnn.facts.errors import InputError

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4)
)


def assembled(path):
    """The value in a file, put together from its entries."""
    whole = {}
    for key, place, value in read_entries(path):
        if place is None:
            whole[key] = value
        else:
            assert place == len(whole[key])
            whole[key].append(value)
    return whole


@given(st.dictionaries(st.text(min_size=1), VALUES, max_size=5), st.integers(1, 40), st.sampled_from([None, 1]))
def test_entries_make_up_what_json_reads(tmp_path_factory, value, characters, indent):
    path = tmp_path_factory.mktemp("json") / "file.json"
    path.write_text(json.dumps(value, ensure_ascii=False, indent=indent), "utf-8", errors="surrogatepass")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "_CHARACTERS", characters)
        try:
            read = assembled(path)
        except InputError:
            with pytest.raises(UnicodeDecodeError):  # a lone surrogate is no UTF-8
                path.read_text("utf-8")
            return
    assert read == value


@pytest.mark.parametrize("characters", range(1, 40))
def test_no_number_is_cut_where_a_piece_ends(tmp_path, monkeypatch, characters):
    monkeypatch.setattr(json_stream, "_CHARACTERS", characters)
    path = tmp_path / "file.json"
    path.write_text('{"a": [12.5e+3, 125.75, -7E-2, 1234567], "b": 10.25e1 }')
    assert assembled(path) == {"a": [12500.0, 125.75, -0.07, 1234567], "b": 102.5}


def test_a_list_at_the_top_has_its_own_key(tmp_path):
    path = tmp_path / "file.json"
    path.write_text("\ufeff [1, {}]", "utf-8")
    assert list(read_entries(path)) == [(TOP, None, []), (TOP, 0, 1), (TOP, 1, {})]


@pytest.mark.parametrize(
    "text",
    ["", "{", '{"a"', '{"a":', '{"a": 1', '{"a": [1', '{"a": [1,', '{"a": [1 2]}', '{"a": [1,]}', '{"a": 1,}', "[1",
     "{} x", '{"a": 1} ]', "{1: 2}", '{"a": tru}', '"text"', "12", '{"a": [' * 100_000, '{"a": ' + "9" * 5000 + "}"],
    ids=range(19),
)  # fmt: skip
def test_what_is_no_json_object_is_one_line(tmp_path, text):
    path = tmp_path / "file.json"
    path.write_text(text)
    with pytest.raises(InputError, match=f"^{path}: (is not valid JSON|holds neither)"):
        list(read_entries(path))


def test_what_follows_the_value_is_named(tmp_path):
    path = tmp_path / "file.json"
    path.write_text("{} x")
    with pytest.raises(InputError, match="expected the end of the file instead of 'x' at character 4"):
        list(read_entries(path))


def test_a_file_that_is_cut_off_names_the_place(tmp_path):
    path = tmp_path / "file.json"
    path.write_text('{"images": [{"id": 1}, {"id": 2}')
    with pytest.raises(InputError, match="expected ',' instead of the end of the file at character 33"):
        list(read_entries(path))
    path.write_bytes(b'{"a": "\xff"}')
    with pytest.raises(InputError, match="is not valid JSON .*utf-8"):
        list(read_entries(path))
