"""VOC trees with image sets: `Annotations`, `JPEGImages` and `ImageSets/Main`, flat or in a folder for each year.

Source: the PASCAL VOC development kits of 2007 and 2012.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from keras_frcnn.data.sources.spec import ALL
from keras_frcnn.data.sources.voc.folders import NO_XML, Listed, Listing
from keras_frcnn.data.sources.voc.pictures import FileIndex, walk
from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.files import read_text

UNLISTED = "XML is in no image set: left out"

_FLAGS = ("1", "0", "-1")  # second column of the image sets of single classes


def has_image_sets(root: Path) -> bool:
    """Whether the folder, or a folder in it, is a VOC tree with image sets.

    Raises:
      InputError: the folder does not exist, or it has image sets that cannot be used.
    """
    if not root.is_dir():
        raise InputError(root, "folder not found", "use the folder of a VOC tree")
    if _trees(root):
        return True
    for folder in (root, *sorted(path for path in root.iterdir() if path.is_dir())):
        if next((folder / "ImageSets").rglob("[!.]*.txt"), None) is not None:
            problem = "not a VOC tree: it has image sets, but not both Annotations and ImageSets/Main"
            fix = (
                "rename the folder of the XML files to Annotations and move the image sets to ImageSets/Main, or "
                "remove ImageSets to read all pictures"
            )
            raise InputError(folder, problem, fix)
    return False


def list_sets(root: Path, split: str, images_root: Path | None) -> Listing:
    """The pictures of a split in order; the split `all` has those of all image sets.

    Raises:
      InputError: an image set is missing or invalid, or lists a picture twice.
    """
    if split.strip() == ALL:
        return _list_all(root, images_root)
    listed: list[Listed] = []
    seen: dict[str, str] = {}  # identifier -> file and line
    indexes: dict[str, FileIndex] = {}
    for term in split.split("+"):
        year, image_set = _parse_term(split, term)
        tree = _find_tree(root, year)
        file = _sets_folder(tree) / f"{image_set}.txt"
        for line_number, name in _read_image_set(file):
            one = _listed(year, tree, name, indexes, images_root)
            where = f"{file}, line {line_number}"
            if one.image_id in seen:
                problem = f"picture {one.image_id} is already listed in {seen[one.image_id]}"
                raise InputError(where, problem, "list each picture once in a split")
            seen[one.image_id] = where
            listed.append(one)
    return Listing(listed, [])


def set_splits(root: Path) -> tuple[str, ...]:
    """The image sets, as `IMAGESET` or `YEARDIR/IMAGESET`, sorted.

    The image sets of single classes are left out, and so are those that only join others, such as `trainval`.
    """
    names = []
    for year, tree in _trees(root).items():
        members = {file.stem: {name for _, name in _names(file)} for file in _general_sets(tree)}
        for name, pictures in members.items():
            parts = [other for other in members.values() if other and other < pictures]
            if not parts or set().union(*parts) != pictures:
                names.append(f"{year}/{name}" if year else name)
    return tuple(names)


def _list_all(root: Path, images_root: Path | None) -> Listing:
    """The pictures of all image sets of all years, each once.

    A picture without XML, or without a line in an image set, is left out.
    """
    listed: list[Listed] = []
    left_out: list[tuple[str, Path]] = []
    indexes: dict[str, FileIndex] = {}
    for year, tree in _trees(root).items():
        names = dict.fromkeys(
            name for file in _general_sets(tree) for _, name in _read_image_set(file, may_be_empty=True)
        )
        annotated = {path.stem for path in (tree / "Annotations").glob("*.xml")}
        for name in names:
            one = _listed(year, tree, name, indexes, images_root)
            if name in annotated:
                listed.append(one)
            else:
                left_out.append((NO_XML, one.file))
        left_out += [(UNLISTED, tree / "Annotations" / f"{name}.xml") for name in sorted(annotated - names.keys())]
    return Listing(listed, left_out)


def _listed(year: str, tree: Path, name: str, indexes: dict[str, FileIndex], images_root: Path | None) -> Listed:
    """One picture of a tree; the files of each tree are indexed once."""
    if year not in indexes:
        folder = tree / "JPEGImages"
        if images_root is not None:
            indexes[year] = FileIndex(images_root, walk(images_root))
        elif folder.is_dir():
            indexes[year] = FileIndex(folder, [((), sorted(path.name for path in folder.iterdir()))])
        else:
            indexes[year] = FileIndex(tree, walk(tree))
    image_id = f"{year}/{name}" if year else name
    return Listed(image_id, tree / "Annotations" / f"{name}.xml", (year,) if year else (), indexes[year])


def _parse_term(split: str, term: str) -> tuple[str, str]:
    """Split `[YEARDIR/]IMAGESET` into (YEARDIR or "", IMAGESET)."""
    parts = term.strip().split("/")
    if len(parts) > 2 or any(part in ("", ".", "..") for part in parts):
        fix = "use IMAGESET or YEARDIR/IMAGESET, and join several with +"
        raise InputError(f"split {split!r}", f"{term!r} is not the name of an image set", fix)
    return (parts[0], parts[1]) if len(parts) == 2 else ("", parts[0])


def _find_tree(root: Path, year: str) -> Path:
    """The folder that holds the folders of VOC: `root` itself, or the folder of a year in it."""
    tree = root / year
    if _is_tree(tree):
        return tree
    if year and _is_tree(root):
        fix = "this tree has no folders for years, so write the split as IMAGESET alone"
    else:
        fix = f"write the split as YEARDIR/IMAGESET, where YEARDIR is one of: {', '.join(_trees(root))}"
    raise InputError(tree, "not a VOC tree", fix)


def _trees(root: Path) -> dict[str, Path]:
    """Year -> VOC tree, sorted; the year of a flat tree is empty."""
    if _is_tree(root):
        return {"": root}
    return {path.name: path for path in sorted(root.iterdir()) if _is_tree(path)}


def _is_tree(path: Path) -> bool:
    return (path / "Annotations").is_dir() and any(_sets_folder(path).glob("[!.]*.txt"))


def _sets_folder(tree: Path) -> Path:
    return tree / "ImageSets" / "Main"


def _general_sets(tree: Path) -> list[Path]:
    """The image sets that are not of a single class, sorted."""
    files = {file.stem: file for file in sorted(_sets_folder(tree).glob("[!.]*.txt"))}
    return [file for stem, file in files.items() if not _is_of_class(stem, file, files)]


def _is_of_class(stem: str, file: Path, files: Mapping[str, Path]) -> bool:
    """Whether an image set is of a single class, as `aeroplane_train` beside `train` is: its lines end with a flag."""
    _, separator, base = stem.rpartition("_")
    return bool(separator) and base in files and _has_flag(next(iter(_lines(file)), (0, ""))[1])


def _has_flag(line: str) -> bool:
    columns = line.rsplit(maxsplit=1)
    return len(columns) == 2 and columns[1] in _FLAGS


def _read_image_set(file: Path, may_be_empty: bool = False) -> list[tuple[int, str]]:
    """The picture names in an image-set file, with their line numbers."""
    if not file.is_file():
        others = ", ".join(sorted(path.stem for path in file.parent.glob("[!.]*.txt"))) or "none"
        raise InputError(file, "image set not found", f"use one of the image sets of this folder: {others}")
    names = _names(file)
    if not names and not may_be_empty:
        raise InputError(file, "the image set is empty", "list one picture per line, or use another image set")
    for number, name in names:
        if "/" in name or "\\" in name or name in (".", ".."):  # a path could lead out of the tree
            fix = "write only the name of the picture, without folder and suffix"
            raise InputError(f"{file}, line {number}", f"{name!r} is a path", fix)
    return names


def _names(file: Path) -> list[tuple[int, str]]:
    """The names in an image-set file, with their line numbers.

    A name may contain spaces.  The image sets of single classes have a second column, which is 1, 0 or -1; it is part
    of the name only if there is an annotation of this name.
    """
    annotations = file.parents[2] / "Annotations"
    return [
        (
            number,
            line.rsplit(maxsplit=1)[0] if _has_flag(line) and not (annotations / f"{line}.xml").is_file() else line,
        )
        for number, line in _lines(file)
    ]


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    """The lines of a file that are not blank, with their numbers."""
    try:
        lines = read_text(file).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(file, f"cannot be read ({error})", "save it as UTF-8 text with one picture per line") from None
    return ((number, line.strip()) for number, line in enumerate(lines, start=1) if line.strip())
