"""The confusion matrix of a detector at one score threshold.

Axes: D detections by descending score; K classes; row and column 0 of the matrix stand for "no class".
"""

import numpy as np

from keras_frcnn.evaluation.error_analysis.labels import FalsePositives
from keras_frcnn.evaluation.matching.judging import Objects, RankedDetections


def confusion_matrix(
    objects: Objects,
    ranked: RankedDetections,
    false_positives: FalsePositives,
    class_count: int,
    score_threshold: float,
) -> np.ndarray:
    """How often an object of each class was detected as each class.

    Only detections with at least the score threshold count.  An object belongs to its right detection.  Without one, it
    belongs to the confusion error with the highest score that aims at it, and otherwise it is missed.  All other false
    positives belong to the background: also a localisation error, whose object is then missed.

    Difficult objects, and detections on them, are in no cell.

    Returns:
      (1 + K, 1 + K) int64.  Rows are true classes, row 0 is the background.  Columns are detected classes, column 0 is
      "missed".  The rows 1..K add up to the number of objects of each class, and the columns 1..K to the number of its
      detections.  Cell (0, 0) is 0.
    """
    shown = ranked.scores >= score_threshold
    right = np.flatnonzero(shown & false_positives.right)
    detected = np.zeros(len(objects.images), np.int64)  # the class that each object was detected as; 0: missed
    detected[false_positives.targets[right]] = ranked.classes[right]

    confused = np.flatnonzero(shown & (false_positives.kinds == "confusion"))
    targets = false_positives.targets[confused]
    confused = confused[(detected[targets] == 0) & ~objects.difficult[targets]]
    targets, first = np.unique(false_positives.targets[confused], return_index=True)  # the highest score of each object
    confused = confused[first]
    detected[targets] = ranked.classes[confused]

    on_background = shown & (false_positives.kinds != "")
    on_background[confused] = False
    matrix = np.zeros((1 + class_count, 1 + class_count), np.int64)
    easy = ~objects.difficult
    np.add.at(matrix, (objects.classes[easy], detected[easy]), 1)
    np.add.at(matrix, (0, ranked.classes[on_background]), 1)
    return matrix
