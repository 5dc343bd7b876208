"""The pictures of a run, decoded once before it starts, so that a damaged file is named before hours of training."""

import os
import pathlib
from collections.abc import Iterable, Sequence

from keras_frcnn.data.doctor.checks.decoding import PictureFacts, read_pictures
from keras_frcnn.facts.errors import InputError, first_names
from training.engine.distribution import progress_bar
from training.engine.interruption import stop_if_asked
from training.four_steps import Step
from training.run.options.declared import TrainingOptions
from training.run.start import RunData

# Training decodes a picture each time that it uses it.  Decoding all pictures once is cheap if it adds at most this
# share to what training itself decodes.
CHEAP_SHARE = 0.05


def check_pictures(options: TrainingOptions, steps: Sequence[Step], data: RunData, show: bool = True) -> None:
    """Decode every picture with --check-data, or if that is cheap and the run is new.

    `show`: whether to show a progress bar.  Raises InputError, which names the first files, if a picture cannot be
    decoded, and KeyboardInterrupt.
    """
    examples = (*data.train_set.examples, *data.val_set.examples)
    paths = list(dict.fromkeys(example.image_path for example in examples))
    uses = sum(step.iterations * step.images for step in steps)
    is_new = not (pathlib.Path(options.run) / "config.json").exists()
    if not options.check_data and not (is_new and len(paths) <= CHEAP_SHARE * uses):
        return

    def shown(pictures: Iterable[PictureFacts], count: int) -> Iterable[PictureFacts]:
        with progress_bar(show, desc="checking pictures", total=count, leave=False) as bar:
            for facts in pictures:
                stop_if_asked()
                bar.update()
                yield facts

    faulty = [facts for facts in read_pictures(paths, os.cpu_count() or 1, shown) if facts.fault]
    if faulty:
        others = [pathlib.Path(facts.path).name for facts in faulty[1:]]
        more = f"; {len(faulty)} such pictures, also {first_names(others)}" if others else ""
        fix = "replace it, or remove it from the split"
        raise InputError(faulty[0].path, f"cannot be decoded ({faulty[0].fault}){more}", fix)
