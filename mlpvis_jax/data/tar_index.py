"""Where the images of tar shards lie: an index of their members, made once and kept.

Shards have WebDataset's layout: the files of an example follow one another and share a key, which
is their name up to the first dot of its last part: `0001.jpg`, `0001.cls`.
"""

import json
import os
import tarfile
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
import rich.console
import rich.progress

from mlpvis_jax.data.examples import fingerprint_of, mark_of
from mlpvis_jax.data.images import EXTENSIONS, NOT_DECODED
from mlpvis_jax.data.index_cache import kept
from mlpvis_jax.errors import InputError, first_line

# An example's class number: a member of its own, or one of these keys of a JSON member.
_LABEL, _JSON = "cls", "json"
_LABEL_KEYS = ("label", "cls", "class")
_LONGEST_LABEL = 1 << 24  # bytes of such a member, which may hold more than the label
_VERSION = 2  # raised when the same shards would be indexed otherwise
_AT_A_TIME = 1 << 20  # bytes


class TarIndex(NamedTuple):
    """Where each image lies; arrays of [n], which may be mapped from the disk.

    Attributes:
      shard: int32, the number of its shard.
      offset, size: int64, bytes in the shard.
      label: int32.
      mark: uint64, of the shard's name, the key and the size; see `Examples.marks`.
      key: uint8 [bytes of all keys], as the system encodes names.
      key_end: int64, where each key ends.
    """

    shard: np.ndarray
    offset: np.ndarray
    size: np.ndarray
    label: np.ndarray
    mark: np.ndarray
    key: np.ndarray
    key_end: np.ndarray

    def keys(self) -> list[str]:
        """Lists the key of each image."""
        text, ends = self.key.tobytes(), self.key_end.tolist()
        starts = [0, *ends[:-1]]
        return [os.fsdecode(text[start:end]) for start, end in zip(starts, ends, strict=True)]


class _Member(NamedTuple):
    key: str
    extension: str  # in small letters, without the first dot
    offset: int
    size: int
    content: bytes  # of a label; of an image nothing is read


def index_of(shards: Sequence[Path]) -> TarIndex:
    """Indexes shards: reads the headers of their members, and the labels, but no image.

    The index is kept between processes, under a fingerprint of the shards; see `index_cache`.

    Raises:
      InputError: a shard that cannot be read, an example without an image or a label.
    """
    # Marks are of a shard's own name, which a link may have beside that of its file.
    names = [(path.name, str(path.resolve())) for path in shards]
    name = f"shards-{fingerprint_of(_VERSION, names, [status_of(path) for path in shards])}"
    return TarIndex(**kept(name, TarIndex._fields, lambda: _read(shards)._asdict()))


def status_of(shard: Path) -> tuple[int, int]:
    """Gives the size of a shard, bytes, and when it was last changed, ns.

    Raises:
      InputError: it is not there, such as a link to nothing.
    """
    try:
        status = shard.stat()
    except OSError as error:
        raise InputError(
            f"{shard} cannot be read ({error.strerror}); put it back, or take it out."
        ) from error
    return status.st_size, status.st_mtime_ns


def _read(shards: Sequence[Path]) -> TarIndex:
    console = rich.console.Console(stderr=True)
    shown = rich.progress.track(
        shards,
        "Listing what the shards hold",
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    columns = np.dtype(
        [("shard", "<i4"), ("offset", "<i8"), ("size", "<i8"), ("label", "<i4"), ("mark", "<u8")]
    )
    parts, keys, ends, end = [], [], [], 0
    for number, path in enumerate(shown):
        rows = []
        for key, image, label in _examples(path):
            mark = mark_of(path.name, key, image.size)
            rows.append((number, image.offset, image.size, label, mark))
            encoded = os.fsencode(key)
            keys.append(encoded)
            end += len(encoded)
            ends.append(end)
        parts.append(np.array(rows, columns))
    found = np.concatenate(parts)
    fields = {name: np.ascontiguousarray(found[name]) for name in columns.names or ()}
    text = np.frombuffer(b"".join(keys), np.uint8)
    return TarIndex(**fields, key=text, key_end=np.array(ends, np.int64))


def _examples(path: Path) -> Iterator[tuple[str, _Member, int]]:
    """The examples of a shard: key, image and label."""
    for key, group in groupby(_members(path), lambda member: member.key):
        members = list(group)
        images = [one for one in members if f".{one.extension}".endswith(EXTENSIONS)]
        labels = [one for one in members if one.extension in (_LABEL, _JSON)]
        for one in members:
            if f".{one.extension}".endswith(NOT_DECODED):
                raise InputError(
                    f"{path}: {key}.{one.extension} is of a kind of images that is not decoded "
                    f"({', '.join(EXTENSIONS)} are); write the shard anew."
                )
        if len(images) != 1 or not labels:
            raise InputError(
                f"{path}: the example {key!r} has {len(images)} images and {len(labels)} labels, "
                f"of the members {', '.join(map(_name_of, members))}; one image and a label, as "
                f".{_LABEL} or .{_JSON}, must follow one another."
            )
        yield key, images[0], _label_of(labels, path)


def _name_of(member: _Member) -> str:
    name = member.key.rpartition("/")[2]
    return f"{name}.{member.extension}" if member.extension else name


def _members(path: Path) -> Iterator[_Member]:
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                tar.members = []  # type: ignore[attr-defined]  # it would grow with the shard
                folder, slash, name = member.name.rpartition("/")
                stem, _, extension = name.partition(".")
                if not stem or not (member.isfile() or member.islnk() or member.issym()):
                    continue  # folders, and hidden files
                if not member.isfile():
                    raise InputError(
                        f"{path}: {member.name} is a link to another file; write the shard anew, "
                        "with the files themselves."
                    )
                content, extension = b"", extension.lower()
                if extension in (_LABEL, _JSON) and member.size <= _LONGEST_LABEL:
                    reader = tar.extractfile(member)
                    assert reader is not None
                    content = reader.read()
                key = f"{folder}{slash}{stem}"
                yield _Member(key, extension, member.offset_data, member.size, content)
            end = tar.offset
        _refuse_unread(path, end)
    except (OSError, tarfile.TarError, UnicodeError) as error:
        raise InputError(
            f"{path} is not a tar file that can be read ({first_line(error)}); shards are "
            "uncompressed. Write it anew, or take it out."
        ) from error


def _refuse_unread(path: Path, end: int) -> None:
    """Refuses a shard that has something behind its last member, or no end: tarfile stops there.

    Args:
      path: of the shard.
      end: where tarfile has stopped, which a block of zeros marks in a whole shard; bytes.

    Raises:
      InputError: it was cut short, is damaged, or is several shards in one file.
    """
    with open(path, "rb") as file:
        file.seek(end)
        blocks = file.read(_AT_A_TIME)
        is_ended = len(blocks) >= tarfile.BLOCKSIZE
        while blocks:
            is_ended = is_ended and not blocks.strip(b"\0")
            blocks = file.read(_AT_A_TIME)
    if not is_ended:
        raise InputError(
            f"{path} is cut short, damaged, or several tar files in one: after {end:,} bytes there "
            "is neither a member nor the end. Write it anew."
        )


def _label_of(members: Sequence[_Member], path: Path) -> int:
    """The class number, of which all that say one say the same."""
    said = {value: member for member in members for value in _labels_in(member)}
    if len(said) > 1:
        first, second, *_ = said
        raise InputError(
            f"{path}: the example {members[0].key!r} is said to be of the classes {first} and "
            f"{second}; write the shard anew."
        )
    for value in said:
        if 0 <= value < 2**31:
            return value
    member = next(iter(said.values()), members[0])
    raise InputError(
        f"{path}: {member.key}.{member.extension} gives no class: it must be a whole number from 0 "
        f"on, or in JSON have one as {', '.join(map(repr, _LABEL_KEYS))}."
    )


def _labels_in(member: _Member) -> list[int]:
    """The whole numbers that a member gives as the class."""
    try:
        value = json.loads(member.content)
    except (ValueError, RecursionError):
        return []
    found = (
        [value[key] for key in _LABEL_KEYS if key in value] if isinstance(value, dict) else [value]
    )
    return [one for one in found if isinstance(one, int) and not isinstance(one, bool)]
