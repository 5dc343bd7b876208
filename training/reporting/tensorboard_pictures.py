"""Pictures for TensorBoard: proposals and detections, drawn during the training on images that it does not train on."""

import pathlib
from collections.abc import Callable, Sequence

import tensorflow as tf

from keras_frcnn.api.drawing import SHOWN_SCORE, draw_detections, draw_proposals
from keras_frcnn.data.example import Dataset
from keras_frcnn.data.pictures.files import read_example
from keras_frcnn.data.stream.pipeline import evaluation_batches
from keras_frcnn.facts.structures import Batch, Detections, Proposals
from keras_frcnn.network.forward import detection_counts
from keras_frcnn.network.model import FasterRCNN
from training.engine.inference import detect_in_batch, propose_in_batch
from training.run.stores.rows import row_paths

PICTURES = 2  # images that are drawn
PROPOSALS = 30  # proposals that are drawn on each


def picture_writer(
    model: FasterRCNN, parts: Sequence[str], dataset: Dataset, proposal_directory: pathlib.Path | None = None
) -> Callable[[int], None]:
    """Return a function that draws the first images of `dataset` and writes them to the default summary writer.

    The function takes the iteration to write them under.  It draws proposals if the RPN is among the `parts` in
    training, and detections if the head is.  The detections are made from the proposals stored in `proposal_directory`
    or, without it, from the model's own.
    """
    few = dataset._replace(examples=dataset.examples[:PICTURES])
    paths = None if proposal_directory is None else row_paths(proposal_directory, few)
    batches = evaluation_batches(few, model.config.image, proposal_paths=paths)

    @tf.function(input_signature=[batches.element_spec])
    def run(batch: Batch) -> dict[str, Proposals | Detections]:
        found: dict[str, Proposals | Detections] = {}
        if "rpn" in parts:
            counts = detection_counts(model.config)._replace(after_nms=PROPOSALS)
            found["proposals"] = propose_in_batch(model, batch, counts)
        if "head" in parts:
            found["detections"] = detect_in_batch(model, batch, with_stored_proposals=paths is not None)
        return found

    def write(iteration: int) -> None:
        for example, batch in zip(few.examples, batches, strict=True):
            image = read_example(example)
            found = tf.nest.map_structure(lambda field: field[0].numpy(), run(batch))
            if "rpn" in parts:
                proposals = found["proposals"]
                drawn = draw_proposals(image, proposals.boxes[proposals.valid], proposals.scores[proposals.valid])
                tf.summary.image(f"proposals/{example.image_id}", drawn[None], step=iteration)
            if "head" in parts:
                detections = found["detections"]
                shown = detections.valid & (detections.scores >= SHOWN_SCORE)
                boxes, classes, scores = detections.boxes[shown], detections.classes[shown], detections.scores[shown]
                drawn = draw_detections(image, boxes, classes, scores, dataset.class_names)
                tf.summary.image(f"detections/{example.image_id}", drawn[None], step=iteration)

    return write
