"""TensorFlow's own lines are hidden, and a level that the user chose stays."""

import os

import pytest

from keras_frcnn.facts.logs import quiet_tensorflow


@pytest.mark.parametrize(("driver", "level"), [(False, "3"), (True, "2")])
def test_without_a_driver_even_the_errors_about_the_missing_gpu_are_hidden(monkeypatch, driver, level):
    monkeypatch.setattr(os.path, "exists", lambda path: driver and path == "/proc/driver/nvidia")
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL")
    quiet_tensorflow()
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == level


def test_the_level_of_the_user_stays(monkeypatch):
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    quiet_tensorflow()
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "0"
