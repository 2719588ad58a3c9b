"""`folder:PATH`: image files, in a folder for each class."""

import hashlib
import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mlpvis_jax.data.decoding import Decoding
from mlpvis_jax.data.examples import (
    Example,
    Examples,
    Source,
    copies_of_files,
    fingerprint_of,
    mark_of,
)
from mlpvis_jax.data.framing import Frame
from mlpvis_jax.data.images import EXTENSIONS, NOT_DECODED
from mlpvis_jax.errors import InputError

_VALIDATION = ("validation", "val")
_SPLITS = ("train", "test", *_VALIDATION)
# What people call the folders of splits besides; none of them is likely to be a class.
_NEARLY_SPLITS = ("training", "testing", "valid", *_SPLITS)
# Of the images that come without a split of their own, about one in five is for testing.
_ONE_IN = 5


class _File(NamedTuple):
    relative: str  # to the folder of the source, with forward slashes everywhere
    label: int
    size: int  # bytes
    modified: int  # nanoseconds


class FolderExamples(Examples):
    """Image files, each read and decoded when asked for: uint8 [size, size, 3]."""

    decode_in_threads = True
    labels: np.ndarray
    frame: Frame

    def __init__(self, root: Path, files: list[_File], decoding: Decoding):
        self._root = str(root)
        # Processes that decode are sent these paths: a word each, and no more.
        self._relative = [file.relative for file in files]
        self._sizes = np.array([file.size for file in files], np.int64)
        self._decoding = decoding
        self.frame = decoding.frame
        self.labels = np.array([file.label for file in files], np.int32)

    def __len__(self) -> int:
        return len(self._relative)

    def __getitem__(self, index: int) -> Example:
        return self.framed(index, self.frame)

    def framed(self, index: int, frame: Frame) -> Example:
        name, encoded = str(Path(self._root, self._relative[index])), self._encoded(index)
        return Example(self._decoding.decode(encoded, name, frame), int(self.labels[index]))

    def _encoded(self, index: int) -> bytes:
        path = Path(self._root, self._relative[index])
        try:
            return path.read_bytes()
        except OSError as error:
            raise InputError(
                f"{path} cannot be read ({error.strerror}); replace it or take it out."
            ) from error

    def names(self) -> Sequence[str]:
        """Lists the path of each image below the folder of the source."""
        return self._relative

    def marks(self) -> np.ndarray:
        """Marks each image by its path below the folder of the source, and its number of bytes."""
        marks = map(mark_of, self._relative, self._sizes.tolist())
        return np.fromiter(marks, np.uint64, len(self))

    def copies(self) -> np.ndarray:
        """Tells copies by the bytes of the files."""
        return copies_of_files(self._sizes, self.labels, self._encoded)


def open_folder(name: str, path: Path, decoding: Decoding) -> Source:
    """Opens image files (PNG, JPEG, WebP, GIF, BMP) that lie in a folder named after their class.

    The class folders are in PATH/train and PATH/test, and those of images that validate in
    PATH/validation or PATH/val; or they are directly in PATH. In the second case an image is for
    testing where the SHA-256 of its path below PATH (with forward slashes), read as a number, is
    divisible by 5: about one in five, and always the same ones, whatever is added or taken out
    beside them.

    Images may have any size and mode; each is turned upright, converted to RGB and brought to one
    size as `decoding` says; of an animation the first picture is taken. Class folders may have
    folders in them. Hidden files and folders are ignored, and so are files that are no images.
    Classes and files are in the order of their names.

    Raises InputError if there is no such folder, if it has no class folders, for a class
    without images, for one without images to train on, for folders of splits whose names are only
    nearly right, for images of other kinds, and for links that lead nowhere.
    """
    try:
        if path.is_dir():
            return _open(name, path, decoding)
        what = f"{path} is not a folder" if path.exists() else f"There is no folder {path}"
    except OSError as error:
        raise InputError(f"{error.filename or path} cannot be read: {error.strerror}.") from error
    raise InputError(f"{what}; folder:PATH takes the path of a folder.")


def _open(name: str, path: Path, decoding: Decoding) -> Source:
    found = _split_folders(path)
    validation: list[_File] = []
    folders = tuple(path / name for name in found.values()) or (path,)
    if found:
        class_names, train = _list_files(path, path / "train")
        test = _list_files_of(class_names, path, path / "test")
        if "validation" in found:
            validation = _list_files_of(class_names, path, path / found["validation"])
    else:
        found = {"train": "4 in 5 by hash", "test": "1 in 5 by hash"}
        class_names, files = _list_files(path, path)
        train = [file for file in files if not _is_for_testing(file.relative)]
        test = [file for file in files if _is_for_testing(file.relative)]
        labels_to_train_on = {file.label for file in train}
        for label, class_name in enumerate(class_names):
            if label not in labels_to_train_on:
                raise InputError(
                    f"{path / class_name} has so few images that the split by hash leaves none "
                    "to train on; add some, or split into train and test folders yourself."
                )
    on_disk = (
        "folder",
        str(path.resolve()),
        [(file.relative, file.size, file.modified) for file in (*train, *validation, *test)],
    )
    return Source(
        name=name,
        class_names=class_names,
        image_shape=(decoding.size, decoding.size, 3),
        train=FolderExamples(path, train, decoding),
        test=FolderExamples(path, test, decoding.exact),
        validation=FolderExamples(path, validation, decoding.exact) if validation else None,
        split_names=found,
        folders=folders,
        fingerprint=fingerprint_of(*on_disk, decoding.size, *decoding.mark),
        files_fingerprint=fingerprint_of(*on_disk),
    )


def _split_folders(path: Path) -> dict[str, str]:
    """The folders of the splits by what they are for; none where `path` holds class folders."""
    names = {child.name for child in _visible_folders(path)}
    for child in sorted(names - set(_SPLITS)):
        if child.lower() in _NEARLY_SPLITS:
            raise InputError(
                f"{path / child} is no class, as it seems; name the folders of the splits train, "
                "test and validation (or val), in small letters."
            )
    found = [split for split in _SPLITS if split in names]
    absent = [split for split in ("train", "test") if split not in names]
    if found and absent:
        raise InputError(
            f"{path} has a folder {found[0]!r} but no folder {absent[0]!r}; give both, or put the "
            "class folders directly into it."
        )
    if found[2:] == list(_VALIDATION):
        raise InputError(f"{path} has a folder 'validation' and a folder 'val'; take one out.")
    return dict(zip(("train", "test", "validation"), found, strict=False))


def _visible_folders(path: Path) -> list[Path]:
    children = sorted(child for child in path.iterdir() if not child.name.startswith("."))
    for child in children:
        if child.is_symlink():
            _status(child)  # a link that leads nowhere might be to a class
    return [child for child in children if child.is_dir()]


def _list_files(root: Path, parent: Path) -> tuple[tuple[str, ...], list[_File]]:
    """The classes in `parent`, sorted, and their image files in the order of their paths."""
    class_folders = _visible_folders(parent)
    if not class_folders:
        raise InputError(f"{parent} has no folders; it needs one for each class of images.")
    files = []
    for label, class_folder in enumerate(class_folders):
        paths = _images_below(class_folder)
        if not paths:
            raise InputError(
                f"{class_folder} has no images ({', '.join(EXTENSIONS)}); every class "
                "folder needs some."
            )
        for path in paths:
            status = _status(path)
            if not stat.S_ISREG(status.st_mode):
                raise InputError(f"{path} is not a file, but a pipe or a device; take it out.")
            relative = path.relative_to(root).as_posix()
            files.append(_File(relative, label, status.st_size, status.st_mtime_ns))
    return tuple(class_folder.name for class_folder in class_folders), files


def _list_files_of(class_names: Sequence[str], root: Path, parent: Path) -> list[_File]:
    """The image files in `parent`, which may lack some of the classes, with these labels."""
    label_of = {class_name: label for label, class_name in enumerate(class_names)}
    names, files = _list_files(root, parent)
    for name in names:
        if name not in label_of:
            raise InputError(
                f"{parent / name}: the class {name!r} is not in {root / 'train'}; a class to test "
                "must be there to train on."
            )
    return [file._replace(label=label_of[names[file.label]]) for file in files]


def _status(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError as error:
        kind = "a link that cannot be followed" if path.is_symlink() else "a file"
        raise InputError(
            f"{path} is {kind} ({error.strerror}); replace it or take it out."
        ) from error


def _images_below(class_folder: Path) -> list[Path]:
    images = []

    def fail(error: OSError) -> None:
        raise error

    for folder, folder_names, file_names in os.walk(class_folder, onerror=fail):
        folder_names[:] = _visible(folder_names)
        for child in folder_names:
            if Path(folder, child).is_symlink():  # one that leads to a folder above has no end
                raise InputError(
                    f"{Path(folder, child)} is a link to a folder, which is not followed; take it "
                    "out, or make links to the images."
                )
        for file_name in _visible(file_names):
            if file_name.lower().endswith(EXTENSIONS):
                images.append(Path(folder, file_name))
            elif file_name.lower().endswith(NOT_DECODED):
                raise InputError(
                    f"{Path(folder, file_name)} is of a kind of images that is not decoded "
                    f"({', '.join(EXTENSIONS)} are); convert it or take it out."
                )
    return sorted(images)


def _visible(names: Iterable[str]) -> list[str]:
    return [name for name in names if not name.startswith(".")]


def _is_for_testing(relative: str) -> bool:
    digest = hashlib.sha256(os.fsencode(relative)).digest()
    return int.from_bytes(digest) % _ONE_IN == 0
