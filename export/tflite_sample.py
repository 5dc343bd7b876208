"""Detect objects with an exported TFLite file: `python export/tflite_sample.py model.tflite photo.jpg`.

Needs only ai-edge-litert, numpy and pillow, and nothing of this project.
"""

import json
import sys
import zipfile

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image, ImageOps

model_path, image_path = sys.argv[1:]
files = zipfile.ZipFile(model_path)
labels = files.read("labels.txt").decode().splitlines()  # line 0 is the background
settings = json.loads(files.read("config.json"))["detector"]["image"]
runner = Interpreter(model_path, num_threads=4).get_signature_runner()
_, height, width, _ = runner.get_input_details()["images"]["shape"]

with Image.open(image_path) as file:
    # Turn the picture as in training.  Boxes are those of the turned picture.
    image = (ImageOps.exif_transpose(file) if settings.get("exif") == "apply" else file).convert("RGB")
# Resize as in training: bilinear without smoothing.  Image.resize would smooth.
whole = (0, 0, image.width, image.height)
pixels = image.transform((width, height), Image.Transform.EXTENT, whole, Image.Resampling.BILINEAR)

found = runner(images=np.asarray(pixels)[None])
for row in range(int(found["num_detections"][0])):
    score, label = found["detection_scores"][0, row], labels[int(found["detection_classes"][0, row])]
    y0, x0, y1, x1 = found["detection_boxes"][0, row] * [image.height, image.width, image.height, image.width]
    print(f"{score:.3f}  {label:16}  y {y0:.1f} to {y1:.1f}, x {x0:.1f} to {x1:.1f}")
