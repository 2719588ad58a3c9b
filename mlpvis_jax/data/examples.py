"""What every source of images hands out: labelled images, and what is known about the set."""

import abc
import dataclasses
import hashlib
from typing import NamedTuple

import numpy as np

# Part of every fingerprint: raised when the same files would be decoded to other pixels,
# so that what an older version of this package cached is not taken for ours.
_DECODING_VERSION = 1


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

    @abc.abstractmethod
    def __len__(self) -> int:
        """The number of images."""

    @abc.abstractmethod
    def __getitem__(self, index: int) -> Example:
        """The image at `index`, decoded; IndexError outside, InputError if it cannot be read."""

    def read(self, start: int, stop: int) -> list[Example]:
        """The images from `start` to just before `stop`; faster than one by one where it can be."""
        return [self[index] for index in range(start, stop)]


class ArrayExamples(Examples):
    """Examples that are in memory already.

    `images` is uint8 [n, height, width, channels]; `labels` is int32 [n].
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray):
        self.images = images
        self.labels = labels.astype(np.int32, copy=False)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Example:
        return Example(self.images[index], int(self.labels[index]))


@dataclasses.dataclass(frozen=True)
class Source:
    """A set of labelled images, with a part to train on and a part to test on."""

    name: str  # as the user gave it, for instance "tfds:mnist"
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]  # height, width, channels of every image handed out
    train: Examples
    test: Examples
    split_names: dict[str, str]  # what the source itself calls "train" and "test"
    fingerprint: str  # another one when the content may have changed; names the decoded cache

    @property
    def num_classes(self) -> int:
        return len(self.class_names)


def fingerprint_of(*parts: object) -> str:
    """16 hexadecimal digits that change when any of `parts` (by `repr`) does."""
    return hashlib.sha256(repr((_DECODING_VERSION, *parts)).encode()).hexdigest()[:16]
