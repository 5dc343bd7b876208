"""PASCAL VOC trees: image sets, annotations and pictures.

A VOC tree holds `Annotations/ID.xml`, `JPEGImages/ID.jpg` and `ImageSets/Main/IMAGESET.txt`, either directly or in one
folder for each year (`VOC2007`, `VOC2012`).

Source: the PASCAL VOC development kits of 2007 and 2012.
"""

from pathlib import Path, PurePosixPath

from keras_frcnn.data.sources.annotations import AnnotatedPicture, Problems, SourcePictures
from keras_frcnn.data.sources.spec import Request
from keras_frcnn.data.sources.voc_xml import read_annotation
from keras_frcnn.facts.errors import InputError

OTHER_PICTURE = "the <filename> in the XML and the XML's own name point to different pictures: <filename> used"

_FOLDERS = ("Annotations", "JPEGImages", "ImageSets/Main")
_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG")


def read(request: Request, problems: Problems) -> SourcePictures:
    """Read one split of `voc:PATH`.

    A split is `IMAGESET` or `YEARDIR/IMAGESET`.  Several joined with `+` are read in order, e.g.
    `VOC2007/trainval+VOC2012/trainval`.  The identifier of a picture is `ID` or `YEARDIR/ID` accordingly.  The classes
    are not declared; the sorted names of all objects of PASCAL VOC are the official order of its twenty classes.

    Raises:
      InputError: there is no PATH; or the tree, an image set, an annotation or a picture is missing or invalid.
    """
    if not request.argument:
        raise InputError("--data voc", "the path of the VOC tree is missing", "use voc:PATH")
    return read_tree(Path(request.argument).expanduser(), request.split, problems)


def read_tree(root: Path, split: str, problems: Problems) -> SourcePictures:
    """Read one split of the VOC tree in the folder `root`; see `read`."""
    pictures = []
    for image_id, tree, name in _list_images(root, split):
        with problems.skipping():
            pictures.append(_read_picture(image_id, tree, name, problems))
    return SourcePictures(tuple(pictures))


def splits(request: Request) -> tuple[str, ...]:
    """The image sets of the tree, as `IMAGESET` or `YEARDIR/IMAGESET`, sorted."""
    root = Path(request.argument or "").expanduser()
    files = sorted([*root.glob("ImageSets/Main/*.txt"), *root.glob("*/ImageSets/Main/*.txt")])
    years = (file.parents[2].relative_to(root).as_posix() for file in files)
    return tuple(file.stem if year == "." else f"{year}/{file.stem}" for file, year in zip(files, years, strict=True))


def _read_picture(image_id: str, tree: Path, name: str, problems: Problems) -> AnnotatedPicture:
    """Read the annotation of one picture, and find its file."""
    file = tree / "Annotations" / f"{name}.xml"
    annotation = read_annotation(file)
    image_path = _find_image(tree, file, annotation.filename, problems)
    return AnnotatedPicture(image_id, image_path, str(file), annotation.size, annotation.objects)


def _find_image(tree: Path, file: Path, filename: str, problems: Problems) -> Path:
    """The picture that the XML's `filename` names, or else the picture with the XML's own name."""
    folder = tree / "JPEGImages"
    # Only the last part of the path counts: some tools write a whole path of another machine, and no path may lead out
    # of the tree.
    stated = PurePosixPath(filename.replace("\\", "/")).name
    stated_path = folder / stated if stated and (folder / stated).is_file() else None
    own_path = next((path for suffix in _IMAGE_SUFFIXES if (path := folder / f"{file.stem}{suffix}").is_file()), None)
    found = stated_path or own_path
    if found is None:
        wanted = f"{file.stem}.jpg" if stated in ("", f"{file.stem}.jpg") else f"{stated} or {file.stem}.jpg"
        raise InputError(f"{file}, filename", f"picture not found: {folder}/{wanted}", "add the picture")
    # People copy an annotation to another picture and forget to change `filename`.  Nothing else reveals this fault.
    if stated_path is not None and own_path is not None and stated_path.stem != file.stem:
        problems.repaired(OTHER_PICTURE, str(file), "filename", f"write {own_path.name} or rename the XML")
    return found


# The tree and its image sets.


def _list_images(root: Path, split: str) -> list[tuple[str, Path, str]]:
    """The pictures of the split in order: (identifier, folder that holds Annotations and JPEGImages, file stem)."""
    listed: list[tuple[str, Path, str]] = []
    seen: dict[str, str] = {}  # identifier -> file and line
    for term in split.split("+"):
        year, image_set = _parse_term(split, term)
        tree = _find_tree(root, year)
        file = tree / "ImageSets" / "Main" / f"{image_set}.txt"
        for line_number, name in _read_image_set(file):
            image_id = f"{year}/{name}" if year else name
            where = f"{file}, line {line_number}"
            if image_id in seen:
                problem = f"picture {image_id} is already listed in {seen[image_id]}"
                raise InputError(where, problem, "list each picture once in a split")
            seen[image_id] = where
            listed.append((image_id, tree, name))
    return listed


def _parse_term(split: str, term: str) -> tuple[str, str]:
    """Split `[YEARDIR/]IMAGESET` into (YEARDIR or "", IMAGESET)."""
    parts = term.strip().split("/")
    if len(parts) > 2 or any(part in ("", ".", "..") for part in parts):
        fix = "use IMAGESET or YEARDIR/IMAGESET, and join several with +"
        raise InputError(f"split {split!r}", f"{term!r} is not the name of an image set", fix)
    return (parts[0], parts[1]) if len(parts) == 2 else ("", parts[0])


def _find_tree(root: Path, year: str) -> Path:
    """The folder that holds the three folders of VOC: `root` itself, or the folder of a year in it."""
    tree = root / year
    if _is_tree(tree):
        return tree
    if not root.is_dir():
        raise InputError(root, "folder not found", "use the folder of a VOC tree")
    years = sorted(path.name for path in root.iterdir() if _is_tree(path))
    if years:
        fix = f"write the split as YEARDIR/IMAGESET, where YEARDIR is one of: {', '.join(years)}"
    elif year and _is_tree(root):
        fix = "this tree has no folders for years, so write the split as IMAGESET alone"
    else:
        fix = f"use a folder that holds {', '.join(_FOLDERS)}, or one that holds such a folder for each year"
    raise InputError(tree, "not a VOC tree", fix)


def _is_tree(path: Path) -> bool:
    return all((path / folder).is_dir() for folder in _FOLDERS)


def _read_image_set(file: Path) -> list[tuple[int, str]]:
    """The picture names in an image-set file, with their line numbers.

    Only the first column is read.  The image sets of single classes have a second one (1, 0 or -1 for that class).
    """
    if not file.is_file():
        others = ", ".join(sorted(path.stem for path in file.parent.glob("*.txt"))) or "none"
        raise InputError(file, "image set not found", f"use one of the image sets of this folder: {others}")
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(file, f"cannot be read ({error})", "save it as UTF-8 text with one picture per line") from None
    names = [(number, line.split()[0]) for number, line in enumerate(lines, start=1) if line.strip()]
    if not names:
        raise InputError(file, "the image set is empty", "list one picture per line, or use another image set")
    for number, name in names:
        if "/" in name or "\\" in name or name in (".", ".."):  # a path could lead out of the tree
            fix = "write only the name of the picture, without folder and suffix"
            raise InputError(f"{file}, line {number}", f"{name!r} is a path", fix)
    return names
