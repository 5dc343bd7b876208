"""Run the doctor: load the splits, examine them, print and write the findings."""

import argparse
from pathlib import Path

from tqdm import tqdm

from keras_frcnn.data.doctor.examine import examine
from keras_frcnn.data.doctor.findings import has_errors, in_order
from keras_frcnn.data.doctor.report import as_json, as_text
from keras_frcnn.data.doctor.splits import load_splits
from keras_frcnn.data.sources.spec import DataSpec
from keras_frcnn.facts.config import DetectorConfig
from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.files import make_writable, refuse_folder, write_json

PAGE = "data-doctor.html"


def run_doctor(spec: DataSpec, config: DetectorConfig, options: argparse.Namespace) -> int:
    """Examine a data set; `options` is the command line of `keras_frcnn.data.validate`.

    Returns:
      The exit status: 1 if there are errors, else 0.

    Raises:
      InputError: the data cannot be read, or a file cannot be written.
    """
    fix = "use a folder that you can write to"
    if options.json:
        refuse_folder(options.json, "give the name of a file with --json")
        make_writable(Path(options.json).parent, f"--json {options.json}", fix)
    if options.out:
        make_writable(options.out, f"--out {options.out}", fix)
    datasets, found = load_splits(spec, options.split, config.image.exif)
    examination = examine(
        datasets, config, options.jobs,
        lambda pictures, count: tqdm(pictures, "pictures", count, unit="", leave=False, disable=options.quiet or None),
    )  # fmt: skip
    examination = examination._replace(findings=tuple(in_order([*found, *examination.findings])))
    print(as_text(examination))
    try:
        if options.json:
            write_json(options.json, as_json(spec.data, examination))
        if options.out:
            from keras_frcnn.data.doctor.page.page import write_doctor_page  # needs Jinja2 and Matplotlib

            path = Path(options.out) / PAGE
            write_doctor_page(path, spec.data, examination)
            print(f"Page: {path}")
    except OSError as error:
        where = error.filename or options.out or options.json
        raise InputError(where, f"cannot be written ({error.strerror})", fix) from error
    return 1 if has_errors(examination.findings) else 0
