"""The mAP of a detector on a data set."""

from types import SimpleNamespace

import numpy as np
import pytest

from export.shared.average_precision import mean_average_precision, read_dataset
from export.shared.parity import PictureDetections
from keras_frcnn.data.sources.loading import load_dataset
from keras_frcnn.data.sources.spec import DataSpec
from keras_frcnn.facts.config import DetectorConfig, ImageConfig
from keras_frcnn.facts.errors import InputError

NOTHING = PictureDetections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.float32))


@pytest.mark.parametrize(("exif", "policy"), [("apply", "apply"), ("ignore", "ignore"), ("auto", "ignore")])
def test_the_boxes_of_the_data_refer_to_what_the_model_sees(voc_tree, exif, policy):
    options = SimpleNamespace(data=f"voc:{voc_tree}", split="val")
    names = load_dataset(DataSpec(data=options.data), "val").class_names
    model = SimpleNamespace(class_names=names, config=DetectorConfig(image=ImageConfig(exif=exif)))
    assert read_dataset(options, model).exif == policy
    assert read_dataset(SimpleNamespace(data=None, split=None), model) is None
    with pytest.raises(InputError, match="--split val: given without --data; give --data as well"):
        read_dataset(SimpleNamespace(data=None, split="val"), model)


def test_map_of_the_truth_is_one_and_of_nothing_zero(voc_tree):
    dataset = load_dataset(DataSpec(data=f"voc:{voc_tree}"), "train")
    answers = iter(dataset.examples)

    def truth(image):
        example = next(answers)
        assert image.shape == (example.height, example.width, 3)
        sides = (example.height, example.width) * 2
        shares = example.boxes / np.float32(sides)
        return PictureDetections(shares, example.classes, np.ones(len(example.classes)))

    assert mean_average_precision(truth, dataset, "") == pytest.approx(1.0)
    assert mean_average_precision(lambda image: NOTHING, dataset, "") == 0.0
