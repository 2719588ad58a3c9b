"""A set that does not fit: its images stay where they are, and each is decoded in its turn."""

import dataclasses

import numpy as np

from mlpvis_jax.data.decoded import check_labels, refuse_empty
from mlpvis_jax.data.examples import ArrayExamples, Examples, Part, Source, mark_of
from mlpvis_jax.data.index_cache import kept
from mlpvis_jax.data.resident import Trainable


@dataclasses.dataclass(frozen=True)
class StreamedSet(Trainable):
    """The images of a split, undecoded, and their labels.

    Attributes:
      examples: the images; a process that decodes is sent a copy.
      labels: of them, int32 [number].
      image_shape: height, width, channels of an image once it is decoded.
    """

    examples: Examples
    labels: np.ndarray
    image_shape: tuple[int, int, int]

    @classmethod
    def of(cls, source: Source, part: Part) -> "StreamedSet":
        """Makes the set of a part of a source; of its images no more is read than the labels.

        Labels that stand beside the images alone are read once, and kept in `index_cache`.

        Raises:
          InputError: no images, a label outside the classes, or files that cannot be read.
        """
        refuse_empty(source, part)
        examples = source.examples(part)
        labels = examples.labels
        if labels is None:
            mark = mark_of(source.name, source.content, len(examples))
            name = f"labels-{part}-{mark:016x}"
            labels = kept(name, ("labels",), lambda: {"labels": examples.read_labels()})["labels"]
        check_labels(labels, source, part)
        return cls(examples, labels.astype(np.int32, copy=False), source.image_shape)

    def __len__(self) -> int:
        return len(self.labels)

    def part(self, rows: slice | np.ndarray) -> "StreamedSet":
        """Takes some of the examples."""
        return StreamedSet(self.examples.take(rows), self.labels[rows], self.image_shape)

    @property
    def images(self) -> np.ndarray | None:
        """Gives the images, uint8 [number, height, width, channels], if they lie in one array."""
        return self.examples.images if isinstance(self.examples, ArrayExamples) else None
