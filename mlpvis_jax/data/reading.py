"""Images in a given order, read and decoded ahead of their use, by Grain: threads or processes.

Grain (`pip install grain`) hands out what is asked for in the order in which it is asked for,
whatever number of threads or processes works on it. It is imported where a stream begins.
"""

import importlib.util
import multiprocessing
import multiprocessing.connection
import multiprocessing.resource_tracker
import os
import shutil
import signal
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from mlpvis_jax.data.examples import ArrayExamples, Examples
from mlpvis_jax.data.framing import random_frame
from mlpvis_jax.data.resident import PADDING
from mlpvis_jax.errors import InputError, RunError, first_line

# A piece is what a thread decodes at a time, and what a process hands over at a time.
_PIECE_BYTES = 1 << 22
_PIECE_IMAGES = 512  # at most: of tiny images, that nobody waits for the first
# Decoded ahead, at most, but for a piece of each thread.
_AHEAD_BYTES = 1 << 27
_AHEAD_PIECES = 64
_ENDLESS = 1 << 20  # times that a set is measured, which no run comes near
_SHARED_MEMORY = "/dev/shm"
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


def refuse_without_grain() -> None:
    """Raises InputError where Grain is not installed."""
    if importlib.util.find_spec("grain") is None:
        raise InputError(
            "config.data.feed=stream reads images through Grain, which is not installed: "
            "`pip install grain`, or set config.data.feed=resident."
        )


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
        self._held = [_begin(self._pieces, self._pieces.piece_bytes, examples, workers)]
        self.close = weakref.finalize(self, _end, self._held)

    def fill(self, images: np.ndarray) -> None:
        """Writes the next part.

        Args:
          images: uint8 [images of a part, height * width * channels], to be overwritten.

        Raises:
          InputError: an image cannot be read, or has another shape than it should have.
          RunError: a process that decodes was killed.
        """
        for start in range(0, len(images), self._pieces.piece_images):
            piece = _next(self._held[0])
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
    iterator = _begin(counts, _PIECE_BYTES, examples, workers)
    total = np.zeros((image_shape[-1], 256), np.int64)
    try:
        for _ in range(len(counts)):
            total += _next(iterator)
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
        most = max(1, min(_PIECE_IMAGES, _PIECE_BYTES // image_bytes))
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
        except InputError as error:
            return str(error)
        images = np.empty((len(distinct), *self._image_shape), np.uint8)
        for place, example in enumerate(found):
            if example.image.shape != self._image_shape:
                return (
                    f"Image {distinct[place]} has shape {list(example.image.shape)}, where "
                    f"{list(self._image_shape)} is that of the source."
                )
            images[place] = example.image
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


def _begin(pieces: Any, piece_bytes: int, examples: Examples, workers: int) -> Any:
    """An iterator of Grain over all pieces, which begins to work at once."""
    import grain
    from absl import flags

    if not flags.FLAGS.is_parsed():  # Grain asks for flags of its own; the command has other ones
        flags.FLAGS.mark_as_parsed()
    if isinstance(examples, ArrayExamples):  # nothing is to be decoded, and much to be copied
        workers = 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = max(1, (cores or 1) // max(1, workers))
    ahead = min(_AHEAD_PIECES, _AHEAD_BYTES // max(1, piece_bytes))
    # A thread has a piece in hand, and one more that is done.
    buffered = 2 * threads if workers else max(2 * threads, ahead)
    read_options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=buffered)
    found = grain.MapDataset.source(pieces).to_iter_dataset(read_options)
    if workers:
        # Grain buffers twice: where a process puts its pieces, and where they are taken from.
        each = max(1, ahead // workers // 2)
        _refuse_without_shared_memory(workers * (2 * each + 3) * piece_bytes)
        _begin_tracker()
        options = grain.MultiprocessingOptions(workers, per_worker_buffer_size=each)
        found = found.mp_prefetch(options, worker_init_fn=_begin_worker)
        found = grain.experimental.ThreadPrefetchIterDataset(found, prefetch_buffer_size=1)
    iterator = iter(found)
    iterator.start_prefetch()
    return iterator


def _refuse_without_shared_memory(needed: int) -> None:
    """Raises InputError where processes could not hand over what they decode."""
    if not os.path.isdir(_SHARED_MEMORY):
        return
    free = shutil.disk_usage(_SHARED_MEMORY).free
    if free < needed:
        raise InputError(
            f"config.data.workers: processes hand images over in shared memory, of which "
            f"{_SHARED_MEMORY} has {free / 1e6:,.0f} MB free and {needed / 1e6:,.0f} MB may be "
            "needed (a container is given more by --shm-size). Set config.data.workers=0, which "
            "needs none, or fewer."
        )


def _begin_tracker() -> None:
    """Begins the process that removes what is left of shared memory, without a warning of it.

    At the end of a program Grain leaves a piece or two, which that process then removes.
    """
    before = os.environ.get("PYTHONWARNINGS")
    ignored = "ignore:resource_tracker:UserWarning"
    os.environ["PYTHONWARNINGS"] = f"{before},{ignored}" if before else ignored
    try:
        multiprocessing.resource_tracker.ensure_running()
    finally:
        if before is None:
            del os.environ["PYTHONWARNINGS"]
        else:
            os.environ["PYTHONWARNINGS"] = before


def _end(held: list[Any]) -> None:
    """Ends the threads or processes of the iterator that is held."""
    iterator = held.pop()
    try:
        # A process looks up from its work twice a second: nobody is to wait for that.
        threading.Thread(target=iterator.close).start()
    except RuntimeError:  # the interpreter ends, and begins no more threads
        iterator.close()


def _next(iterator: Iterator[Any]) -> np.ndarray:
    try:
        piece = next(iterator)
    except RuntimeError as error:
        if "terminated unexpectedly" not in str(error):
            raise
        raise RunError(
            f"A process that decodes images has ended ({first_line(error)}). Where memory is short "
            "the system ends processes: lower config.data.workers. Give the same command again, "
            "and the run goes on from its newest checkpoint."
        ) from error
    if isinstance(piece, str):
        raise InputError(piece)
    return piece


def _begin_worker(index: int, number: int) -> None:
    """Makes a process leave signals to the one that started it, and end when that one does."""
    for one in _SIGNALS:
        signal.signal(one, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow(sentinel: Any, end: Callable[[int], None]) -> None:
        multiprocessing.connection.wait([sentinel])
        end(1)

    threading.Thread(target=follow, args=(parent.sentinel, os._exit), daemon=True).start()
