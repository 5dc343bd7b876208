"""Which record files a `tfrecord:GLOB` names, and the split of each."""

import re
from pathlib import Path

from keras_frcnn.data.sources.spec import Request
from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.files import user_path

_SUFFIX = r"[.\-_](?:tfrecords?|tf_records?|records?)"
# train-00000-of-00003.tfrecord, train.record-00000-of-00003, train.tfrecord
_NAME = re.compile(
    rf"^(?P<split>.+?)(?:{_SUFFIX})?(?:-(?P<shard>\d+)-of-(?P<count>\d+))?(?:{_SUFFIX})?$", re.IGNORECASE
)
_IS_RECORD = re.compile(rf"{_SUFFIX}(?:-\d+-of-\d+)?$", re.IGNORECASE)
_PLACEHOLDER = "{split}"


def record_files(request: Request) -> dict[str, tuple[Path, ...]]:
    """The record files of each split, sorted.

    The argument of the request is one of these:

    - a folder: its record files, and those of its subfolders.  The split is the name of the subfolder, or the name of
      the file without the number of the shard and the suffix: `train-00000-of-00003.tfrecord` belongs to `train`;
    - a file or a pattern with `*` and `?`: the files that match; the split is found in the name of the file as above;
    - a pattern with `{split}`, e.g. `records/{split}_*.record`: the split is the text in its place.

    Raises:
      InputError: there is no such file, or a shard is missing.
    """
    if not request.argument:
        raise InputError("--data tfrecord", "the path is missing", "use tfrecord:GLOB or tfrecord:FOLDER")
    pattern = user_path(request.argument)
    if pattern.is_dir():
        inside = (file for glob in ("[!.]*", "*/[!.]*") for file in pattern.glob(glob))  # macOS leaves copies ._NAME
        files = [file for file in inside if _IS_RECORD.search(file.name) and file.is_file()]
        named = [(_split_of(file) if file.parent == pattern else file.parent.name, file) for file in files]
    elif _PLACEHOLDER in str(pattern):
        named = _by_placeholder(str(pattern))
    else:
        named = [(_split_of(file), file) for file in _glob(str(pattern))]
    splits: dict[str, list[Path]] = {}
    for split, file in sorted(named):
        splits.setdefault(split, []).append(file)
    if not splits:
        raise InputError(request.where, "no record file matches", "give a folder, or a pattern like data/*.tfrecord")
    for files_of_split in splits.values():
        _check_shards(files_of_split)
    return {split: tuple(of_split) for split, of_split in splits.items()}


def _split_of(file: Path) -> str:
    """The split in the name of a file."""
    match = _NAME.match(file.name)
    return match["split"] if match else file.name


def _glob(pattern: str) -> list[Path]:
    """The files that match a pattern, or the file whose name is exactly the pattern."""
    path = Path(pattern)
    if path.is_file():
        return [path]
    try:
        found = list(Path(path.anchor or ".").glob(str(path.relative_to(path.anchor))))
    except (ValueError, NotImplementedError) as error:
        raise InputError(f"--data tfrecord:{pattern}", f"is not a pattern ({error})", "correct it") from error
    return [file for file in found if file.is_file()]


def _by_placeholder(pattern: str) -> list[tuple[str, Path]]:
    """(split, file) of each file that matches the pattern with any word for `{split}`."""
    parts = [".*" if part == "*" else "." if part == "?" else re.escape(part) for part in re.split(r"([*?])", pattern)]
    expression = "".join(parts).replace(re.escape(_PLACEHOLDER), r"(?P<split>[^/]+?)", 1)
    expression = expression.replace(re.escape(_PLACEHOLDER), "(?P=split)")
    found = ((re.fullmatch(expression, str(file)), file) for file in _glob(pattern.replace(_PLACEHOLDER, "*")))
    return [(match["split"], file) for match, file in found if match]


def _check_shards(files: list[Path]) -> None:
    """Raise InputError if the names of the shards state a larger number of shards."""
    shards: dict[tuple[str, int], set[int]] = {}
    for file in files:
        match = _NAME.match(file.name)
        if match and match["count"]:
            pattern = file.parent / file.name.replace(f"-{match['shard']}-of-", "-*-of-")
            shards.setdefault((str(pattern), int(match["count"])), set()).add(int(match["shard"]))
    for (pattern_of_shards, count), numbers in shards.items():
        missing = count - len([number for number in numbers if number < count])
        if missing:
            first = next(number for number in range(count) if number not in numbers)
            problem = f"{missing} of {count} shards are missing, the first is number {first}"
            raise InputError(pattern_of_shards, problem, "add the files, or match all of them")
