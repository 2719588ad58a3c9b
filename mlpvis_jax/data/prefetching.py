"""Grain's iterators: pieces of work that threads or processes do ahead of their use.

Grain (`pip install grain`) hands out what is asked for in the order in which it is asked for,
whatever number of threads or processes works on it. It is imported where a stream begins.
"""

import contextlib
import importlib.util
import multiprocessing
import multiprocessing.connection
import multiprocessing.resource_tracker
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from mlpvis_jax.errors import InputError, RunError, first_line

# Done ahead, at most, but for a piece of each thread.
_AHEAD_BYTES = 1 << 27
_AHEAD_PIECES = 64
_SHARED_MEMORY = "/dev/shm"
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


def refuse_without_grain() -> None:
    """Raises InputError where Grain is not installed."""
    if importlib.util.find_spec("grain") is None:
        raise InputError(
            "config.data.feed=stream reads images through Grain, which is not installed: "
            "`pip install grain`, or set config.data.feed=resident."
        )


def begin(pieces: Any, piece_bytes: int, workers: int) -> Any:
    """Makes an iterator over all pieces, which begins to work at once.

    Args:
      pieces: a sequence, each of whose items is work; a process is sent a copy of it.
      piece_bytes: of an item, about.
      workers: processes that do it; 0: threads of this process.

    Raises:
      InputError: processes could not hand over what they have done.
    """
    import grain
    from absl import flags

    if not flags.FLAGS.is_parsed():  # Grain asks for flags of its own; the command has other ones
        flags.FLAGS.mark_as_parsed()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = max(1, (cores or 1) // max(1, workers))
    ahead = _ahead(piece_bytes)
    # A thread has a piece in hand, and one more that is done.
    buffered = 2 * threads if workers else max(2 * threads, ahead)
    read_options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=buffered)
    found = grain.MapDataset.source(pieces).to_iter_dataset(read_options)
    if workers:
        each = _ahead_of_worker(piece_bytes, workers)
        refuse_without_shared_memory(piece_bytes, workers)
        _begin_tracker()
        options = grain.MultiprocessingOptions(workers, per_worker_buffer_size=each)
        found = found.mp_prefetch(options, worker_init_fn=_begin_worker)
        found = grain.experimental.ThreadPrefetchIterDataset(found, prefetch_buffer_size=1)
    iterator = iter(found)
    iterator.start_prefetch()
    return iterator


def _ahead(piece_bytes: int) -> int:
    """Pieces that are done ahead."""
    return min(_AHEAD_PIECES, _AHEAD_BYTES // max(1, piece_bytes))


def _ahead_of_worker(piece_bytes: int, workers: int) -> int:
    # Grain buffers twice: where a process puts its pieces, and where they are taken from.
    return max(1, _ahead(piece_bytes) // workers // 2)


def refuse_without_shared_memory(piece_bytes: int, workers: int, streams: int = 1) -> None:
    """Refuses processes that could not hand over what they decode.

    Args:
      piece_bytes: of a piece, about.
      workers: processes of a stream.
      streams: that decode at the same time.

    Raises:
      InputError: less shared memory is free than they may fill.
    """
    if not workers or not os.path.isdir(_SHARED_MEMORY):
        return
    free = shutil.disk_usage(_SHARED_MEMORY).free
    needed = streams * workers * (2 * _ahead_of_worker(piece_bytes, workers) + 3) * piece_bytes
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


def end(held: list[Any]) -> None:
    """Ends the threads or processes of the iterator that is held, the only item of a list."""
    iterator = held.pop()

    def close() -> None:
        # Where two threads close an iterator, one forgets the process while the other looks at it.
        with contextlib.suppress(AttributeError):
            iterator.close()

    if threading.main_thread().is_alive():
        # A process looks up from its work twice a second: nobody is to wait for that.
        threading.Thread(target=close).start()
    else:  # the interpreter ends, when Grain closes what is still open
        close()


def take(iterator: Iterator[Any]) -> np.ndarray:
    """Takes the next piece.

    Raises:
      InputError: the piece is a message, and no array.
      RunError: a process was killed.
    """
    try:
        piece = next(iterator)
    except RuntimeError as error:
        if "terminated unexpectedly" not in str(error):
            raise
        raise RunError(
            f"A process that decodes images has ended ({first_line(error)}). Where memory is short "
            "the system ends processes: lower config.data.workers, and go on by --workdir, "
            "from the newest checkpoint."
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
