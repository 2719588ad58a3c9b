"""The tables of `ahead_of_time`: one for each of its parts."""

from collections.abc import Callable, Sequence
from typing import Any

from benchmarks import tables
from benchmarks.accelerators import ACCELERATORS
from mlpvis_jax.sweep.capacity import KEPT_COPIES, STATE_COPIES

_REASON = 200  # characters


def show(results: dict[str, dict[str, Any]]) -> None:
    """Prints a table of each part that there are results of, and what failed."""
    done = [cell for cell in results.values() if "failed" not in cell]
    for part, (title, row_of, columns) in _TABLES.items():
        rows = [row_of(cell) for cell in done if cell["part"] == part]
        if rows:
            tables.show(title, columns, rows)
    failed = {name: cell["failed"] for name, cell in results.items() if "failed" in cell}
    if failed:
        rows = [[name, " ".join(reason.split())[:_REASON]] for name, reason in failed.items()]
        tables.show("What did not compile", ("program", "why"), rows)


def estimated_bytes(cell: dict[str, Any]) -> int:
    """Gives what a sweep counts for a population's trials; see `sweep.capacity.trials_that_fit`."""
    each = STATE_COPIES * cell["parameter_bytes"] + KEPT_COPIES * cell["kept_bytes"]
    return cell["trials"] * each


def own_bytes(cell: dict[str, Any]) -> int:
    """Counts what a program holds beside the data set."""
    return cell["total_bytes"] - cell["data_bytes"]


def _what(cell: dict[str, Any]) -> list[str]:
    chips = f" x {cell['chips']}" if cell["chips"] > 1 else ""
    return [f"{ACCELERATORS[cell['accelerator']].name}{chips}", cell["model"]]


def _programs(cell: dict[str, Any]) -> list[str]:
    step, least = cell["step"], cell["least_seconds"]
    copied = max(step["largest_copy"], (cell["around_the_steps"] or step)["largest_copy"])
    return [
        *(*_what(cell), cell["program"]),
        *(_mega(cell["temporary_bytes"]), _mega(cell["needed_bytes"])),
        f"{cell['temporary_bytes'] / cell['needed_bytes']:.2f}",
        *(_mega(cell["argument_bytes"]), f"{cell['flop'] / 1e9:.1f}"),
        f"{cell['moved_bytes'] / 1e9:.2f}",
        *(f"{step[name]:,}" for name in ("total", "reductions", "copies")),
        _mega(copied),
        *(_micro(least.get(name)) for name in ("arithmetic", "traffic", "launches")),
    ]


def _chips(cell: dict[str, Any]) -> list[str]:
    step = cell["step"]
    collectives = ", ".join(f"{number} {name}" for name, number in step["collectives"].items())
    return [
        *(*_what(cell), collectives, _mega(step["collective_bytes"])),
        *(_mega(cell["temporary_bytes"]), f"{step['total']:,}"),
        f"{cell['moved_bytes'] / 1e9:.2f}",
    ]


def _populations(cell: dict[str, Any]) -> list[str]:
    estimate = estimated_bytes(cell)
    return [
        *(*_what(cell), str(cell["trials"])),
        *(_mega(own_bytes(cell)), _mega(estimate), f"{own_bytes(cell) / estimate:.2f}"),
        *(_mega(cell["temporary_bytes"]), f"{cell['step']['total']:,}"),
        *(_micro(cell["least_seconds"].get(name)) for name in ("arithmetic", "traffic")),
        _micro(cell["least_seconds"].get("launches")),
    ]


def _memory(cell: dict[str, Any]) -> list[str]:
    changes = dict(change.split("=") for change in cell["changes"])
    memory = ACCELERATORS[cell["accelerator"]].memory_bytes
    return [
        *(*_what(cell), changes["batch_size"]),
        *(_remat(changes), changes.get("microbatch_size", "all")),
        *(f"{cell[name] / 1e9:.1f}" for name in ("argument_bytes", "temporary_bytes")),
        f"{cell['total_bytes'] / 1e9:.1f}",
        f"{cell['total_bytes'] / memory:.2f}" if memory else "",
    ]


def _remat(changes: dict[str, str]) -> str:
    if "model.remat" not in changes:
        return "no"
    return "but products" if "model.remat_keeps_products" in changes else "all"


def _mega(number: float) -> str:
    return f"{number / 1e6:,.1f}"


def _micro(seconds: float | None) -> str:
    return f"{1e6 * seconds:,.0f}" if seconds else ""


_LEAST = ("arithmetic, us", "traffic, us", "launches, us")
_TABLES: dict[str, tuple[str, Callable[[dict[str, Any]], list[str]], Sequence[str]]] = {
    "programs": (
        "Programs on one chip; kernels, operations and bytes are those of a step",
        _programs,
        (
            *("accelerator", "model", "program", "temporary, MB", "needed, MB", "ratio"),
            *("arguments, MB", "GFLOP", "GB moved", "kernels", "reductions", "copies"),
            *("largest copy, MB", *_LEAST),
        ),
    ),
    "chips": (
        "A step over several chips, 128 images for each",
        _chips,
        (
            *("accelerator", "model", "collectives", "their MB", "temporary, MB", "kernels"),
            "GB moved",
        ),
    ),
    "populations": (
        "Trials as one program: memory beside the data set, and the sweep's estimate",
        _populations,
        (
            *("accelerator", "model", "trials", "memory, MB", "estimate, MB", "of the estimate"),
            *("temporary, MB", "kernels", *_LEAST),
        ),
    ),
    "memory": (
        "A training step at 224 pixels: float32 parameters and moments",
        _memory,
        (
            *("accelerator", "model", "batch", "remat", "microbatch", "arguments, GB"),
            *("temporary, GB", "all, GB", "of the memory"),
        ),
    ),
}
