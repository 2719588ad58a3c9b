"""How fast images are decoded for a stream, beside others; and that its memory does not grow.

python -m benchmarks.stream

Files are read into uint8 batches of 224 x 224 pixels, on one core and on all. Each contestant has a
process of its own; in every round each of them reads for a few seconds, one after the other. Peers
are measured where they are installed. Then an epoch's images of tar shards go through a run's feed,
for sets of several sizes. README.md says how to read it.
"""

import argparse
import contextlib
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import record, stream_images, tables
from benchmarks.rounds import interleaved, median_ratio, summarize
from benchmarks.stream_workers import CONTESTANTS
from benchmarks.workers import Worker, WorkerError, start

_MODULE = "benchmarks.stream_workers"
_OURS = next(iter(CONTESTANTS))  # what all are compared with
# What is compared is decoding: none of these computes anything on a device.
_ENVIRONMENT = {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "2"}


def main(arguments: Sequence[str]) -> dict[str, Any]:
    """Runs the command line: prints the tables, writes the JSON; returns the results."""
    settings = _parse(arguments)
    results: dict[str, Any] = {"decoding": {}, "epochs": {}}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "folder")
        data = stream_images.write_folder(folder, settings.images, *settings.shape)
        for cores in settings.cores:
            results["decoding"][str(cores)] = _measure_decoding(folder, cores, settings)
    for number in settings.sets:
        with tempfile.TemporaryDirectory() as temporary:
            results["epochs"][str(number)] = _measure_epoch(Path(temporary), number, settings)
    path = record.write("stream", arguments, settings, "cpu", data, results)
    _print_tables(results, data)
    record.say(f"Written to {path}")
    return results


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.stream", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each turn, at least")
    parser.add_argument("--images", type=int, default=1024, help="files to decode")
    parser.add_argument("--shape", type=int, nargs=2, default=(375, 500), help="of the files")
    parser.add_argument("--size", type=int, default=224, help="to decode to")
    parser.add_argument(
        "--cores", type=int, nargs="+", default=sorted({1, len(os.sched_getaffinity(0))})
    )
    parser.add_argument(
        "--sets", type=int, nargs="*", default=[20_000, 200_000], help="images of the tar shards"
    )
    parser.add_argument("--set-size", type=int, default=64, help="pixels of their sides")
    parser.add_argument("--batch", type=int, default=256, help="of an epoch")
    parser.add_argument("--workers", type=int, default=0, help="processes of an epoch's feed")
    parser.add_argument("--out", help="JSON file; by default a new one in benchmarks/results/")
    return parser.parse_args(arguments)


def _measure_decoding(folder: Path, cores: int, settings: argparse.Namespace) -> dict[str, Any]:
    """All rounds on so many cores: images/s of each contestant, and who is missing and why."""
    answers: dict[str, list[dict[str, float]]] = {}
    failed = {}
    with contextlib.ExitStack() as stack:
        workers: dict[str, Worker] = {}
        for name in CONTESTANTS:
            given = ["decode", name, str(folder), str(settings.size), str(cores)]
            command = [sys.executable, "-m", _MODULE, *given]
            record.say(f"{cores} cores: starting {name}")
            try:
                workers[name] = stack.enter_context(start(command, _ENVIRONMENT))
            except WorkerError as error:
                if name == _OURS:
                    raise
                failed[name] = str(error).splitlines()[-1]
                record.say(f"{name} is left out. {failed[name]}")
        for number, name in interleaved(list(workers), settings.rounds):
            record.say(f"{cores} cores, round {number + 1} of {settings.rounds}: {name}")
            answers.setdefault(name, []).append(workers[name].measure(settings.seconds))
    keys = ("images_per_second", "images_per_core_second")
    rates = {
        name: {key: [one[key] for one in found] for key in keys} for name, found in answers.items()
    }
    ours = rates[_OURS][keys[1]]
    libraries = {
        name: {
            **{key: summarize(values) for key, values in of.items()},
            "project_is_times_faster": median_ratio(ours, of[keys[1]]),
        }
        for name, of in rates.items()
    }
    return {"libraries": libraries, "failed": failed}


def _measure_epoch(folder: Path, number: int, settings: argparse.Namespace) -> dict[str, Any]:
    """An epoch of a set of so many images in a process of its own, whose index is made anew."""
    record.say(f"Writing {number:,} images of {settings.set_size} px into shards")
    stream_images.write_shards(folder / "shards", number, settings.set_size)
    given = [folder / "shards", settings.set_size, settings.batch, settings.workers]
    command = [sys.executable, "-m", _MODULE, "epoch", *map(str, given)]
    record.say("Reading an epoch of them")
    with start(command, {**_ENVIRONMENT, "XDG_CACHE_HOME": str(folder / "cache")}) as worker:
        found = worker.measure(0)
    samples = found.pop("bytes")
    tenth = samples[len(samples) // 10 :]
    return {**found, "memory_bytes": {"after_a_tenth": tenth[0], "most": max(samples)}}


def _print_tables(results: dict[str, Any], data: str) -> None:
    rows = [
        [
            name,
            cores,
            f"{found['images_per_second']['median']:,.0f}",
            f"{found['images_per_core_second']['median']:,.0f}",
            f"{found['images_per_core_second']['least']:,.0f} to "
            f"{found['images_per_core_second']['most']:,.0f}",
            f"{found['project_is_times_faster']:.2f} x",
        ]
        for cores, measured in results["decoding"].items()
        for name, found in measured["libraries"].items()
    ]
    columns = (
        *("library", "cores", "images/s", "per second of a core", "least to most"),
        "threads of mlpvis_jax are",
    )
    tables.show(f"Decoding {data}", columns, rows)
    of_epoch = (
        *("images", "index, s", "first batches, s", "epoch, s", "images/s"),
        *("memory after a tenth, GB", "most, GB"),
    )
    rows = [
        [
            f"{int(number):,}",
            f"{found['seconds_to_index']:.1f}",
            f"{found['seconds_to_first_batch']:.2f}",
            f"{found['seconds_of_epoch']:.0f}",
            f"{found['images_per_second']:,.0f}",
            f"{found['memory_bytes']['after_a_tenth'] / 1e9:.2f}",
            f"{found['memory_bytes']['most'] / 1e9:.2f}",
        ]
        for number, found in results["epochs"].items()
    ]
    tables.show("An epoch of tar shards through a run's feed", of_epoch, rows)


if __name__ == "__main__":
    main(sys.argv[1:])
