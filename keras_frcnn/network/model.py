"""Faster R-CNN as one Keras functional model."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_frcnn.facts.config import DetectorConfig, config_from_dict, config_to_dict
from keras_frcnn.network import forward
from keras_frcnn.network.backbone import Backbone
from keras_frcnn.network.head import Head
from keras_frcnn.network.rpn import RPN


@keras.saving.register_keras_serializable("keras_frcnn")
class FasterRCNN(keras.Model):
    """Faster R-CNN: one network of backbone, RPN and detector head (paper, figure 2).

    The model maps (images, image_sizes) to `Detections` in pixels of the resized images.  `images` is (B, H, W, 3)
    float32, normalised as in `images.prepare`; `image_sizes` is (B, 2) int32, height and width without padding.

    The model file holds the configuration and the class names.  `keras.saving.load_model` needs no `custom_objects`
    after this module is imported.  Training works on the layers `backbone`, `rpn` and `head`.
    """

    def __init__(
        self,
        config: DetectorConfig,
        class_names: Sequence[str],
        seed: int = 0,
        dtype: str | keras.DTypePolicy = "float32",
        name: str = "faster_rcnn",
    ):
        """Build the model with random weights.

        Args:
            config: The detector's configuration.
            class_names: The C-1 classes without background; class i is `class_names[i - 1]`.
            seed: Seed of the initial weights.
            dtype: Precision of the layers, a Keras dtype policy.  Boxes and scores are float32 in any precision.
            name: The model's name.
        """
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
        """The parts that the functions of `forward` take.  They share the model's weights."""
        return forward.Parts(self.config, self.backbone, self.rpn, self.head)

    def get_config(self) -> dict[str, Any]:
        return {
            "config": config_to_dict(self.config),
            "class_names": list(self.class_names),
            "seed": self.seed,
            "dtype": self.precision,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> "FasterRCNN":
        return cls(**{**config, "config": config_from_dict(config["config"])})
