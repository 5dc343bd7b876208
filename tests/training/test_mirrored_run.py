"""A run with proposals of mirrored pictures, and with stored features outside of the run folder."""

from pathlib import Path

import pytest

from keras_frcnn.data.stream.pipeline import training_batches
from training.alternate import main
from training.run.stores.features import stored_features

OPTIONS = "--short-side 64 --fc-units 32 --anchor-scales 16 32 --min-size 4 --rois 16 --weights none --quiet".split()


def alternate(tree: Path, folder: Path, *options: str) -> int:
    """The exit status of the four steps."""
    with pytest.raises(SystemExit) as end:
        main(["--data", f"voc:{tree}", "--run", str(folder), "--iterations", "1", "2", "4", "2", *OPTIONS, *options])
    return end.value.code or 0


@pytest.mark.slow
def test_detectors_train_on_proposals_of_mirrored_pictures_and_features_from_another_folder(
    voc_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proposals, features = [], []

    def recorded(dataset, image, images, seed, own_proposals=None, *more, **options):
        proposals.append(own_proposals)
        return training_batches(dataset, image, images, seed, own_proposals, *more, **options)

    def seen(*arguments, **options):
        found = stored_features(*arguments, **options)
        features.extend(path for path in cache.rglob("*.tfrecord") if path not in features)
        return found

    cache, folder = tmp_path / "cache", tmp_path / "run"
    monkeypatch.setattr("training.run.train_step.training_batches", recorded)
    monkeypatch.setattr("training.run.train_step.stored_features", seen)
    assert alternate(voc_tree, folder, "--mirrored-proposals", "--feature-cache-folder", str(cache)) == 0
    assert (folder / "model.keras").is_file()

    of_step1, of_step3 = proposals[1], proposals[3]
    assert proposals[0] is proposals[2] is None  # the RPN's steps
    for (upright, mirrored), step in ((of_step1, "step1"), (of_step3, "step3")):
        assert {Path(path).parent for path in upright} == {folder / "proposals" / step / "train"}
        assert {Path(path).parent for path in mirrored} == {folder / "proposals" / step / "mirrored"}
        assert len(upright) == len(mirrored) == 4

    assert len({path.parent for path in features}) == 1 and features[0].parent.parent == cache
    assert {path.name.split(".")[1] for path in features} == {"upright", "flipped"}
    assert not list(cache.rglob("*.tfrecord")) and not (folder / "features").exists()  # deleted with the last step
