"""What stored features save: steps 3 and 4 with and without them, on blood-cell pictures at short side 480, on the CPU.

    python tests/benchmarks/feature_cache.py ../shared/data/bccd ../shared/weights/vgg16_imagenet_notop.h5

prints the ratio of a step's time without stored features to that with them, for each step of the default schedule (one
picture a mini-batch for the RPN, two for the detector), and with the time to fill the cache counted in.
"""

import argparse
import dataclasses
import os
import statistics
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from rounds import seconds_by_turns

from keras_frcnn.data.pipeline import training_batches
from keras_frcnn.data.sources.table import load_dataset
from keras_frcnn.facts.config import DetectorConfig, ImageConfig
from keras_frcnn.network.forward import Counts
from keras_frcnn.network.model import FasterRCNN
from keras_frcnn.network.weights.pretrained import apply_pretrained, load_pretrained
from training.engine.objectives import head_losses, rpn_losses
from training.engine.schedules import StepDecay
from training.engine.trainer import Optimisation, Trainer
from training.stores.features import FeatureCache
from training.stores.proposals import store_proposals
from training.stores.rows import row_paths

PICTURES, STEPS, ROUNDS = 12, 3, 5
DEFAULT_STEPS = {"rpn": 80000, "head": 40000}
PICTURES_OF_THE_SPLIT = 205


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bccd")
    parser.add_argument("weights")
    options = parser.parse_args()

    dataset = load_dataset(f"voc:{options.bccd}", "train")
    dataset = dataset._replace(examples=dataset.examples[:PICTURES])
    config = dataclasses.replace(DetectorConfig(), image=ImageConfig(short_side=480))
    model = FasterRCNN(config, dataset.class_names)
    apply_pretrained(model, load_pretrained(options.weights))
    with tempfile.TemporaryDirectory() as folder:
        proposals = Path(folder) / "proposals"
        store_proposals(model, dataset, proposals, Counts(0, 2000), "proposals")
        cache = FeatureCache(Path(folder) / "features", model, 2**33)
        started = time.perf_counter()
        cache.fill(dataset, [(index, flip) for index in range(PICTURES) for flip in (False, True)], "features")
        fill_seconds = (time.perf_counter() - started) / (2 * PICTURES)  # one map
        for part, losses, images in (("rpn", rpn_losses, 1), ("head", head_losses, 2)):
            trainers = []
            for files in (None, cache.files(dataset)):
                trainer = Trainer(model, losses, (part,), StepDecay(1e-5, 10**6, 1.0), Optimisation())
                paths = row_paths(proposals, dataset)
                trainer.feed(training_batches(dataset, config.image, images, 0, paths, files))
                trainers.append(trainer)
            times = seconds_by_turns([lambda trainer=trainer: trainer.train(STEPS) for trainer in trainers], ROUNDS)
            without, with_cache = (statistics.median(seconds) / STEPS for seconds in times)
            steps = DEFAULT_STEPS[part]
            filling = 2 * PICTURES_OF_THE_SPLIT * fill_seconds
            print(
                f"{part}: {without:.3f} s a step, {with_cache:.3f} s with stored features: {without / with_cache:.2f} "
                f"times; over {steps} steps with {filling:.0f} s to fill: "
                f"{steps * without / (steps * with_cache + filling):.2f} times"
            )


if __name__ == "__main__":
    main()
