"""The processes that `benchmarks.stream` measures: readers of a folder, and a run's whole feed.

python -m benchmarks.stream_workers decode CONTESTANT FOLDER SIZE CORES
python -m benchmarks.stream_workers epoch FOLDER SIZE BATCH WORKERS
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.workers import Measure, answer

_BATCH = 64
_CLOCK_TICK = 0.01  # seconds of a core's time, as the system counts it
_WARM_UP = 4  # batches before the clock runs: threads and processes have begun by then

# A contestant gives endless batches, uint8 [batch, size, size, 3], and ends what it began.
Batches = tuple[Iterator[Any], Callable[[], object]]


def ours(folder: Path, size: int, workers: int, reduced_jpeg: bool = False) -> Batches:
    """Reads the project's stream, in the order of a random permutation."""
    from mlpvis_jax.data import open_source
    from mlpvis_jax.data.reading import ImageStream

    source = open_source(f"folder:{folder}", image_size=size, reduced_jpeg=reduced_jpeg)
    whole = len(source.train) // _BATCH * _BATCH
    rows = np.random.default_rng(0).permutation(whole).astype(np.int32).reshape(-1, _BATCH)
    stream = ImageStream(source.train, rows, source.image_shape, workers, repeats=True)

    def batches() -> Iterator[np.ndarray]:
        while True:
            images = np.empty((_BATCH, size * size * 3), np.uint8)
            stream.fill(images)
            yield images

    return batches(), stream.close


def torch_loader(folder: Path, size: int, workers: int) -> Batches:
    """Reads by PyTorch's DataLoader over Pillow, as most write it."""
    import torch
    from PIL import Image

    paths = sorted(folder.glob("train/*/*.jpg"))

    class Files(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(paths)

        def __getitem__(self, index: int) -> Any:
            with Image.open(paths[index]) as image:
                resized = image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
            return torch.from_numpy(np.array(resized))

    torch.set_num_threads(1)
    loader = torch.utils.data.DataLoader(
        Files(),
        _BATCH,
        shuffle=True,
        num_workers=workers,
        drop_last=True,
        prefetch_factor=4,
        persistent_workers=True,
    )

    def batches() -> Iterator[Any]:
        while True:
            yield from loader

    found = batches()
    return found, found.close  # type: ignore[attr-defined]


def tf_data(folder: Path, size: int, cores: int, antialias: bool) -> Batches:
    """Reads by tf.data and its decoder; without antialiasing its pixels are other ones."""
    import tensorflow as tf

    paths = [str(path) for path in sorted(folder.glob("train/*/*.jpg"))]

    def decode(path: Any) -> Any:
        image = tf.io.decode_jpeg(tf.io.read_file(path), channels=3)
        resized = tf.image.resize(image, (size, size), antialias=antialias)
        return tf.cast(resized, tf.uint8)

    options = tf.data.Options()
    options.threading.private_threadpool_size = cores
    dataset = tf.data.Dataset.from_tensor_slices(paths).shuffle(len(paths)).repeat()
    dataset = dataset.map(decode, num_parallel_calls=cores).batch(_BATCH).prefetch(2)
    return dataset.with_options(options).as_numpy_iterator(), lambda: None


CONTESTANTS: dict[str, Callable[[Path, int, int], Batches]] = {
    "mlpvis_jax, threads": lambda folder, size, cores: ours(folder, size, 0),
    "mlpvis_jax, processes": ours,
    "mlpvis_jax, reduced_jpeg": lambda folder, size, cores: ours(folder, size, 0, True),
    "torch DataLoader, Pillow": torch_loader,
    "tf.data": lambda folder, size, cores: tf_data(folder, size, cores, antialias=False),
    "tf.data, antialiased": lambda folder, size, cores: tf_data(folder, size, cores, True),
}


def decode(name: str, folder: Path, size: int, cores: int) -> tuple[dict[str, Any], Measure]:
    """Measures the images/s of a contestant on so many cores."""
    os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:cores]))
    batches, close = CONTESTANTS[name](folder, size, cores)
    next(batches)  # what is not installed is told now
    close()

    def measure(seconds: float) -> dict[str, Any]:
        batches, close = CONTESTANTS[name](folder, size, cores)
        for _ in range(_WARM_UP):
            next(batches)
        number, start, computed = 0, time.perf_counter(), _core_seconds()
        while not number or time.perf_counter() - start < seconds:
            next(batches)
            number += _BATCH
        passed, computed = time.perf_counter() - start, _core_seconds() - computed
        close()
        del batches
        return {
            "images_per_second": number / passed,
            "images_per_core_second": number / max(computed, _CLOCK_TICK),
        }

    return {}, measure


def epoch(folder: Path, size: int, batch: int, workers: int) -> tuple[dict[str, Any], Measure]:
    """Measures an epoch of a run's feed over shards: seconds, and memory while it lasts."""
    from benchmarks.recipes import run_config
    from mlpvis_jax.data import open_source
    from mlpvis_jax.data.streamed import StreamedSet
    from mlpvis_jax.running.placement import DataParallel
    from mlpvis_jax.running.stream import StreamFeed

    placement = DataParallel.all()
    seeds = placement.place([np.uint32(0)])
    changes = [
        *(f"data.source=shards:{folder}", f"model.image_size={size}", f"batch_size={batch}"),
        *(f"data.workers={workers}", "duration=1 epoch"),
    ]
    config = run_config("mixer", changes)

    def opened() -> StreamFeed:
        source = open_source(config.data.source, image_size=size)
        return StreamFeed(placement, StreamedSet.of(source, "train"), config, 1, seeds)

    def measure(_: float) -> dict[str, Any]:
        start = time.perf_counter()
        opened()
        indexed = time.perf_counter()
        feed = opened()
        chunks = feed.chunks(1, seeds, 1, 0, config.steps_per_dispatch)
        steps = next(chunks).number
        first = time.perf_counter()
        with _Memory() as memory:
            for chunk in chunks:
                steps += chunk.number
        assert steps == feed.steps_per_epoch
        return {
            "seconds_to_index": indexed - start,
            "seconds_to_first_batch": first - indexed,
            "seconds_of_epoch": time.perf_counter() - indexed,
            "images_per_second": feed.num_examples / (time.perf_counter() - indexed),
            "bytes": memory.samples,
        }

    return {"images": None}, measure


def _core_seconds() -> float:
    """Seconds that cores have worked for this process, and for its children, past and present."""
    import psutil

    this = psutil.Process()
    total = this.cpu_times()
    seconds = total.user + total.system + total.children_user + total.children_system
    for child in this.children(recursive=True):
        times = child.cpu_times()
        seconds += times.user + times.system
    return seconds


class _Memory:
    """Samples the memory of this process and its children that no other process has.

    Attributes:
      samples: bytes, two a second.
    """

    def __init__(self) -> None:
        self.samples: list[int] = []
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> "_Memory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join()

    def _watch(self) -> None:
        import psutil

        this = psutil.Process()
        while True:
            processes = [this, *this.children(recursive=True)]
            self.samples.append(sum(one.memory_full_info().uss for one in processes))
            if self._ends.wait(0.5):
                return


if __name__ == "__main__":
    kind, *given = sys.argv[1:]
    if kind == "decode":
        answer(lambda: decode(given[0], Path(given[1]), int(given[2]), int(given[3])))
    else:
        answer(lambda: epoch(Path(given[0]), *map(int, given[1:])))
