"""The presets of `--augment`: how strongly training pictures are changed at random.

This module imports only the standard library, so that `--help` stays fast.  `changes.py` applies a preset.
"""

from typing import NamedTuple


class Preset(NamedTuple):
    """The ranges of the random changes.  Shares are probabilities; a pair is a lowest and a highest value.

    A picture is cropped, zoomed out or left whole.  Colours always change, each by a value drawn from its range.
    """

    crop: float  # share of the pictures that are cropped
    area: tuple[float, float]  # area of the crop / area of the picture
    aspect: tuple[float, float]  # width / height of the crop, divided by width / height of the picture
    covered: float  # at least this share of one object lies in the crop
    zoom_out: float  # share of the pictures that are placed on a larger grey canvas
    canvas: tuple[float, float]  # sides of the canvas / sides of the picture
    brightness: float  # largest value that is added to all channels or subtracted from them, of 255
    contrast: tuple[float, float]  # factor of the distance from the mean of the channel
    saturation: tuple[float, float]  # factor of the saturation
    hue: float  # largest turn of the hue in either direction, as a share of the colour circle
    blur: float  # share of the pictures that are blurred
    sigma: tuple[float, float]  # standard deviation of the Gaussian blur, in pixels of the resized picture


# "strong" has the colours of SSD (Liu et al. 2016, released code: brightness 32, contrast and saturation 0.5 to 1.5,
# hue 18 of 180) and its zoom out, at most 2 times instead of 4 times: at a short side of 600 the objects would become
# smaller than the smallest anchors.  "light" has about half of each range.
PRESETS: dict[str, Preset | None] = {
    "none": None,
    "light": Preset(
        crop=0.5,
        area=(0.5, 1.0),
        aspect=(0.9, 1.1),
        covered=0.9,
        zoom_out=0.2,
        canvas=(1.0, 1.3),
        brightness=16.0,
        contrast=(0.8, 1.2),
        saturation=(0.8, 1.2),
        hue=0.02,
        blur=0.1,
        sigma=(0.3, 1.0),
    ),
    "strong": Preset(
        crop=0.6,
        area=(0.25, 1.0),
        aspect=(0.75, 1.33),
        covered=0.7,
        zoom_out=0.3,
        canvas=(1.0, 2.0),
        brightness=32.0,
        contrast=(0.5, 1.5),
        saturation=(0.5, 1.5),
        hue=0.1,
        blur=0.3,
        sigma=(0.3, 2.0),
    ),
}
