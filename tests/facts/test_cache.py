"""The user's cache folder."""

from pathlib import Path

from keras_frcnn.facts.cache import user_cache_dir


def test_the_cache_folder_follows_xdg_cache_home_if_it_is_absolute(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert user_cache_dir() == tmp_path / ".cache" / "keras_frcnn"
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert user_cache_dir() == Path("/elsewhere/keras_frcnn")
