"""The metrics that an evaluation may lead with.

This module imports nothing, so that command lines can show the names without delay.
"""

METRICS = ("voc07", "voc", "coco")
TITLES = {"voc07": "VOC mean AP, 11-point", "voc": "VOC mean AP, area", "coco": "COCO AP"}
METRIC_HELP = "the metric that comes first: VOC's 11-point AP, VOC's area AP, or COCO's AP"
