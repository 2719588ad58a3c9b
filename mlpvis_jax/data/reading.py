"""Images in a given order, read and decoded ahead of their use, by threads or processes."""

import weakref
from typing import NamedTuple

import numpy as np

from mlpvis_jax.data.examples import ArrayExamples, Examples, checked_image
from mlpvis_jax.data.framing import random_frame
from mlpvis_jax.data.prefetching import begin, end, refuse_without_shared_memory, take
from mlpvis_jax.data.resident import PADDING
from mlpvis_jax.errors import InputError

# A piece is what a thread decodes at a time, and what a process hands over at a time.
_PIECE_BYTES = 1 << 22
_PIECE_IMAGES = 512  # at most: of tiny images, that nobody waits for the first
_ENDLESS = 1 << 20  # times that a set is measured, which no run comes near


def refuse_workers_without_room(
    examples: Examples, image_shape: tuple[int, int, int], batch_size: int, workers: int
) -> None:
    """Raises InputError where the streams of the three sets of a run would have too little room.

    Each set has processes of its own, which go on while another set is read.

    Args:
      examples: of one of the sets.
      image_shape: height, width, channels of every image.
      batch_size: images of a step, at most.
      workers: processes of a stream.
    """
    piece_images = min(_most_images(image_shape), batch_size)
    piece_bytes = piece_images * int(np.prod(image_shape))
    refuse_without_shared_memory(piece_bytes, _useful(workers, examples), streams=3)


class Crops(NamedTuple):
    """Parts of images that are drawn at random; see `framing.random_frame`.

    Attributes:
      seeds: of each row, uint32 [parts, images of a part].
      smallest: least share of an image's area.
    """

    seeds: np.ndarray
    smallest: float


class ImageStream:
    """Decodes images in the order in which they are wanted, ahead of their use.

    Args:
      examples: of which they are.
      rows: int32 [parts, images of a part], in the order in which they are wanted; PADDING becomes
        the first image, as in a resident set.
      image_shape: height, width, channels of every image.
      workers: processes that decode; 0: threads of this process.
      repeats: whether all parts are wanted again and again, without an end.
      crops: of each image a part that is drawn at random; None: what the source takes of it.

    Attributes:
      close: ends the threads or processes; nothing can be read any more.
    """

    def __init__(
        self,
        examples: Examples,
        rows: np.ndarray,
        image_shape: tuple[int, int, int],
        workers: int,
        repeats: bool = False,
        crops: Crops | None = None,
    ) -> None:
        passes = _ENDLESS if repeats else 1
        self._pieces = _Pieces(examples, rows, image_shape, passes, crops)
        # The only reference: an iterator that is left to the interpreter's end complains there.
        self._held = [begin(self._pieces, self._pieces.piece_bytes, _useful(workers, examples))]
        self.close = weakref.finalize(self, end, self._held)

    def fill(self, images: np.ndarray) -> None:
        """Writes the next part.

        Args:
          images: uint8 [images of a part, height * width * channels], to be overwritten.

        Raises:
          InputError: an image cannot be read, or has another shape than it should have.
          RunError: a process that decodes was killed.
        """
        for start in range(0, len(images), self._pieces.piece_images):
            try:
                piece = take(self._held[0])
            except InputError as error:
                raise InputError(
                    f"{error} A run that has begun does not go on with other images: its best "
                    "weights can be tested (--mode=evaluate), and a new run can start from them "
                    "(config.init_from)."
                ) from error
            images[start : start + len(piece)] = piece


def count_values(examples: Examples, image_shape: tuple[int, int, int], workers: int) -> np.ndarray:
    """Counts how often each value of a pixel comes: int64 [channels, 256], by decoding all images.

    Args:
      examples: the images.
      image_shape: height, width, channels of every image.
      workers: processes that decode; 0: threads of this process.

    Raises:
      InputError: an image cannot be read, or has another shape than it should have.
      RunError: a process that decodes was killed.
    """
    rows = np.arange(len(examples), dtype=np.int32)[None]
    counts = _Counts(_Pieces(examples, rows, image_shape))
    total = np.zeros((image_shape[-1], 256), np.int64)
    iterator = begin(counts, total.nbytes, _useful(workers, examples))  # what is handed over
    try:
        for _ in range(len(counts)):
            total += take(iterator)
    finally:
        iterator.close()
    return total


class _Pieces:
    """What Grain reads from: decoded images by the index of a piece. Threads share one."""

    def __init__(
        self,
        examples: Examples,
        rows: np.ndarray,
        image_shape: tuple[int, int, int],
        passes: int = 1,
        crops: Crops | None = None,
    ):
        self._examples = examples
        self._rows = np.where(rows == PADDING, 0, rows)
        self._passes = passes
        self._crops = crops
        self._image_shape = image_shape
        image_bytes = int(np.prod(image_shape))
        most = _most_images(image_shape)
        # A part is cut evenly, so that no thread has a piece that is nearly nothing.
        pieces = -(-rows.shape[1] // most)
        self.piece_images = -(-rows.shape[1] // pieces)
        self._pieces_of_part = -(-rows.shape[1] // self.piece_images)
        self.piece_bytes = self.piece_images * image_bytes

    def __len__(self) -> int:
        return len(self._rows) * self._pieces_of_part * self._passes

    def __getitem__(self, index: int) -> np.ndarray | str:
        """uint8 [images of a piece, height * width * channels]; or a message, as InputError's."""
        part, piece = divmod(int(index), self._pieces_of_part)
        start = piece * self.piece_images
        piece_rows = part % len(self._rows), slice(start, start + self.piece_images)
        rows = self._rows[piece_rows]
        # Padding, and repeated augmentation, ask for an image several times.
        distinct, places = np.unique(rows, return_inverse=True)
        try:
            if self._crops is None:
                found = self._examples.gather(distinct.tolist())
            else:  # each time another part of it
                distinct, places = rows, np.arange(len(rows))
                seeds = self._crops.seeds[piece_rows].tolist()
                frames = [random_frame(seed, self._crops.smallest) for seed in seeds]
                found = self._examples.gather(rows.tolist(), frames)
            images = np.empty((len(distinct), *self._image_shape), np.uint8)
            for place, example in enumerate(found):
                images[place] = checked_image(example, distinct[place], self._image_shape)
        except InputError as error:
            return str(error)
        except OSError as error:  # of a source of the user's own; it is no error of the run's disk
            return f"One of images {sorted(distinct.tolist())} cannot be read ({error})."
        return images[places].reshape(len(rows), -1)


class _Counts:
    """What Grain reads from to count values: counts of a piece, int64 [channels, 256]."""

    def __init__(self, pieces: _Pieces):
        self._pieces = pieces
        self._channels = pieces._image_shape[-1]

    def __len__(self) -> int:
        return len(self._pieces)

    def __getitem__(self, index: int) -> np.ndarray | str:
        images = self._pieces[index]
        if isinstance(images, str):
            return images
        values = images.reshape(-1, self._channels).T
        return np.stack([np.bincount(channel, minlength=256) for channel in values])


def _most_images(image_shape: tuple[int, int, int]) -> int:
    """Images of a piece, at most."""
    return max(1, min(_PIECE_IMAGES, _PIECE_BYTES // int(np.prod(image_shape))))


def _useful(workers: int, examples: Examples) -> int:
    """The processes that pay: none where nothing is to be decoded, and much to be copied."""
    return 0 if isinstance(examples, ArrayExamples) else workers
