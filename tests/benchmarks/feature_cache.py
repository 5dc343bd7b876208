"""Measure how much time stored features save in steps 3 and 4, on blood-cell pictures at short side 480.

    python tests/benchmarks/feature_cache.py ../shared/data/bccd ../shared/weights/vgg16_imagenet_notop.h5

prints, for the RPN (one picture in a mini-batch) and the detector (two), how many times faster an iteration is with
stored features.  It also prints the ratio over all iterations of the default schedule, with the time to fill the cache.
"""

import argparse
import dataclasses
import os
import statistics
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from rounds import interleaved_seconds

from keras_frcnn.data.sources.loading import load_dataset
from keras_frcnn.data.sources.spec import DataSpec
from keras_frcnn.data.stream.pipeline import training_batches
from keras_frcnn.facts.config import DetectorConfig, ImageConfig
from keras_frcnn.network.forward import Counts
from keras_frcnn.network.model import FasterRCNN
from keras_frcnn.network.weights.pretrained import apply_pretrained, load_pretrained
from training.engine.objectives import head_losses, rpn_losses
from training.engine.schedules import StepDecay
from training.engine.solver import Optimisation
from training.engine.trainer import Trainer
from training.run.stores.features import FeatureCache
from training.run.stores.proposals import store_proposals
from training.run.stores.rows import row_paths

PICTURES, ITERATIONS, ROUNDS = 12, 3, 5
SCHEDULE = {"rpn": 80000, "head": 40000}  # default iterations of steps 3 and 4
TRAINING_SET = 205  # pictures of the BCCD training set, which fill the cache before a training


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bccd", help="folder of the BCCD data set in VOC format")
    parser.add_argument("weights", help="file of ImageNet weights of VGG16")
    options = parser.parse_args()

    dataset = load_dataset(DataSpec(data=f"voc:{options.bccd}"), "train")
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
        seconds_per_map = (time.perf_counter() - started) / (2 * PICTURES)
        filling = 2 * TRAINING_SET * seconds_per_map
        for part, losses, images in (("rpn", rpn_losses, 1), ("head", head_losses, 2)):
            trainers = []
            for files in (None, cache.files(dataset)):
                trainer = Trainer(model, losses, (part,), StepDecay(1e-5, 10**6, 1.0), Optimisation())
                paths = row_paths(proposals, dataset)
                trainer.feed(training_batches(dataset, config.image, images, 0, paths, files))
                trainers.append(trainer)
            functions = [lambda trainer=trainer: trainer.train(ITERATIONS) for trainer in trainers]
            times = interleaved_seconds(functions, ROUNDS)
            without, stored = (statistics.median(seconds) / ITERATIONS for seconds in times)
            iterations = SCHEDULE[part]
            overall = iterations * without / (iterations * stored + filling)
            print(
                f"{part}: {without:.3f} s an iteration, {stored:.3f} s with stored features: {without / stored:.2f} "
                f"times as fast; over {iterations} iterations, with {filling:.0f} s to fill the cache: "
                f"{overall:.2f} times as fast"
            )


if __name__ == "__main__":
    main()
