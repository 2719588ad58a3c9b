"""What an accelerator would run, without one: the project's programs, compiled and read.

python -m benchmarks.ahead_of_time --tpu-python=TPU/bin/python --cuda-python=CUDA/bin/python

Each compiler has an environment of its own, made once; a flag that is left out leaves its
accelerators out:

    python -m venv TPU   && TPU/bin/pip install -e . 'jax[tpu]==0.10.2'
    python -m venv CUDA  && CUDA/bin/pip install -e . jax==0.10.2 jax-cuda13-plugin==0.10.2 \\
        jax-cuda13-pjrt==0.10.2 nvidia-cuda-nvcc nvidia-cuda-runtime nvidia-cublas \\
        nvidia-cudnn-cu13 nvidia-cufft nvidia-cusolver nvidia-cusparse nvidia-nvjitlink \\
        nvidia-nccl-cu13 nvidia-cuda-cupti nvidia-cuda-nvrtc nvidia-nvshmem-cu13

What is compiled, part by part (--parts):

 - programs: a step, and a dispatch over resident CIFAR-100, on one chip;
 - chips: a step whose batch is cut over several chips, 128 images for each;
 - populations: a dispatch of several trials, beside what a sweep estimates that they take;
 - memory: a step of models of published sizes at 224 pixels, by the batch, by whether activations
   are computed again, and by the size of a microbatch.

Nothing runs, so nothing is timed. The file is written after every program: the same command with
the same --out goes on with what is missing, or failed, in it.
"""

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks import ahead_of_time_tables, recipes, record
from benchmarks.accelerators import ACCELERATORS
from benchmarks.workers import Worker, WorkerError, start

LARGE_MODELS = ("mixer_b16", "mixer_l16", "mixer_h14", "gmlp_b16")
_PROGRAMS = ("dispatch", "step")
_BATCH_OF_A_CHIP = 128
_MICROBATCH = 256


@dataclasses.dataclass(frozen=True)
class Cell:
    """One program to compile.

    Attributes:
      part: of the benchmark, such as "programs".
      accelerator: a key of ACCELERATORS.
      model: mixer, fnet, gmlp, or a preset's name.
      program: "step" or "dispatch".
      chips: that the batch is cut over.
      trials: of a population; None for a single run.
      changes: settings as KEY=VALUE.
    """

    part: str
    accelerator: str
    model: str
    program: str
    chips: int = 1
    trials: int | None = None
    changes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Names the cell, by another name for each."""
        where = f"{self.accelerator} x {self.chips}"
        trials = "" if self.trials is None else f"{self.trials} trials"
        return " ".join(filter(None, [where, self.model, self.program, trials, *self.changes]))


def main(arguments: Sequence[str]) -> dict[str, Any]:
    """Runs the command line: prints the tables, writes the JSON; returns the results."""
    settings = _parse(arguments)
    settings.out = settings.out or str(record.new_path("ahead_of_time"))
    results: dict[str, Any] = {}
    if Path(settings.out).exists():
        results = json.loads(Path(settings.out).read_text())["results"]
    cells = [cell for part in settings.parts for cell in _PARTS[part](settings)]
    compiler = _Compilers(settings)

    def write() -> None:
        names = ", ".join(ACCELERATORS[name].name for name in settings.accelerators)
        device = f"none; compiled for {names}"
        record.write("ahead_of_time", arguments, settings, device, "shapes of images", results)

    with compiler:
        for number, cell in enumerate(cells):
            if "failed" in results.get(cell.name, {"failed": ""}):
                record.say(f"{number + 1} of {len(cells)}: {cell.name}")
                results[cell.name] = compiler.compile(cell)
                write()
    write()
    ahead_of_time_tables.show(results)
    record.say(f"Written to {settings.out}")
    return results


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="benchmarks.ahead_of_time",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--tpu-python", help="Python with jax[tpu]")
    parser.add_argument("--cuda-python", help="Python with JAX's CUDA plugin and its libraries")
    parser.add_argument(
        "--accelerators",
        nargs="+",
        choices=list(ACCELERATORS),
        help="by default those that a Python is given for; cpu needs none",
    )
    parser.add_argument("--parts", nargs="+", choices=list(_PARTS), default=list(_PARTS))
    parser.add_argument("--models", nargs="+", default=list(recipes.MODELS))
    parser.add_argument("--programs", nargs="+", choices=_PROGRAMS, default=list(_PROGRAMS))
    parser.add_argument("--chips", type=int, nargs="+", default=[4, 16, 64])
    parser.add_argument("--trials", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--large-models", nargs="+", default=list(LARGE_MODELS))
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[256, 1024, 4096])
    parser.add_argument(
        "--set",
        nargs="+",
        default=["model.dtype=bfloat16"],
        metavar="KEY=VALUE",
        help="settings of the runs",
    )
    parser.add_argument(
        "--out", help="JSON file, gone on with if it is there; by default a new one in results/"
    )
    settings = parser.parse_args(arguments)
    pythons = _pythons(settings)
    if settings.accelerators is None:
        settings.accelerators = [
            name
            for name, one in ACCELERATORS.items()
            if pythons[one.platform] and one.platform != "cpu"
        ]
    for name in settings.accelerators:
        platform = ACCELERATORS[name].platform
        if not pythons[platform]:
            parser.error(f"--{platform}-python says what compiles for {name}; it is missing.")
    if not settings.accelerators:
        parser.error("--tpu-python or --cuda-python says what compiles; give one of them, or both.")
    return settings


def _pythons(settings: argparse.Namespace) -> dict[str, Any]:
    """The Python that compiles for each platform; None where none was given."""
    return {"tpu": settings.tpu_python, "cuda": settings.cuda_python, "cpu": sys.executable}


def _programs(settings: argparse.Namespace) -> Iterator[Cell]:
    for accelerator in settings.accelerators:
        for model in settings.models:
            for program in settings.programs:
                changes = tuple(settings.set)
                yield Cell("programs", accelerator, model, program, changes=changes)


def _chips(settings: argparse.Namespace) -> Iterator[Cell]:
    for chips in settings.chips:
        for accelerator in settings.accelerators:
            if chips not in ACCELERATORS[accelerator].topologies:
                continue
            for model in settings.models:
                changes = (*settings.set, f"batch_size={chips * _BATCH_OF_A_CHIP}")
                yield Cell("chips", accelerator, model, "step", chips, changes=changes)


def _populations(settings: argparse.Namespace) -> Iterator[Cell]:
    for model in settings.models:
        for accelerator in settings.accelerators:
            for trials in settings.trials:
                changes = tuple(settings.set)
                yield Cell(
                    "populations", accelerator, model, "dispatch", trials=trials, changes=changes
                )


def _memory(settings: argparse.Namespace) -> Iterator[Cell]:
    remat, products = ("model.remat=True",), ("model.remat=True", "model.remat_keeps_products=True")
    parts = (f"microbatch_size={_MICROBATCH}",)
    for savings in ((), products, remat, parts, (*remat, *parts)):
        for batch_size in settings.batch_sizes:
            if savings[-1:] == parts and batch_size <= _MICROBATCH:
                continue
            for accelerator in settings.accelerators:
                for model in settings.large_models:
                    sizes = ("model.image_size=224", f"batch_size={batch_size}")
                    changes = (*settings.set, *sizes, *savings)
                    yield Cell("memory", accelerator, model, "step", changes=changes)


_PARTS: dict[str, Callable[[argparse.Namespace], Iterator[Cell]]] = {
    "programs": _programs,
    "chips": _chips,
    "populations": _populations,
    "memory": _memory,
}


class _Compilers:
    """The workers, one for each accelerator, started when they are needed; a context."""

    def __init__(self, settings: argparse.Namespace) -> None:
        self._pythons = _pythons(settings)
        self._running: dict[str, tuple[Any, Worker]] = {}

    def __enter__(self) -> "_Compilers":
        return self

    def __exit__(self, *error: object) -> None:
        for name in list(self._running):
            self._end(name)

    def compile(self, cell: Cell) -> dict[str, Any]:
        """Compiles a cell; one that fails says why, and its worker is started anew for others."""
        cell_fields = {**dataclasses.asdict(cell), "changes": list(cell.changes)}
        name = cell.accelerator
        try:
            worker = self._worker(name)
            revision = {"git_revision": record.git_revision()}
            return {**cell_fields, **revision, **worker.ready, **worker.measure(cell_fields)}
        except WorkerError as error:
            self._end(name)
            record.say(f"{cell.name} failed. {str(error)[-300:]}")
            return {**cell_fields, "failed": str(error)}

    def _worker(self, name: str) -> Worker:
        if name not in self._running:
            python = self._pythons[ACCELERATORS[name].platform]
            context = start([python, "-m", "benchmarks.ahead_of_time_worker", name])
            self._running[name] = (context, context.__enter__())
        return self._running[name][1]

    def _end(self, name: str) -> None:
        if name in self._running:
            context, _ = self._running.pop(name)
            context.__exit__(None, None, None)


if __name__ == "__main__":
    main(sys.argv[1:])
