"""`shards:PATH`: tar shards in WebDataset's layout."""

import re
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mlpvis_jax.data.decoding import Decoding
from mlpvis_jax.data.examples import Example, Examples, Source, copies_of_files, fingerprint_of
from mlpvis_jax.data.framing import Frame
from mlpvis_jax.data.tar_index import TarIndex, index_of, status_of
from mlpvis_jax.errors import InputError

_CLASSES = "classes.txt"
_NO_SHARD = re.compile(r"\.(tar|tar\.(gz|bz2|xz|zst|lz4)|tgz|tbz2?|txz)$", re.IGNORECASE)
_PARTS = {"train": "train", "test": "test", "validation": "validation", "val": "validation"}


class ShardExamples(Examples):
    """Images in tar shards, each read from its place and decoded when asked for."""

    decode_in_threads = True
    labels: np.ndarray
    frame: Frame

    def __init__(self, shards: Sequence[Path], index: TarIndex, decoding: Decoding):
        self._shards = [str(path) for path in shards]
        self._index: TarIndex | None = index
        self._places = index.shard, index.offset, index.size
        self._decoding = decoding
        self.frame = decoding.frame
        self.labels = index.label

    def __getstate__(self) -> dict[str, Any]:
        # A process that decodes needs neither keys nor marks.
        return {**self.__dict__, "_index": None}

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Example:
        return self.framed(index, self.frame)

    def framed(self, index: int, frame: Frame) -> Example:
        header, encoded = self._read(index)
        name = f"{_member_name(header)} in {self._shards[self._place(index)[0]]}"
        return Example(self._decoding.decode(encoded, name, frame), int(self.labels[index]))

    def _place(self, index: int) -> tuple[int, int, int]:
        """Its shard, and where it begins and how long it is, in bytes."""
        shard, offset, size = (int(column[index]) for column in self._places)
        return shard, offset, size

    def _encoded(self, index: int) -> bytes:
        return self._read(index)[1]

    def _read(self, index: int) -> tuple[bytes, bytes]:
        """The header of an image's member, which stands before it, and its content."""
        shard, offset, size = self._place(index)
        path = self._shards[shard]
        try:
            # Opened each time: there may be more shards than a process may have open files.
            with open(path, "rb", buffering=0) as file:
                file.seek(offset - tarfile.BLOCKSIZE)
                found = file.read(tarfile.BLOCKSIZE + size)
                return found[: tarfile.BLOCKSIZE], found[tarfile.BLOCKSIZE :]
        except OSError as error:
            raise InputError(
                f"{path} cannot be read ({error.strerror}); put it back, or take it out."
            ) from error

    def names(self) -> Sequence[str]:
        """Lists the name of the shard and the key of each image."""
        assert self._index is not None
        shards = [Path(path).name for path in self._shards]
        pairs = zip(self._index.shard.tolist(), self._index.keys(), strict=True)
        return [f"{shards[shard]}/{key}" for shard, key in pairs]

    def marks(self) -> np.ndarray:
        """Marks each image by its shard's name, its key and the number of its bytes."""
        assert self._index is not None
        return self._index.mark

    def copies(self) -> np.ndarray:
        """Tells copies by the bytes of the images."""
        return copies_of_files(self._places[2], self.labels, self._encoded)


def open_shards(name: str, path: Path, decoding: Decoding) -> Source:
    """Opens tar files in a folder, whose names say which split they are of: `train-000012.tar`.

    A part of the name between hyphens, dots or underscores is train, test, validation or val.
    Without shards to test, those that validate are tested on. An example has an image (PNG, JPEG,
    WebP, GIF, BMP) and its class: a member `.cls` with a whole number, or a member `.json` with one
    as "label", "cls" or "class". `classes.txt`, a name a line, is optional; without it the classes
    are "0", "1", ... Images are brought to RGB and to one size as `decoding` says.

    The first time the headers of all members are read; the index is kept between processes.

    Raises InputError for a folder without shards of both kinds, shards that cannot be read, an
    example without image or class, and a class without an image to train on.
    """
    shards = _find(path)
    train_index = index_of(shards["train"])
    test_split = "test" if "test" in shards else "validation"
    if not len(train_index.label):
        raise InputError(f"The shards to train on in {path} hold no image.")
    class_names = _class_names(path, shards["train"], train_index)
    found = {"train": ShardExamples(shards["train"], train_index, decoding)}
    for split in shards.keys() - {"train"}:
        index = index_of(shards[split])
        if len(index.label) and index.label.max() >= len(class_names):
            raise InputError(
                f"The shards of {split} in {path} have the class {index.label.max()}, and those to "
                f"train on only the classes 0 to {len(class_names) - 1}."
            )
        found[split] = ShardExamples(shards[split], index, decoding.exact)
    split_names = {"train": "train", "test": test_split}
    if test_split == "test" and "validation" in found:
        split_names["validation"] = "validation"
    listed = [(one.name, *status_of(one)) for split in sorted(shards) for one in shards[split]]
    on_disk = "shards", str(path.resolve()), listed
    return Source(
        name=name,
        class_names=class_names,
        image_shape=(decoding.size, decoding.size, 3),
        train=found["train"],
        test=found[test_split],
        validation=found["validation"] if "validation" in split_names else None,
        split_names=split_names,
        fingerprint=fingerprint_of(*on_disk, decoding.size, *decoding.mark),
        files_fingerprint=fingerprint_of(*on_disk),
    )


def _find(path: Path) -> dict[str, list[Path]]:
    """The shards of each split, sorted by name."""
    if not path.is_dir():
        raise InputError(f"There is no folder {path}; shards:PATH takes the folder of tar files.")
    found: dict[str, list[Path]] = {}
    for file in sorted(path.iterdir()):
        if file.suffix != ".tar":
            if _NO_SHARD.search(file.name):
                raise InputError(
                    f"{file} is not read: a shard is a tar file that is not compressed, and its "
                    "name ends in .tar. Unpack it or rename it, or take it out."
                )
            continue
        words = re.split(r"[-._]", file.name.lower())
        splits = {_PARTS[word] for word in words if word in _PARTS}
        if len(splits) != 1:
            raise InputError(
                f"{file} does not say which split it is of; name shards as train-000000.tar, "
                "test-000000.tar and validation-000000.tar."
            )
        found.setdefault(splits.pop(), []).append(file)
    if "train" not in found or len(found) == 1:
        raise InputError(
            f"{path} has shards of {' and '.join(found) or 'no split'}; it needs tar files named "
            "as train-000000.tar, and as test-000000.tar or validation-000000.tar."
        )
    return found


def _class_names(path: Path, shards: Sequence[Path], index: TarIndex) -> tuple[str, ...]:
    """The names of classes.txt, or numbers; each class has an image in these shards."""
    names, file = _read_names(path), path / _CLASSES
    largest = int(index.label.max(initial=-1))

    def example() -> str:
        row = index.label.argmax()
        return f"{index.keys()[row]} in {shards[index.shard[row]]} has the class {largest}"

    if names is not None and largest >= len(names):
        raise InputError(f"{file} names {len(names)} classes, and {example()}.")
    number = largest + 1 if names is None else len(names)
    present = np.unique(index.label)
    if 0 < len(present) < number:  # where there is no image at all, that is said later
        absent = next(label for label in range(number) if label not in present[label : label + 1])
        needed = f"and {example()}" if names is None else f"which {file} names {names[absent]!r}"
        raise InputError(
            f"The shards to train on in {path} have no image of the class {absent}, {needed}; "
            "classes are numbered from 0 on, and each needs an image to train on."
        )
    return tuple(names) if names is not None else tuple(map(str, range(number)))


def _read_names(path: Path) -> list[str] | None:
    file = path / _CLASSES
    try:
        names = file.read_text("utf-8-sig").rstrip().splitlines() if file.exists() else None
    except (OSError, UnicodeError) as error:
        raise InputError(f"{file} cannot be read ({error}); it has a name a line.") from error
    for line, name in enumerate(names or (), 1):
        if not name.strip() or name in names[: line - 1]:  # type: ignore[index]
            what = f"{name!r} a second time" if name.strip() else "no name"
            raise InputError(f"{file} has {what} in line {line}; it has a name of its own a line.")
    return names


def _member_name(header: bytes) -> str:
    """The name in a member's header, of which a long one is cut."""
    try:
        return tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape").name
    except tarfile.TarError:
        return "An image"
