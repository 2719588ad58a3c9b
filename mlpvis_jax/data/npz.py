"""`npz:PATH`: arrays saved with NumPy."""

import zipfile
from pathlib import Path
from typing import BinaryIO

import numpy as np

from mlpvis_jax.data.examples import ArrayExamples, Source, fingerprint_of
from mlpvis_jax.errors import InputError

_REQUIRED = ("x_train", "y_train", "x_test", "y_test")
_VALIDATION = ("x_val", "y_val")


def open_npz(name: str, path: Path) -> Source:
    """Opens an .npz file of x_train, y_train, x_test and y_test, and maybe x_val and y_val.

    Images are uint8 [n, height, width, channels], or [n, height, width] for one channel;
    labels are integers [n] or [n, 1] from 0 on, and every class has an image to train on.
    `class_names`, an array of strings, is optional; without it the classes are "0", "1", ...

    Raises InputError for a file or an array that is anything else.
    """
    arrays = _load(path)
    x_train, y_train = _pair(arrays, "x_train", "y_train", path)
    others = {"test": _pair(arrays, "x_test", "y_test", path)}
    split_names = {"train": "x_train", "test": "x_test"}
    if "x_val" in arrays:
        others["val"] = _pair(arrays, *_VALIDATION, path)
        split_names["validation"] = "val"
    num_classes = _count_classes(y_train, path)
    for split, (images, labels) in others.items():
        if x_train.shape[1:] != images.shape[1:]:
            raise InputError(
                f"{path}: the images of x_train are {list(x_train.shape[1:])} and those of "
                f"x_{split} {list(images.shape[1:])}; they must have one shape."
            )
        if len(labels) and labels.max() >= num_classes:
            raise InputError(
                f"{path}: y_{split}[{labels.argmax()}] is {labels.max()}, and y_train has only the "
                f"classes 0 to {num_classes - 1}; a class to test must be there to train on."
            )
    status = path.stat()
    return Source(
        name=name,
        class_names=_class_names(arrays, num_classes, path),
        image_shape=x_train.shape[1:],
        train=ArrayExamples(x_train, y_train),
        test=ArrayExamples(*others["test"]),
        validation=ArrayExamples(*others["val"]) if "val" in others else None,
        split_names=split_names,
        fingerprint=fingerprint_of("npz", str(path.resolve()), status.st_size, status.st_mtime_ns),
    )


def _load(path: Path) -> dict[str, np.ndarray]:
    """The arrays of the file that are used here, by name."""
    if not path.is_file():
        raise InputError(f"There is no file {path}; npz:PATH takes the path of an .npz file.")
    try:
        # np.load, given the path, would leave a damaged file open.
        with path.open("rb") as file:
            return _load_arrays(file, path)
    except (OSError, EOFError, zipfile.BadZipFile) as error:
        raise _not_npz(path) from error


def _load_arrays(file: BinaryIO, path: Path) -> dict[str, np.ndarray]:
    try:
        loaded = np.load(file, allow_pickle=False)
    except ValueError as error:
        raise _not_npz(path) from error
    if not isinstance(loaded, np.lib.npyio.NpzFile):
        raise _not_npz(path)
    wanted = [*_REQUIRED]
    if set(_VALIDATION) & set(loaded.files):
        wanted += _VALIDATION
    missing = [key for key in wanted if key not in loaded.files]
    if missing:
        raise InputError(
            f"{path} has no {' and no '.join(missing)}; it needs {', '.join(wanted)} and "
            f"holds {', '.join(loaded.files) or 'nothing'}."
        )
    wanted += ["class_names"] if "class_names" in loaded.files else []
    return {key: _read(loaded, key, path) for key in wanted}


def _not_npz(path: Path) -> InputError:
    return InputError(
        f"{path} is not an .npz file that can be read; save the arrays with numpy.savez."
    )


def _read(loaded: np.lib.npyio.NpzFile, key: str, path: Path) -> np.ndarray:
    try:
        array = loaded[key]
    except ValueError as error:
        # Never unpickled: unpickling runs whatever code the file holds.
        if "pickle" in str(error):
            raise InputError(
                f"{path}: {key} is an array of Python objects, which is not loaded; save it "
                "with a plain dtype."
            ) from error
        raise InputError(f"{path}: {key} is damaged ({error}); save the file again.") from error
    except Exception as error:  # the zip and zlib layers have many errors of their own
        raise InputError(f"{path}: {key} is damaged ({error}); save the file again.") from error
    if not isinstance(array, np.ndarray):  # a zip member that is no .npy file comes as bytes
        raise InputError(f"{path}: {key} is not an array; save it with numpy.savez.")
    return array


def _pair(
    arrays: dict[str, np.ndarray], images_key: str, labels_key: str, path: Path
) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [n, height, width, channels] and labels, an integer dtype [n], checked."""
    images, labels = arrays[images_key], arrays[labels_key]
    if images.dtype != np.uint8:
        raise InputError(
            f"{path}: {images_key} is {images.dtype}; images must be uint8, from 0 to 255."
        )
    if images.ndim == 3:
        images = images[..., np.newaxis]
    if images.ndim == 4 and images.shape[1] in (1, 3) and images.shape[3] > 4:
        raise InputError(
            f"{path}: {images_key} has shape {list(images.shape)}, with channels first, as it "
            "seems; they belong last: images.transpose(0, 2, 3, 1)."
        )
    if images.ndim != 4 or 0 in images.shape[1:]:
        raise InputError(
            f"{path}: {images_key} has shape {list(images.shape)}; images must be "
            "[n, height, width, channels] or [n, height, width]."
        )
    if labels.dtype.kind not in "iu":
        raise InputError(f"{path}: {labels_key} is {labels.dtype}; labels must be integers.")
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise InputError(
            f"{path}: {labels_key} has shape {list(labels.shape)}; labels must be [n] or [n, 1]."
        )
    if len(images) != len(labels):
        raise InputError(
            f"{path}: {images_key} has {len(images)} images and {labels_key} {len(labels)} "
            "labels; there must be one label for each image."
        )
    if len(labels) and labels.min() < 0:
        raise InputError(
            f"{path}: {labels_key}[{labels.argmin()}] is {labels.min()}; labels count from 0."
        )
    return images, labels


def _count_classes(y_train: np.ndarray, path: Path) -> int:
    """The number of classes: one more than the largest label there is to train on."""
    present = np.unique(y_train)
    if len(present) == 0:
        raise InputError(f"{path}: x_train is empty; there must be images to train on.")
    num_classes = int(present[-1]) + 1
    if len(present) < num_classes:
        absent = int(np.argmax(present != np.arange(len(present), dtype=present.dtype)))
        raise InputError(
            f"{path}: y_train has no image of class {absent} but one of class {num_classes - 1}; "
            "number the classes from 0 without a gap."
        )
    return num_classes


def _class_names(arrays: dict[str, np.ndarray], num_classes: int, path: Path) -> tuple[str, ...]:
    if "class_names" not in arrays:
        return tuple(str(label) for label in range(num_classes))
    names = arrays["class_names"]
    if names.ndim != 1 or names.dtype.kind != "U" or len(names) != num_classes:
        raise InputError(
            f"{path}: class_names is {names.dtype} {list(names.shape)}; it must be one string for "
            f"each of the {num_classes} classes of y_train."
        )
    distinct, counts = np.unique(names, return_counts=True)
    if len(distinct) < num_classes:
        raise InputError(
            f"{path}: class_names has {str(distinct[counts > 1][0])!r} more than once; each class "
            "must have a name of its own."
        )
    return tuple(str(class_name) for class_name in names)
