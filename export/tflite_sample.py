"""Detect objects with an exported TFLite file: `python export/tflite_sample.py model.tflite photo.jpg`.

Needs only ai-edge-litert, numpy and pillow, and nothing of this project.
"""

import sys
import zipfile

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

model_path, image_path = sys.argv[1:]
labels = zipfile.ZipFile(model_path).read("labels.txt").decode().splitlines()  # line 0 is the background
runner = Interpreter(model_path, num_threads=4).get_signature_runner()
_, height, width, _ = runner.get_input_details()["images"]["shape"]

# Resize as in training: bilinear without smoothing.  Image.resize would smooth.
with Image.open(image_path) as file:
    image = file.convert("RGB")
whole = (0, 0, image.width, image.height)
pixels = image.transform((width, height), Image.Transform.EXTENT, whole, Image.Resampling.BILINEAR)

found = runner(images=np.asarray(pixels)[None])
for row in range(int(found["num_detections"][0])):
    score, label = found["detection_scores"][0, row], labels[int(found["detection_classes"][0, row])]
    y0, x0, y1, x1 = found["detection_boxes"][0, row] * [image.height, image.width, image.height, image.width]
    print(f"{score:.3f}  {label:16}  y {y0:.1f} to {y1:.1f}, x {x0:.1f} to {x1:.1f}")
