"""Draw docs/images/scenes.jpg, the picture at the top of the README.

    python docs/draw_picture.py                          # drawn scenes with their ground truth
    python docs/draw_picture.py --model runs/synthetic   # the same scenes with what a trained detector finds

The scenes come from the test split of the drawn data set, so `make train` does not train on them.
"""

import argparse
import pathlib

import numpy as np
from PIL import Image

import keras_frcnn
from keras_frcnn.api.drawing import draw_ground_truth
from keras_frcnn.data.pictures.files import read_example
from keras_frcnn.data.sources.loading import load_dataset
from keras_frcnn.data.sources.spec import DataSpec

OUT = pathlib.Path(__file__).parent / "images" / "scenes.jpg"
SCENES = (19, 21, 27)  # positions in the test split: four or more objects each, some of them overlap
MARGIN = 12  # white pixels between two scenes
WIDTH = 1200  # of the whole picture, in pixels
QUALITY = 85


def draw_scenes(model_path: str | None) -> list[np.ndarray]:
    """The scenes with boxes, each (H, W, 3) uint8 RGB: detections of a model or, without one, the ground truth."""
    dataset = load_dataset(DataSpec(data="synthetic"), "test")
    detector = None if model_path is None else keras_frcnn.load(model_path)
    drawn = []
    for example in (dataset.examples[position] for position in SCENES):
        image = read_example(example)
        if detector is None:
            truth = (example.boxes, example.classes, example.difficult)
            drawn.append(draw_ground_truth(image, *truth, dataset.class_names))
        else:
            drawn.append(np.asarray(detector.detect(image).draw()))
    return drawn


def side_by_side(pictures: list[np.ndarray]) -> Image.Image:
    """Pictures of one height in a row, white between them, scaled to `WIDTH`."""
    gap = np.full((pictures[0].shape[0], MARGIN, 3), 255, np.uint8)
    row = [part for picture in pictures for part in (gap, picture)][1:]
    whole = Image.fromarray(np.concatenate(row, axis=1))
    return whole.resize((WIDTH, round(whole.height * WIDTH / whole.width)), Image.Resampling.LANCZOS)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Draw the picture at the top of the README.")
    parser.add_argument("--model", help="a run folder, or a .keras file (default: draw the ground truth)")
    options = parser.parse_args(arguments)
    OUT.parent.mkdir(exist_ok=True)
    side_by_side(draw_scenes(options.model)).save(OUT, quality=QUALITY)
    print(f"{OUT}: {OUT.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
