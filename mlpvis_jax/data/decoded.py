"""All images of a split at once, as an array, decoded only the first time.

The cache has a folder for each fingerprint of a source, and in it one for each split:

    <cache_dir>/<name>-<fingerprint>/<split>/images.npy    uint8 [n, height, width, channels]
    <cache_dir>/<name>-<fingerprint>/<split>/labels.npy    int32 [n]
    <cache_dir>/<name>-<fingerprint>/<split>/SHA256SUMS    of the two, as sha256sum writes it
    <cache_dir>/<name>-<fingerprint>/.<split>.lock         held by the process that decodes it
"""

import concurrent.futures
import contextlib
import errno
import fcntl
import hashlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import rich.console
import rich.progress

from mlpvis_jax.data.examples import ArrayExamples, Examples, Part, Source, checked_image
from mlpvis_jax.errors import InputError, first_line

# Images read and decoded in one go; a thread takes on as many at a time.
_AT_A_TIME = 64


def decode(source: Source, split: Part, *, cache_dir: Path | None) -> tuple[np.ndarray, np.ndarray]:
    """Decodes `split`: images uint8 [n, height, width, channels] and labels int32 [n].

    With a `cache_dir`, they are decoded into it the first time and mapped from there (read-only)
    every time, after its digest has been proved. An entry that is damaged is decoded again; a line
    on standard error says so. Of several processes one decodes, and the others wait for it. What a
    killed process left is removed. Without a `cache_dir`, and for a source that is in memory
    anyway, nothing is written.

    Raises InputError for a split without images, an image that cannot be decoded, a label
    outside the classes, and a `cache_dir` that cannot be written to or has no room.
    """
    examples = source.examples(split)
    refuse_empty(source, split)
    if isinstance(examples, ArrayExamples):
        check_labels(examples.labels, source, split)
        return examples.images, examples.labels
    shape = (len(examples), *source.image_shape)
    if cache_dir is None:
        images = np.empty(shape, np.uint8)
        return images, _decode_into(images, source, split, examples)

    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", source.name).strip("-.")[-60:]
    entry = cache_dir / f"{readable}-{source.fingerprint}" / split
    try:
        loaded = _load(entry, shape, source.num_classes)
        if loaded is not None:
            return loaded
        entry.parent.mkdir(parents=True, exist_ok=True)
        with _alone(entry):
            return _decode_to_entry(entry, shape, source, split, examples)
    except OSError as error:
        raise InputError(
            f"The cache folder {cache_dir} cannot be used ({error.strerror or error}); name one "
            "that can be written to and has room."
        ) from error


def refuse_empty(source: Source, split: Part) -> None:
    """Raises InputError for a split without images."""
    if len(source.examples(split)) == 0:
        raise InputError(f"The {split} part of {source.name} is empty; it needs images.")


@contextlib.contextmanager
def _alone(entry: Path) -> Iterator[None]:
    """Waits until no other process decodes into `entry`, and removes what dead ones left.

    The system gives a lock back when its process ends, however it ends.
    """
    own = entry.with_name(f".{entry.name}.lock")
    own.touch()
    # A decoding of files that have changed since was for another entry of the cache.
    for path in entry.parent.parent.glob("*/.*.lock"):
        with contextlib.suppress(OSError), path.open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for leftover in path.parent.glob(f"{path.stem}-*"):
                shutil.rmtree(leftover, ignore_errors=True)
    with own.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"Waiting for another process, which decodes {entry}.", file=sys.stderr)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _decode_to_entry(
    entry: Path, shape: tuple[int, ...], source: Source, split: str, examples: Examples
) -> tuple[np.ndarray, np.ndarray]:
    """Decodes into a new folder that takes the name `entry` only when it is complete."""
    loaded = _load(entry, shape, source.num_classes)
    if loaded is not None:  # by the process that was waited for
        return loaded
    if entry.exists():
        print(f"{entry} is damaged, or of an older version: decoding it anew.", file=sys.stderr)
    needed = int(np.prod(shape))
    free = shutil.disk_usage(entry.parent).free
    if free < needed:
        raise OSError(f"{needed / 1e6:,.1f} MB are needed and {free / 1e6:,.1f} are free")
    with tempfile.TemporaryDirectory(dir=entry.parent, prefix=f".{split}-") as temporary:
        unfinished = Path(temporary, split)
        unfinished.mkdir()
        images = np.lib.format.open_memmap(
            unfinished / "images.npy", mode="w+", dtype=np.uint8, shape=shape
        )
        _take_room(unfinished / "images.npy")
        labels = _decode_into(images, source, split, examples)
        images.flush()
        with open(unfinished / "labels.npy", "wb") as file:
            np.save(file, labels)
            file.flush()
            os.fsync(file.fileno())
        (unfinished / "SHA256SUMS").write_text(_digests(unfinished))
        if entry.exists():  # whoever has mapped its files keeps them
            entry.rename(Path(temporary, "damaged"))
        unfinished.rename(entry)
    loaded = _load(entry, shape, source.num_classes)
    if loaded is None:
        raise OSError(f"{entry} could not be read back")
    return loaded


def _take_room(path: Path) -> None:
    """Takes the room of a file from the disk, where that is possible.

    Writing to a mapped file kills the process if the disk, or a quota, is full by then.
    """
    if not hasattr(os, "posix_fallocate"):  # as on macOS
        return
    with open(path, "r+b") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)
        except OSError as error:  # of which some say that the file system cannot do it
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise


def _load(
    entry: Path, shape: tuple[int, ...], num_classes: int
) -> tuple[np.ndarray, np.ndarray] | None:
    """The arrays of a cache entry, the images mapped; None if it is not there or damaged."""
    try:
        if (entry / "SHA256SUMS").read_text() != _digests(entry):
            return None
        images = np.load(entry / "images.npy", mmap_mode="r", allow_pickle=False)
        labels = np.load(entry / "labels.npy", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    whole = (
        images.shape == shape
        and images.dtype == np.uint8
        and labels.shape == shape[:1]
        and labels.dtype == np.int32
        and labels.min() >= 0
        and labels.max() < num_classes
    )
    return (images, labels) if whole else None


def _digests(entry: Path) -> str:
    lines = []
    for name in ("images.npy", "labels.npy"):
        with open(entry / name, "rb") as file:
            lines.append(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {name}\n")
    return "".join(lines)


def _decode_into(images: np.ndarray, source: Source, split: str, examples: Examples) -> np.ndarray:
    """Fills `images` with the decoded images; the labels, int32 [n]."""
    labels = np.empty(len(images), np.int32)

    def decode_some(start: int) -> int:
        stop = min(start + _AT_A_TIME, len(images))
        try:
            some = examples.read(start, stop)
        except OSError as error:  # of a source of the user's own; it is no error of the cache
            raise InputError(
                f"Images {start} to {stop - 1} of the {split} part of {source.name} cannot be read "
                f"({first_line(error)})."
            ) from error
        some_labels = np.array([example.label for example in some])
        check_labels(some_labels, source, split, first_index=start)
        labels[start:stop] = some_labels
        for index, example in enumerate(some, start):
            images[index] = checked_image(example, index, source.image_shape)
        return stop - start

    console = rich.console.Console(stderr=True)
    progress = rich.progress.Progress(
        *rich.progress.Progress.get_default_columns(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    workers = (os.cpu_count() or 1) if examples.decode_in_threads else 1
    pool = concurrent.futures.ThreadPoolExecutor(workers)
    try:
        with progress:
            task = progress.add_task(f"Decoding {source.name} {split}", total=len(images))
            for count in pool.map(decode_some, range(0, len(images), _AT_A_TIME)):
                progress.advance(task, count)
    finally:  # after an error or Ctrl-C the rest is not decoded first
        pool.shutdown(cancel_futures=True)
    return labels


def check_labels(labels: np.ndarray, source: Source, split: str, first_index: int = 0) -> None:
    """Raises InputError for a label outside the classes; the first is of image `first_index`."""
    outside = np.flatnonzero((labels < 0) | (labels >= source.num_classes))
    if len(outside):
        raise InputError(
            f"Label {labels[outside[0]]} of image {first_index + outside[0]} in the {split} part "
            f"of {source.name} is not one of its classes, 0 to {source.num_classes - 1}."
        )
