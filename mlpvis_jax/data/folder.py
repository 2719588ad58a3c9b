"""`folder:PATH`: image files, in a folder for each class."""

import hashlib
import os
from pathlib import Path
from typing import NamedTuple

from mlpvis_jax.data.examples import Example, Examples, Source, fingerprint_of
from mlpvis_jax.data.images import decode_image
from mlpvis_jax.errors import InputError

_EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp")
# Of the images that come without a split of their own, about one in five is for testing.
_ONE_IN = 5


class _File(NamedTuple):
    path: Path
    relative: str  # to the folder of the source, with forward slashes everywhere
    label: int


class FolderExamples(Examples):
    """Image files, each read and decoded when asked for: uint8 [image_size, image_size, 3]."""

    decode_in_threads = True

    def __init__(self, files: list[_File], image_size: int):
        self._files = files
        self._image_size = image_size

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> Example:
        path, _, label = self._files[index]
        try:
            encoded = path.read_bytes()
        except OSError as error:
            raise InputError(
                f"{path} cannot be read ({error.strerror}); replace it or take it out."
            ) from error
        image = decode_image(encoded, channels=3, size=self._image_size, name=str(path))
        return Example(image, label)


def open_folder(name: str, path: Path, image_size: int) -> Source:
    """Image files (PNG, JPEG, WebP) in a folder for each class, named after the class.

    The class folders are in PATH/train and PATH/test, or directly in PATH. In the second case
    an image is for testing where the SHA-256 of its path below PATH (with forward slashes),
    read as a number, is divisible by 5: about one in five, and always the same ones, whatever
    is added or taken out beside them.

    Images may have any size and mode; each is turned upright, converted to RGB and resized to
    `image_size` x `image_size`. Class folders may have folders in them. Hidden files and
    folders are ignored, and so are files that are no images. Classes and files are in the
    order of their names.

    Raises InputError if there is no such folder, if it has no class folders, for a class
    without images, and for one without images to train on.
    """
    if not path.exists():
        raise InputError(f"There is no folder {path}; folder:PATH takes the path of a folder.")
    if not path.is_dir():
        raise InputError(f"{path} is not a folder; folder:PATH takes the path of a folder.")
    folders = {child.name: child for child in _visible_folders(path)}
    if "train" in folders and "test" in folders:
        split_names = {"train": "train", "test": "test"}
        class_names, train = _list_files(path, folders["train"])
        test_names, test = _list_files(path, folders["test"])
        label_of = {class_name: label for label, class_name in enumerate(class_names)}
        for test_name in test_names:
            if test_name not in label_of:
                raise InputError(
                    f"{folders['test'] / test_name}: the class {test_name!r} is not in "
                    f"{folders['train']}; a class to test must be there to train on."
                )
        # The classes of the two may differ; a label is the place among those to train on.
        test = [file._replace(label=label_of[test_names[file.label]]) for file in test]
    elif "train" in folders or "test" in folders:
        here, absent = ("train", "test") if "train" in folders else ("test", "train")
        raise InputError(
            f"{path} has a folder {here!r} but no folder {absent!r}; give both, or put the "
            "class folders directly into it."
        )
    else:
        split_names = {"train": "4 in 5 by hash", "test": "1 in 5 by hash"}
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
    return Source(
        name=name,
        class_names=class_names,
        image_shape=(image_size, image_size, 3),
        train=FolderExamples(train, image_size),
        test=FolderExamples(test, image_size),
        split_names=split_names,
        fingerprint=_fingerprint(path, [*train, *test], image_size),
    )


def _visible_folders(path: Path) -> list[Path]:
    children = (child for child in path.iterdir() if not child.name.startswith("."))
    return sorted(child for child in children if child.is_dir())


def _list_files(root: Path, parent: Path) -> tuple[tuple[str, ...], list[_File]]:
    """The classes in `parent`, sorted, and their image files in the order of their paths."""
    try:
        class_folders = _visible_folders(parent)
        if not class_folders:
            raise InputError(f"{parent} has no folders; it needs one for each class of images.")
        files = []
        for label, class_folder in enumerate(class_folders):
            images = _images_below(class_folder)
            if not images:
                raise InputError(
                    f"{class_folder} has no images ({', '.join(_EXTENSIONS)}); every class "
                    "folder needs some."
                )
            files += [_File(image, image.relative_to(root).as_posix(), label) for image in images]
    except OSError as error:
        raise InputError(f"{error.filename or parent} cannot be read: {error.strerror}.") from error
    return tuple(class_folder.name for class_folder in class_folders), files


def _images_below(class_folder: Path) -> list[Path]:
    images = []

    def fail(error: OSError) -> None:
        raise error

    # Links to folders are not followed: one that leads to a folder above would never end.
    for folder, folder_names, file_names in os.walk(class_folder, onerror=fail):
        folder_names[:] = [child for child in folder_names if not child.startswith(".")]
        images += [
            Path(folder, file_name)
            for file_name in file_names
            if not file_name.startswith(".") and file_name.lower().endswith(_EXTENSIONS)
        ]
    return sorted(images)


def _is_for_testing(relative: str) -> bool:
    digest = hashlib.sha256(os.fsencode(relative)).digest()
    return int.from_bytes(digest) % _ONE_IN == 0


def _fingerprint(path: Path, files: list[_File], image_size: int) -> str:
    parts = []
    for file in files:
        try:
            status = file.path.stat()
        except OSError as error:
            raise InputError(f"{file.path} cannot be read: {error.strerror}.") from error
        parts.append((file.relative, status.st_size, status.st_mtime_ns))
    return fingerprint_of("folder", str(path.resolve()), parts, image_size)
