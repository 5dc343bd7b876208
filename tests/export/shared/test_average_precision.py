"""The mAP of a detector on a data set."""

import numpy as np
import pytest

from export.shared.average_precision import mean_average_precision
from export.shared.parity import PictureDetections
from keras_frcnn.data.sources.loading import load_dataset
from keras_frcnn.data.sources.spec import DataSpec

NOTHING = PictureDetections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.float32))


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
