"""PASCAL VOC annotations: trees with image sets, and pictures with XML files in folders of any names.

`image_sets.py` and `folders.py` list the annotation files of a split; this module reads them.
"""

from pathlib import Path

from keras_frcnn.data.sources.shared.annotations import AnnotatedPicture, Problems, SourcePictures
from keras_frcnn.data.sources.spec import Request
from keras_frcnn.data.sources.voc.folders import Listed, folder_splits, list_folders
from keras_frcnn.data.sources.voc.image_sets import has_image_sets, list_sets, set_splits
from keras_frcnn.data.sources.voc.pictures import find_picture
from keras_frcnn.data.sources.voc.xml import read_annotation
from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.files import user_path


def read(request: Request, problems: Problems) -> SourcePictures:
    """Read one split of `voc:PATH`.

    In a tree with image sets, a split is `IMAGESET` or `YEARDIR/IMAGESET`, and the identifier of a picture is `ID` or
    `YEARDIR/ID` accordingly.  In folders without image sets, a split is the name of a folder, see `folders.py`.
    Several splits joined with `+` are read in order, e.g. `VOC2007/trainval+VOC2012/trainval`.

    The classes are not declared; the sorted names of all objects of PASCAL VOC are the official order of its twenty
    classes.

    Raises:
      InputError: there is no PATH; or the folder, the split, an annotation or a picture is missing or invalid.
    """
    return read_tree(_root(request), request.split, problems, _images_root(request))


def read_tree(root: Path, split: str, problems: Problems, images_root: Path | None = None) -> SourcePictures:
    """Read one split of the folder `root`; see `read`.  The pictures are below `images_root`, if it is given."""
    listing = (list_sets if has_image_sets(root) else list_folders)(root, split, images_root)
    pictures = []
    for one in listing.pictures:
        with problems.skipping():
            pictures.append(_read_picture(one, problems))
    used = {picture.image_path for picture in pictures}
    for kind, file in listing.left_out:
        if file not in used:
            problems.count(kind, str(file))
    return SourcePictures(tuple(pictures))


def splits(request: Request) -> tuple[str, ...]:
    """The image sets of the tree without those of single classes, or else the folders that divide the pictures.

    Raises:
      InputError: as in `read`.
    """
    root = _root(request)
    return set_splits(root) if has_image_sets(root) else folder_splits(root, _images_root(request))


def _root(request: Request) -> Path:
    if not request.argument:
        raise InputError("--data voc", "the path of the VOC tree is missing", "use voc:PATH")
    return user_path(request.argument)


def _images_root(request: Request) -> Path | None:
    if request.images_root is None:
        return None
    folder = user_path(request.images_root)
    if not folder.is_dir():
        raise InputError(f"--images-root {folder}", "folder not found", "use the folder of the pictures")
    return folder


def _read_picture(one: Listed, problems: Problems) -> AnnotatedPicture:
    """Read an annotation, and find its picture."""
    annotation = read_annotation(one.file)
    image_path = find_picture(one.file, one.near, annotation.filename, one.files, problems)
    return AnnotatedPicture(one.image_id, image_path, str(one.file), annotation.size, annotation.objects)
