"""The weight files of `keras.applications.VGG16`.

File names, hashes and cache folder are those of keras/src/applications/vgg16.py, so a file is downloaded only once for
Keras and for this project.
"""

from pathlib import Path

import keras

from keras_frcnn.facts.errors import InputError

URL = "https://storage.googleapis.com/tensorflow/keras-applications/vgg16/"
KERAS_FILES = {  # source: (file name, md5)
    "imagenet": ("vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5", "6d6bbae143d832006294945121d1f1fc"),
    "imagenet-full": ("vgg16_weights_tf_dim_ordering_tf_kernels.h5", "64373286793e3c8b2b4e3219cbf3544b"),
}


def fetch_keras_file(source: str) -> Path:
    """Return the path of Keras' own VGG16 file in Keras' cache; download the file first if it is not there.

    Args:
        source: A key of `KERAS_FILES`.

    Raises:
        InputError: The download failed.
    """
    name, md5 = KERAS_FILES[source]
    try:
        return Path(keras.utils.get_file(name, URL + name, cache_subdir="models", file_hash=md5))
    except Exception as error:  # get_file raises a bare Exception if the network fails
        raise InputError(
            f"--weights {source}",
            f"Keras could not fetch {name} ({error})",
            "check the network connection, use `--weights torchvision`, or download the file yourself and use "
            "`--weights PATH`",
        ) from error
