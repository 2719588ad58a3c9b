"""A set ten times as large takes no more memory, as it goes through a run's feed."""

import sys

import pytest

from benchmarks import stream_images
from benchmarks.workers import start

pytest.importorskip("grain", reason="Grain, which streams are read with, is not installed")


@pytest.mark.slow
@pytest.mark.first
def test_memory_does_not_grow_with_the_set(tmp_path):
    side, most = 48, {}
    for number in (2_000, 20_000):
        shards = tmp_path / str(number)
        stream_images.write_shards(shards, number, side)
        given = ["epoch", str(shards), str(side), "100", "0"]
        command = [sys.executable, "-m", "benchmarks.stream_workers", *given]
        environment = {"JAX_PLATFORMS": "cpu", "XDG_CACHE_HOME": str(tmp_path / "cache")}
        with start(command, environment) as worker:
            most[number] = max(worker.measure(0)["bytes"])
    decoded = 20_000 * side * side * 3  # 138 MB
    assert most[20_000] - most[2_000] < decoded / 3
