"""Fuzzes one target with libFuzzer, through atheris, which looks for inputs that reach new code.

    python tests/fuzz/one.py "VOC XML" FOLDER [flags of libFuzzer, such as -runs=1000]

A reader may raise the errors of bad input, in one line.  Everything else stops the fuzzer: it prints the traceback and
leaves the input in the current folder, as crash-*, timeout-* or oom-*.
"""

import os
import pathlib
import sys
import tempfile
import warnings

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import atheris

with atheris.instrument_imports(include=["keras_frcnn", "training", "export"]):
    from targets import EXPECTED, make_targets


def main() -> None:
    name, folder, *flags = sys.argv[1:]
    target = make_targets()[name]
    corpus, place = pathlib.Path(folder, "corpus"), pathlib.Path(folder, "files")
    corpus.mkdir(parents=True, exist_ok=True)
    place.mkdir(exist_ok=True)
    for number, content in enumerate(target.seeds):
        (corpus / f"seed{number}").write_bytes(content)
    os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(dir=folder)
    warnings.simplefilter("ignore")  # Pillow warns about odd pictures
    read, path = target.prepare(place), place / target.file

    def one_input(content: bytes) -> None:
        path.write_bytes(target.wrap(content))
        try:
            read(path)
        except EXPECTED as error:
            assert "\n" not in str(error), f"more than one line: {error!r}"

    for content in target.seeds:  # before libFuzzer measures: what is imported and traced at the first use
        one_input(content)
    if target.readable:
        path.write_bytes(target.wrap(target.seeds[0]))
        read(path)
    atheris.Setup([sys.argv[0], *flags, str(corpus)], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
