"""Faster R-CNN with VGG16 in TensorFlow and Keras 3."""

import sys

# Importing the package makes its models known to keras.saving.  Only `python -m keras_frcnn.detect` and its like,
# which Python announces by "-m" in place of the program's name, go on to read their options first: --help answers
# without TensorFlow.
if sys.argv[:1] != ["-m"]:
    from keras_frcnn.model import FasterRCNN as FasterRCNN
    from keras_frcnn.model import load_model as load_model
