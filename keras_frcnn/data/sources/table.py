"""The table of data sources: what a `--data` option may name, and which module reads it.

To add a source, write one module with these two functions, and add one line to `SOURCES`:

    read(request: Request, problems: Problems) -> SourcePictures
    splits(request: Request) -> tuple[str, ...]

`Request` is in `spec.py`; it holds the text after the colon in `--data KIND:ARGUMENT`, and the split.  `read` gives the
pictures of a split as `annotations.AnnotatedPicture`s, in a fixed order; `loading.py` then checks and repairs them in
the same way for all sources.  A split may join several names with `+`; the function reads them in order and refuses an
image id that occurs twice.  `spec.ALL` stands for every picture of the source, once.  `splits` lists the names of the
splits that the data set has, without those that only join others.

This module imports no heavy package, so that a command line can show `DATA_HELP` without delay.
"""

from typing import NamedTuple


class Source(NamedTuple):
    """One kind of data source."""

    module: str  # full name of the module that has the functions `read` and `splits`
    usage: str  # how to write it after --data
    help: str  # what it is, for --help
    options: tuple[str, ...] = ()  # the fields of `DataSpec` that not all sources use, and this one does


SOURCES = {
    "voc": Source(
        "keras_frcnn.data.sources.voc.reading",
        "voc:PATH",
        "a PASCAL VOC tree, or pictures and XML files",
        ("images_root",),
    ),
    "coco": Source(
        "keras_frcnn.data.sources.coco.reading", "coco:PATH", "a COCO folder or JSON file", ("images_root",)
    ),
    "yolo": Source("keras_frcnn.data.sources.yolo.reading", "yolo:PATH", "a YOLO folder or data.yaml"),
    "csv": Source(
        "keras_frcnn.data.sources.csv.reading",
        "csv:PATH",
        "a CSV file, or a folder with one for each split",
        ("images_root",),
    ),
    "tfrecord": Source(
        "keras_frcnn.data.sources.records.tfrecord", "tfrecord:GLOB", "record files of the TF detection tools"
    ),
    "tfds": Source(
        "keras_frcnn.data.sources.records.tfds_set",
        "tfds:NAME[/CONFIG][:VERSION]",
        "a TensorFlow data set",
        ("tfds_dir", "allow_download"),
    ),
    "synthetic": Source("keras_frcnn.data.sources.synthetic.drawn", "synthetic[:SEED]", "drawn scenes"),
}
DATA_HELP = " or ".join(f"{source.usage} ({source.help})" for source in SOURCES.values())
