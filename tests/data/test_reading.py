"""Images decoded ahead: in the order that is asked for, by any number of threads and processes."""

import collections
import multiprocessing
import os
import signal
import threading
import time
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlpvis_jax.data import Source, decode, open_source, prefetching, reading
from mlpvis_jax.data.examples import ArrayExamples, Example, Examples
from mlpvis_jax.data.resident import PADDING
from mlpvis_jax.errors import InputError, RunError
from tests.images_on_disk import made, write_shards

pytest.importorskip("grain", reason="Grain, which streams are read with, is not installed")
WORKERS = [0, *(pytest.param(number, marks=pytest.mark.slow) for number in (1, 2))]
SIZE = 8
IMAGE_BYTES = SIZE * SIZE * 3


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    """Shards of 30 images to train on; a piece is 4 of them."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(reading, "_PIECE_IMAGES", 4)
    write_shards(tmp_path / "set", {"train": made(30), "test": made(3)})
    return open_source(f"shards:{tmp_path / 'set'}", image_size=SIZE)


def read(stream: reading.ImageStream, parts: int, images: int) -> np.ndarray:
    """So many parts, uint8 [parts, images, height * width * channels]."""
    found = np.empty((parts, images, IMAGE_BYTES), np.uint8)
    for part in found:
        stream.fill(part)
    return found


@pytest.mark.parametrize("workers", WORKERS)
def test_the_order_is_what_is_asked_for(source: Source, workers: int) -> None:
    images, _ = decode(source, "train", cache_dir=None)
    images = images.reshape(30, -1)
    rows = np.random.default_rng(0).permutation(30).astype(np.int32).reshape(3, 10)
    rows[2, 7:] = PADDING
    stream = reading.ImageStream(source.train, rows, source.image_shape, workers)
    found = read(stream, 3, 10)
    # Padding is the first image, as it is in a resident set.
    np.testing.assert_array_equal(found, images[np.where(rows == PADDING, 0, rows)])
    with pytest.raises(StopIteration):
        stream.fill(found[0])
    stream.close()


@pytest.mark.parametrize("workers", WORKERS)
def test_a_set_that_is_measured_comes_again_and_again(source: Source, workers: int) -> None:
    rows = np.arange(30, dtype=np.int32).reshape(5, 6)
    stream = reading.ImageStream(source.train, rows, source.image_shape, workers, repeats=True)
    first, second = read(stream, 5, 6), read(stream, 5, 6)
    np.testing.assert_array_equal(first, second)
    assert len(np.unique(first.reshape(30, -1), axis=0)) == 30
    stream.close()


def test_an_image_that_is_wanted_several_times_is_decoded_once() -> None:
    class Watching(ArrayExamples):
        asked: list[int] = []  # noqa: RUF012

        def gather(self, indices: Sequence[int]) -> list[Example]:
            self.asked.extend(indices)
            return super().gather(indices)

    images = np.random.default_rng(0).integers(0, 256, (5, SIZE, SIZE, 3), np.uint8)
    rows = np.array([[3, 3, 3, 1, 1, 1, PADDING, PADDING]], np.int32)
    examples = Watching(images, np.zeros(5))
    stream = reading.ImageStream(examples, rows, (SIZE, SIZE, 3), 0)
    np.testing.assert_array_equal(
        read(stream, 1, 8)[0], images.reshape(5, -1)[[3, 3, 3, 1, 1, 1, 0, 0]]
    )
    assert sorted(Watching.asked) == [0, 1, 3]


@pytest.mark.parametrize("workers", WORKERS)
def test_values_are_counted(source: Source, workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    images, _ = decode(source, "train", cache_dir=None)
    # As in a container: what is handed over are counts, not images.
    usage = types.SimpleNamespace(free=2_000_000)
    monkeypatch.setattr(prefetching.shutil, "disk_usage", lambda _: usage)
    counts = reading.count_values(source.train, source.image_shape, workers)
    for channel in range(3):
        wanted = [np.count_nonzero(images[..., channel] == value) for value in range(256)]
        np.testing.assert_array_equal(counts[channel], wanted)


@pytest.mark.parametrize("workers", WORKERS)
def test_an_image_that_cannot_be_decoded_is_named(
    source: Source, tmp_path: Path, workers: int
) -> None:
    shard = tmp_path / "set/train-000001.tar"
    content = bytearray(shard.read_bytes())
    content[512:540] = bytes(28)  # after the first header: what says that it is a JPEG
    shard.write_bytes(content)
    rows = np.arange(30, dtype=np.int32)[None]
    stream = reading.ImageStream(source.train, rows, source.image_shape, workers)
    with pytest.raises(InputError, match=r"000010.jpg in .*train-000001.tar cannot be decoded"):
        read(stream, 1, 30)
    stream.close()


def test_an_image_that_a_source_of_ones_own_cannot_read_is_named() -> None:
    class Lost(Examples):
        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: int) -> Example:
            raise FileNotFoundError(2, "No such file or directory", "17.png")

    stream = reading.ImageStream(Lost(), np.array([[0, 1, 2]], np.int32), (SIZE, SIZE, 3), 0)
    with pytest.raises(InputError, match=r"One of images \[0, 1, 2\] cannot be read .*17\.png"):
        read(stream, 1, 3)


def test_an_image_of_another_shape_is_refused() -> None:
    class Odd(Examples):
        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: int) -> Example:
            return Example(np.zeros((SIZE, SIZE - (index == 2), 3), np.uint8), 0)

    stream = reading.ImageStream(Odd(), np.array([[0, 1, 2]], np.int32), (SIZE, SIZE, 3), 0)
    with pytest.raises(InputError, match=r"Image 2 is uint8 \[8, 7, 3\], where uint8 \[8, 8, 3\]"):
        read(stream, 1, 3)


@pytest.mark.slow
def test_a_process_that_is_killed_is_told(source: Source) -> None:
    rows = np.tile(np.arange(30, dtype=np.int32), (1000, 1))
    before = set(multiprocessing.active_children())
    stream = reading.ImageStream(source.train, rows, source.image_shape, 2)
    read(stream, 1, 30)
    first, _ = set(multiprocessing.active_children()) - before
    os.kill(first.pid, signal.SIGTERM)  # which is for the process that they work for
    read(stream, 1, 30)
    os.kill(first.pid, signal.SIGKILL)
    with pytest.raises(RunError, match=r"decodes images has ended .*lower config.data.workers"):
        read(stream, 999, 30)
    stream.close()
    deadline = time.monotonic() + 60
    while set(multiprocessing.active_children()) - before:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_processes_without_shared_memory_are_refused(source: Source, monkeypatch: Any) -> None:
    usage = collections.namedtuple("usage", ["free"])
    monkeypatch.setattr(prefetching.shutil, "disk_usage", lambda path: usage(1_000_000))
    rows = np.tile(np.arange(30, dtype=np.int32), (1000, 1))
    monkeypatch.setattr(reading, "_PIECE_BYTES", 1 << 40)
    monkeypatch.setattr(reading, "_PIECE_IMAGES", 10_000)
    big = np.tile(np.arange(30, dtype=np.int32), (1, 1000))
    with pytest.raises(InputError, match=r"has 1 MB free and .*Set config.data.workers=0"):
        reading.ImageStream(source.train, big, source.image_shape, 2)
    reading.ImageStream(source.train, rows, source.image_shape, 0).close()


def test_without_grain_a_stream_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefetching.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="`pip install grain`"):
        prefetching.refuse_without_grain()


def test_a_stream_is_closed_without_a_word_where_a_process_has_ended() -> None:
    class Iterator:
        def close(self) -> None:
            raise AttributeError("'NoneType' object has no attribute 'is_alive'")

    before = threading.active_count()
    prefetching.end(
        [Iterator()]
    )  # an exception in its thread would be a warning, which is an error
    while threading.active_count() > before:
        time.sleep(0.01)
