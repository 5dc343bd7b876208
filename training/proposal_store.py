"""Proposals on disk: made once by an RPN, fixed while a detector trains (section 3.2).

One file an image, a serialised (P, 5) float32 tensor: box (yxyx, pixels of the resized image) and score, best first.
tf.data reads them by name, so that no data set is too large for memory.
"""

import functools
import pathlib

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from keras_frcnn.data.example import Dataset
from keras_frcnn.data.pipeline import evaluation_batches
from keras_frcnn.data.stored_features import FeatureFiles
from keras_frcnn.model import FasterRCNN, propose
from training.run_folder import write_atomically, write_json
from training.steps import fixed_features


def proposal_path(directory, image_id: str) -> pathlib.Path:
    """Where the proposals of an image are; a year in its id becomes a folder."""
    return pathlib.Path(directory) / f"{image_id}.tensor"


def proposal_paths(directory, dataset: Dataset) -> list[pathlib.Path]:
    """One path an example, in the data set's order."""
    return [proposal_path(directory, example.image_id) for example in dataset.examples]


def _finished(directory) -> pathlib.Path:
    return pathlib.Path(directory) / "finished.json"


def are_made(directory) -> bool:
    """Whether the proposals of every picture are in `directory`."""
    return _finished(directory).is_file()


def make_proposals(
    model: FasterRCNN,
    dataset: Dataset,
    directory,
    pre_nms_topk: int,
    post_nms_topk: int,
    title: str,
    feature_files: FeatureFiles | None = None,
):
    """Store the proposals of every picture of `dataset` in `directory`; `are_made` then."""
    batches = evaluation_batches(dataset, model.config.image, feature_files=feature_files)

    @tf.function(input_signature=[batches.element_spec])
    def run(batch):
        features = fixed_features(model, batch)
        return propose(
            model.rpn(features),
            features,
            batch.image_sizes,
            model.config,
            pre_nms_topk=pre_nms_topk,
            post_nms_topk=post_nms_topk,
        )

    for batch in tqdm(batches, total=len(dataset.examples), desc=title, unit="image", mininterval=1.0):
        proposals = run(batch)
        for row, image_id in enumerate(batch.image_ids.numpy()):
            valid = proposals.valid[row]
            rows = tf.concat([proposals.boxes[row][valid], proposals.scores[row][valid][:, None]], axis=-1)
            path = proposal_path(directory, image_id.decode())
            write_atomically(
                path, functools.partial(pathlib.Path.write_bytes, data=tf.io.serialize_tensor(rows).numpy())
            )
    write_json(_finished(directory), {"images": len(dataset.examples), "post_nms_topk": post_nms_topk})


def load_proposals(directory, dataset: Dataset) -> list[np.ndarray]:
    """The stored (P, 5) proposals of each example."""
    return [tf.io.parse_tensor(path.read_bytes(), tf.float32).numpy() for path in proposal_paths(directory, dataset)]
