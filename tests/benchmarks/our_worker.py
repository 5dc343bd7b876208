"""This project's detector as a process that runs what it is told; `torchvision_peer.py` starts it.

For inference, it loads a SavedModel and nothing else of this project.
"""

import json
import os
import sys
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tensorflow as tf
from workers import random_blocks, serve


def inference(settings: dict) -> Callable[[], object]:
    """The signature `serving_default` on the picture for which the scores of the detector were spread."""
    signature = tf.saved_model.load(settings["saved_model"]).signatures["serving_default"]
    pixels = tf.constant(random_blocks(*settings["size"])[None])
    return lambda: signature(images=pixels)["num_detections"].numpy()


def training(settings: dict) -> Callable[[], object]:
    """An iteration of joint training on a random picture."""
    from random_training import random_batch, random_model, random_trainer

    precision = "float32" if settings["precision"] == "float32" else "mixed_bfloat16"
    size, classes = tuple(settings["size"]), settings["classes"]
    model = random_model(size, settings["fc_units"], precision=precision, classes=classes)
    trainer = random_trainer(model, ("backbone", "rpn", "head"), random_batch(*size))
    return lambda: trainer.train(1)


def main() -> None:
    settings = json.loads(sys.argv[1])
    make = {"infer": inference, "train": training}[settings["what"]]
    run = make(settings)
    serve({"tensorflow": tf.__version__}, lambda _: run())


if __name__ == "__main__":
    main()
