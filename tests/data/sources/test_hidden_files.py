"""Hidden files that macOS leaves beside each file that it copies (`._NAME`) are no part of a data set."""

import pytest

from keras_frcnn.data.sources.loading import dataset_splits, load_dataset
from keras_frcnn.data.sources.spec import DataSpec
from keras_frcnn.data.sources.synthetic.drawn import write_synthetic
from keras_frcnn.data.writers.table import WRITERS
from keras_frcnn.data.writers.writing import write_dataset


@pytest.mark.parametrize("kind", WRITERS)
def test_they_are_skipped(tmp_path, monkeypatch, kind):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_synthetic(tmp_path / "drawn", {"train": 2, "val": 1}, seed=0, size=(64, 64))
    drawn = DataSpec(data=f"voc:{tmp_path}/drawn")
    datasets = {split: load_dataset(drawn, split) for split in ("train", "val")}
    write_dataset(kind, datasets, tmp_path / "data")
    for path in list((tmp_path / "data").rglob("*.*")):
        path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7not this")
    spec = DataSpec(data=f"{kind}:{tmp_path}/data")
    assert dataset_splits(spec) == ("train", "val")
    assert [len(load_dataset(spec, split).examples) for split in ("train", "val", "all")] == [2, 1, 3]
