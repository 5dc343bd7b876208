"""Rename, merge or drop classes by a small JSON file: {"old name": "new name", "unwanted": null}."""

from collections.abc import Mapping, Sequence

from keras_frcnn.data.sources.shared.annotations import AnnotatedPicture, Problems
from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.files import parse_json, read_text

DROPPED = "class is mapped to null in the class map: object dropped"
UNUSED = "class of the class map is not in the data: entry not used"

ClassMap = Mapping[str, str | None]  # old name -> new name, or None to drop the objects


def read_class_map(path: str) -> dict[str, str | None]:
    """Read the file of `--class-map`.

    Raises:
      InputError: the file cannot be read, is not a JSON object, names a class twice, or a new name is not a non-empty
        string or null.
    """
    where = f"--class-map {path}"
    try:
        pairs = parse_json(read_text(path), pairs=tuple)  # not a dict, to see a class that is named twice
    except OSError as error:
        raise InputError(where, f"cannot be read ({error.strerror})", "give a JSON file") from None
    except ValueError as error:
        raise InputError(where, f"is not JSON ({error})", "correct the file") from None
    if not isinstance(pairs, tuple):
        raise InputError(where, "is not a JSON object", 'write {"old name": "new name", ...}')
    renamed: dict[str, str | None] = {}
    for old, new in pairs:
        if old in renamed:
            raise InputError(f"{where}, {old!r}", "the class occurs twice", "name each old class once")
        if new is not None and not (isinstance(new, str) and new.strip()):
            raise InputError(f"{where}, {old!r}", f"{new!r} is not a class name", "write a name, or null to drop")
        renamed[old] = None if new is None else new.strip()
    return renamed


def map_classes(
    pictures: Sequence[AnnotatedPicture], names: Sequence[str] | None, renamed: ClassMap, problems: Problems
) -> tuple[AnnotatedPicture, ...]:
    """The pictures with the new names; a class that is not in the map keeps its name.

    Counts dropped objects, and entries of the map that fit no class.

    Args:
      pictures: with the old names.
      names: the old names that the data declares, or None.
      renamed: the map.
      problems: gets the counts.
    """
    present = {one.class_name for picture in pictures for one in picture.objects}.union(names or ())
    for old in renamed:
        if old not in present:
            problems.count(UNUSED, repr(old))

    def mapped(picture: AnnotatedPicture) -> AnnotatedPicture:
        objects = []
        for one in picture.objects:
            new = renamed.get(one.class_name, one.class_name)
            if new is None:
                problems.count(DROPPED, picture.where)
            else:
                objects.append(one._replace(class_name=new))
        return picture._replace(objects=tuple(objects))

    return tuple(mapped(picture) for picture in pictures)


def map_names(names: Sequence[str], renamed: ClassMap) -> tuple[str, ...]:
    """The names after renaming, each once, without the dropped ones."""
    new = (renamed.get(name, name) for name in names)
    return tuple(dict.fromkeys(name for name in new if name is not None))
