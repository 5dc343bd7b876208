"""The table of formats that a data set can be written in.

To add a format, write one module with this function, and add one line to `WRITERS`:

    write(datasets: Mapping[str, Dataset], out: Path, link: bool) -> list[Loss]

`datasets` holds the splits by their names.  `out` is an empty folder; `writing.write_dataset` moves it to its place
when it is complete.  With `link`, pictures are hard links instead of copies, where the format has picture files.  The
result says what the format cannot hold.

This module imports no heavy package, so that a command line can show the formats without delay.
"""

from typing import NamedTuple


class Writer(NamedTuple):
    """One format."""

    module: str  # full name of the module that has the function `write`
    help: str  # what it writes, for --help


WRITERS = {
    "voc": Writer("keras_frcnn.data.writers.voc", "Annotations/, JPEGImages/, ImageSets/Main/"),
    "coco": Writer("keras_frcnn.data.writers.coco", "annotations/instances_SPLIT.json, SPLIT/"),
    "yolo": Writer("keras_frcnn.data.writers.yolo", "data.yaml, images/SPLIT/, labels/SPLIT/"),
    "csv": Writer("keras_frcnn.data.writers.csv_table", "SPLIT/_annotations.csv with a header, classes.csv"),
    "tfrecord": Writer("keras_frcnn.data.writers.tfrecord", "SPLIT-00000-of-00001.tfrecord, label_map.pbtxt"),
}
