"""This project's detector as a process that runs what it is told; `torchvision_peer.py` starts it.

It answers as `torchvision_worker.py` does.  For inference, it loads a SavedModel and nothing else of this project.
"""

import json
import os
import sys
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf
from figures import peak_memory


def inference(settings: dict) -> Callable[[], object]:
    """The signature `serving_default` on a random picture."""
    signature = tf.saved_model.load(settings["saved_model"]).signatures["serving_default"]
    pixels = tf.constant(np.random.default_rng(0).integers(0, 256, (1, *settings["size"], 3), dtype=np.uint8))
    return lambda: signature(images=pixels)["num_detections"].numpy()


def training(settings: dict) -> Callable[[], object]:
    """An iteration of joint training on a random picture."""
    from iteration import endless, random_batch

    from keras_frcnn.facts.config import DetectorConfig, HeadConfig, ImageConfig
    from keras_frcnn.network.model import FasterRCNN
    from training.engine.objectives import losses_of
    from training.engine.schedules import StepDecay
    from training.engine.solver import Optimisation
    from training.engine.trainer import Trainer

    height, width = settings["size"]
    config = DetectorConfig(
        image=ImageConfig(short_side=min(height, width), long_side=max(height, width)),
        head=HeadConfig(batch_size=128, fc_units=settings["fc_units"]),
    )
    names = [f"class {number}" for number in range(settings["classes"])]
    precision = "float32" if settings["precision"] == "float32" else "mixed_bfloat16"
    model = FasterRCNN(config, names, dtype=precision)
    parts = ("backbone", "rpn", "head")
    trainer = Trainer(model, losses_of(parts), parts, StepDecay(1e-12, 1, 1.0), Optimisation())
    trainer.feed(endless(random_batch(height, width)))
    return lambda: trainer.train(1)


def main() -> None:
    settings = json.loads(sys.argv[1])
    make = {"infer": inference, "train": training}[settings["what"]]
    run = make(settings)
    print(json.dumps({"tensorflow": tf.__version__}), flush=True)
    for _ in sys.stdin:
        run()
        print(json.dumps({"memory": peak_memory()}), flush=True)


if __name__ == "__main__":
    main()
