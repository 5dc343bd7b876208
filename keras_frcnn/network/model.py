"""Faster R-CNN as one Keras functional model."""

import keras

from keras_frcnn.facts.config import DetectorConfig, config_from_dict, config_to_dict
from keras_frcnn.network import forward
from keras_frcnn.network.backbone import Backbone
from keras_frcnn.network.head import Head
from keras_frcnn.network.rpn import RPN


@keras.saving.register_keras_serializable("keras_frcnn")
class FasterRCNN(keras.Model):
    """(images (B, H, W, 3) normalised, image_sizes (B, 2) int32) -> Detections in pixels of the resized images.

    `config` and `class_names` (without background) travel with the saved model.  `keras.saving.load_model` needs no
    custom_objects after this module is imported.  The parts that training works on are `backbone`, `rpn` and `head`.
    """

    def __init__(self, config: DetectorConfig, class_names, seed: int = 0, dtype="float32", name="faster_rcnn"):
        backbone = Backbone(seed=seed, name="backbone", dtype=dtype)
        anchors_per_cell = len(config.anchors.scales) * len(config.anchors.ratios)
        rpn = RPN(anchors_per_cell, config.rpn.channels, seed=seed, name="rpn", dtype=dtype)
        head = Head(
            len(class_names) + 1, config.head.fc_units, config.head.dropout, seed=seed, name="head", dtype=dtype
        )

        images = keras.Input((None, None, 3), name="images")
        image_sizes = keras.Input((2,), dtype="int32", name="image_sizes")
        parts = forward.Parts(config, backbone, rpn, head)
        detections = forward.detect(parts, backbone(images, image_sizes), image_sizes)

        super().__init__(inputs=(images, image_sizes), outputs=detections, name=name)
        self.backbone, self.rpn, self.head = backbone, rpn, head
        self.config, self.class_names, self.seed, self.precision = config, tuple(class_names), seed, dtype

    @property
    def parts(self) -> forward.Parts:
        """What the functions of `forward` take, with the weights that the model has now."""
        return forward.Parts(self.config, self.backbone, self.rpn, self.head)

    def get_config(self):
        return {
            "config": config_to_dict(self.config),
            "class_names": list(self.class_names),
            "seed": self.seed,
            "dtype": self.precision,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**{**config, "config": config_from_dict(config["config"])})
