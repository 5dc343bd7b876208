"""Faster R-CNN with VGG16 in TensorFlow and Keras 3."""

import sys

# Importing the package makes its models known to keras.saving.  Only this package's own command lines read their
# options first, so that --help answers without TensorFlow: Python announces them by "-m" for the program's name.
if not (sys.argv[:1] == ["-m"] and any(word.startswith(f"{__name__}.") for word in sys.orig_argv)):
    from keras_frcnn.network.model import FasterRCNN as FasterRCNN
    from keras_frcnn.network.model import load_model as load_model
