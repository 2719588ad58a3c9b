"""What every source of images hands out: labelled images, and what is known about the set."""

import abc
import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from mlpvis_jax.data.framing import Frame
from mlpvis_jax.errors import InputError

# Part of every fingerprint: raised when the same files would be decoded to other pixels,
# so that what an older version of this package cached is not taken for ours.
_DECODING_VERSION = 1

Part = Literal["train", "validation", "test"]


class Example(NamedTuple):
    """One labelled image."""

    image: np.ndarray  # uint8 [height, width, channels]
    label: int


class Examples(abc.ABC):
    """The labelled images of one split, read and decoded when asked for."""

    # Whether decoding one image takes so long that several threads pay. Pillow releases the
    # interpreter lock while it decodes, but below about 128x128 pixels the work outside it is
    # the larger part: on two cores, two threads took 1.3 to 1.8 times as long as one for
    # images of 32x32 and 64x64, and 0.6 to 0.7 times as long from 128x128 up.
    decode_in_threads = False
    # The labels, int32 [n], where they are known before anything is decoded.
    labels: np.ndarray | None = None
    # What is taken of an image of any proportions; None where all images have one shape.
    frame: Frame | None = None

    @abc.abstractmethod
    def __len__(self) -> int:
        """Counts the images."""

    @abc.abstractmethod
    def __getitem__(self, index: int) -> Example:
        """Decodes the image at `index`, from 0; raises InputError if it cannot be read."""

    def read(self, start: int, stop: int) -> list[Example]:
        """Reads images `start` to just before `stop`; faster than one by one where it can be."""
        return self.gather(range(start, stop))

    def gather(
        self, indices: Sequence[int], frames: Sequence[Frame] | None = None
    ) -> list[Example]:
        """Reads the images at these indices, in this order, in less time than one by one if it can.

        With `frames`, of each image the part that its own frame takes, which only those give that
        have a `frame`.
        """
        if frames is None:
            return [self[index] for index in indices]
        return [self.framed(index, frame) for index, frame in zip(indices, frames, strict=True)]

    def framed(self, index: int, frame: Frame) -> Example:
        """Gives what `frame` takes of the image at `index`; only those can that have a `frame`."""
        raise NotImplementedError(f"{type(self).__name__} has images of one shape")

    def read_labels(self) -> np.ndarray:
        """Reads the labels, int32 [n]; a source that knows them without decoding says so here."""
        if self.labels is not None:
            return self.labels
        return np.array([self[index].label for index in range(len(self))], np.int32)

    def marks(self) -> np.ndarray | None:
        """Tells images apart without decoding them: uint64 [n], of name and size, say.

        Another mark says that an image may have changed. None where only the pixels can tell.
        """
        return None

    def copies(self) -> np.ndarray | None:
        """Tells copies of an image in a class without decoding them: numbers [n], equal for copies.

        None where only the pixels can tell.
        """
        return None

    def names(self) -> Sequence[str]:
        """Names each image, by a name that no other image's coming or going changes."""
        return [str(index) for index in range(len(self))]

    def take(self, rows: np.ndarray | slice) -> "Examples":
        """Gives the images at these indices, int [n], alone."""
        if isinstance(rows, slice):
            rows = np.arange(len(self))[rows]
        return _Some(self, rows)


class ArrayExamples(Examples):
    """Examples that are in memory already.

    `images` is uint8 [n, height, width, channels]; `labels` is int32 [n].
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray):
        if images.dtype != np.uint8 or images.ndim != 4:
            raise InputError(
                f"Images are {images.dtype} {list(images.shape)}, and must be uint8 [number, "
                "height, width, channels]."
            )
        self.images = images
        self.labels: np.ndarray = labels.astype(np.int32, copy=False)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Example:
        return Example(self.images[index], int(self.labels[index]))

    def names(self) -> Sequence[str]:
        """Names each image by a hash of its pixels, so that the arrays' order does not matter."""
        return [f"{digest:016x}" for digest in digests(self.images)]

    def take(self, rows: np.ndarray | slice) -> "ArrayExamples":
        return ArrayExamples(self.images[rows], self.labels[rows])


class _Some(Examples):
    """Some of other examples."""

    def __init__(self, examples: Examples, rows: np.ndarray):
        self._examples = examples
        self._rows = rows
        self.decode_in_threads = examples.decode_in_threads
        self.labels = None if examples.labels is None else examples.labels[rows]
        self.frame = examples.frame

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Example:
        return self._examples[int(self._rows[index])]

    def gather(
        self, indices: Sequence[int], frames: Sequence[Frame] | None = None
    ) -> list[Example]:
        rows = [int(self._rows[index]) for index in indices]
        if frames is None:  # which examples of one's own, of one shape, need not know of
            return self._examples.gather(rows)
        return self._examples.gather(rows, frames)

    def framed(self, index: int, frame: Frame) -> Example:
        return self._examples.framed(int(self._rows[index]), frame)

    def marks(self) -> np.ndarray | None:
        marks = self._examples.marks()
        return None if marks is None else marks[self._rows]

    def copies(self) -> np.ndarray | None:
        copies = self._examples.copies()
        return None if copies is None else copies[self._rows]

    def names(self) -> Sequence[str]:
        names = self._examples.names()
        return [names[row] for row in self._rows]


@dataclasses.dataclass(frozen=True)
class Source:
    """A set of labelled images: a part to train on, one to test on, and maybe one to validate."""

    name: str  # as the user gave it, for instance "tfds:mnist"
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]  # height, width, channels of every image handed out
    train: Examples
    test: Examples
    split_names: dict[str, str]  # what the source itself calls "train", "test", "validation"
    fingerprint: str  # another one when the content may have changed; names the decoded cache
    # The same of the files alone, however their images are decoded, where there are files.
    files_fingerprint: str | None = None
    validation: Examples | None = None
    default_validation: str = "stratified:0.1"  # where it has no split that validates
    # The class of classes that each class belongs to, in the order of class_names, if any.
    superclasses: tuple[str, ...] | None = None
    # Where whatever is written would be taken for images, such as those of another class.
    folders: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        if (self.validation is None) == ("validation" in self.split_names):
            raise InputError(
                f"The source {self.name} must have images that validate and their name "
                "(`validation`, and `split_names['validation']`), or neither."
            )

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def content(self) -> str:
        """Gives a text that is another one when what the source's files hold may have changed."""
        return self.files_fingerprint or self.fingerprint

    def examples(self, part: Part) -> Examples:
        """Gives the images of one part; the validation part must be there."""
        examples = {"train": self.train, "validation": self.validation, "test": self.test}[part]
        assert examples is not None
        return examples


def digests(images: np.ndarray) -> np.ndarray:
    """Hashes each image by its pixels: uint8 [n, ...] to uint64 [n], the same on every machine."""
    found = bytearray()
    for start in range(0, len(images), 1024):  # some at a time: the images may be a memory map
        for image in np.ascontiguousarray(images[start : start + 1024]):
            found += hashlib.sha256(image).digest()[:8]
    return np.frombuffer(bytes(found), "<u8")


def checked_image(example: Example, index: int, shape: tuple[int, ...]) -> np.ndarray:
    """Gives the image of an example, uint8 of the shape that the source says all have.

    Raises:
      InputError: it is of another shape or type.
    """
    image = np.asarray(example.image)
    if image.shape != shape or image.dtype != np.uint8:
        raise InputError(
            f"Image {index} is {image.dtype} {list(image.shape)}, where uint8 {list(shape)} is "
            "what the source says."
        )
    return image


def copies_of_files(
    sizes: np.ndarray, labels: np.ndarray, read: Callable[[int], bytes]
) -> np.ndarray:
    """Tells copies by their bytes: numbers [n], equal for files of a class with the same bytes.

    Few are read: only those whose size another one of their class has.

    Args:
      sizes: bytes of each file, [n].
      labels: of each file, [n].
      read: gives the bytes of the file at an index.
    """
    found = np.arange(len(sizes), dtype=np.uint64)
    order = np.lexsort((sizes, labels))
    is_like_next = (np.diff(sizes[order]) == 0) & (np.diff(labels[order]) == 0)
    several = np.concatenate([is_like_next, [False]]) | np.concatenate([[False], is_like_next])
    for index in order[several].tolist():
        digest = hashlib.sha256(read(index)).digest()
        found[index] = int.from_bytes(digest[:8], "little")
    return found


def mark_of(*parts: object) -> int:
    """Makes a number below 2**64 that changes when any of `parts` (by `repr`) does; see `marks`."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=8).digest(), "little")


def fingerprint_of(*parts: object) -> str:
    """Makes 16 hexadecimal digits that change when any of `parts` (by `repr`) does."""
    return hashlib.sha256(repr((_DECODING_VERSION, *parts)).encode()).hexdigest()[:16]
