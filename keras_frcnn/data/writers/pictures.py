"""Copies of the pictures of a data set, named after their image ids."""

import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from keras_frcnn.data.example import Dataset

RENAMED = "pictures of two splits with the same image id: the name of the split put in front of the second"


def copy_pictures(datasets: Mapping[str, Dataset], out: Path, losses: Counter[str]) -> dict[str, dict[str, str]]:
    """Copy the pictures to `out/IMAGE_ID.suffix`, unchanged; a picture that is in two splits is copied once.

    Counts in `losses` the pictures that need another name because their image id is taken.

    Returns:
      For each split, the file names of its pictures by image id, relative to `out`.

    Raises:
      OSError: a file cannot be read or written.
    """
    taken: dict[str, str] = {}  # name -> the picture that has it
    names: dict[str, dict[str, str]] = {}
    for split, dataset in datasets.items():
        names[split] = {}
        for example in dataset.examples:
            name = f"{example.image_id}{Path(example.image_path).suffix}"
            if taken.get(name, example.image_path) != example.image_path:
                name = f"{split}/{name}"
                losses[RENAMED] += 1
            if name not in taken:
                target = out / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(example.image_path, target)
            taken[name] = example.image_path
            names[split][example.image_id] = name
    return names
