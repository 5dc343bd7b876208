"""The pictures that TensorBoard shows: the parts in training decide what is drawn."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from keras_frcnn.api.drawing import draw_proposals
from keras_frcnn.data.pictures.files import read_example
from keras_frcnn.data.sources.loading import load_dataset
from keras_frcnn.data.sources.spec import DataSpec
from training.reporting.tensorboard_pictures import PICTURES, picture_writer


@pytest.fixture(scope="module")
def dataset(voc_tree):
    return load_dataset(DataSpec(data=f"voc:{voc_tree}"), "val")


@pytest.mark.parametrize(
    ("parts", "drawn"),
    [
        (("backbone", "rpn"), {"proposals"}),
        (("head",), {"detections"}),
        (("backbone", "rpn", "head"), {"proposals", "detections"}),
    ],
)
def test_each_part_in_training_has_its_pictures(make_model, dataset, tmp_path, parts, drawn):
    with tf.summary.create_file_writer(str(tmp_path)).as_default():
        picture_writer(make_model(), parts, dataset)(7)
    events = EventAccumulator(str(tmp_path), size_guidance={"tensors": 0}).Reload()
    ids = [example.image_id for example in dataset.examples[:PICTURES]]
    assert len(ids) == PICTURES
    assert set(events.Tags()["tensors"]) == {f"{kind}/{image_id}" for kind in drawn for image_id in ids}
    for kind in drawn:
        for example in dataset.examples[:PICTURES]:
            (event,) = events.Tensors(f"{kind}/{example.image_id}")
            assert event.step == 7
            pixels = np.asarray(Image.open(io.BytesIO(event.tensor_proto.string_val[2])))
            plain = draw_proposals(read_example(example), np.zeros((0, 4)), np.zeros(0))
            assert pixels.shape == plain.shape
            if kind == "proposals":  # the RPN always proposes something
                assert (pixels != plain).any()
