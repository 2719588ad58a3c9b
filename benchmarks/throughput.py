"""Training images/s of the three models, beside Keras doing the Keras example's program.

python -m benchmarks.throughput --peers

Each model is trained through the project's own path: resident data, augmentation, dropout, AdamW
and metrics. Each library has a process of its own; in every round each of them trains for a few
seconds, one after the other, and a large matrix product is timed. README.md says how to read it.
"""

import argparse
import contextlib
import importlib.util
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import first_step, images, recipes, record, tables
from benchmarks.rounds import interleaved, median_ratio, summarize
from benchmarks.workers import Worker, WorkerError, start

PROJECT = "mlpvis_jax"
PRODUCT = "matrix product"
KERAS_BACKENDS = ("tensorflow", "torch", "jax")
# One GPU is shared by several processes, which must not each take all of its memory beforehand.
_ENVIRONMENT = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "TF_FORCE_GPU_ALLOW_GROWTH": "true"}


def main(arguments: Sequence[str]) -> dict[str, Any]:
    """Runs the command line: prints the table, writes the JSON; returns the results."""
    settings = _parse(arguments)
    with tempfile.TemporaryDirectory() as folder:
        npz = Path(folder, "images.npz")
        data = images.write_npz(npz, settings.images)
        models = {}
        device = ""
        for model in settings.models:
            models[model], device = _measure_model(model, npz, settings)
    path = record.write("throughput", arguments, settings, device, data, models)
    _print_table(models, f"Training on {device}; {data}")
    record.say(f"Written to {path}")
    return models


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.throughput", description=__doc__)
    parser.add_argument(
        "--models",
        nargs="+",
        default=list(recipes.MODELS),
        help="mixer, fnet, gmlp, or a preset's name",
    )
    parser.add_argument("--peers", action="store_true", help="measure Keras, too")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each turn, at least")
    parser.add_argument("--images", type=int, default=4096, help="in an epoch")
    parser.add_argument(
        "--starts", type=int, default=3, help="of launch.py, the first one cold; 0 for none"
    )
    parser.add_argument("--product-size", type=int, default=0, help="0: by the device")
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="KEY=VALUE", help="settings of the project's run"
    )
    parser.add_argument("--out", help="JSON file; by default a new one in benchmarks/results/")
    settings = parser.parse_args(arguments)
    others = set(settings.models) - set(recipes.MODELS)
    if settings.peers and others:
        parser.error(f"--peers has only {', '.join(recipes.MODELS)}, not {', '.join(others)}")
    return settings


def _measure_model(
    model: str, npz: Path, settings: argparse.Namespace
) -> tuple[dict[str, Any], str]:
    """All rounds of one model, and the name of the device."""
    with contextlib.ExitStack() as stack:
        contestants, failed = _start_workers(model, npz, settings, stack)
        answers: dict[str, list[dict[str, Any]]] = {name: [] for name in contestants}
        for number, name in interleaved(list(contestants), settings.rounds):
            record.say(f"{model}, round {number + 1} of {settings.rounds}: {name}")
            answers[name].append(contestants[name].measure(settings.seconds))
        ready = {name: worker.ready for name, worker in contestants.items()}
    product = ready.pop(PRODUCT)
    product_rates = [one["flop_per_second"] for one in answers.pop(PRODUCT)]
    results: dict[str, Any] = {
        "libraries": {name: _library(ready[name], answers[name]) for name in answers},
        "failed": failed,
        "matrix_product": {
            "size": product["size"],
            "dtype": product["dtype"],
            "gflop_per_second": summarize([rate / 1e9 for rate in product_rates]),
        },
    }
    ours = results["libraries"][PROJECT]
    _add_rates(ours, ready[PROJECT], product_rates)
    for name, library in results["libraries"].items():
        if name != PROJECT:
            library["project_is_times_faster"] = median_ratio(
                ours["images_per_second"]["rounds"], library["images_per_second"]["rounds"]
            )
    if settings.starts:
        record.say(f"{model}: {settings.starts} starts of launch.py")
        ours["launch_to_first_step_seconds"] = _time_starts(model, npz, settings)
    return results, product["device"]


def _start_workers(
    model: str, npz: Path, settings: argparse.Namespace, stack: contextlib.ExitStack
) -> tuple[dict[str, Worker], dict[str, str]]:
    """Starts one after the other: the project, its peers, and the matrix product.

    Returns:
      The workers by name, and why a peer is missing.
    """

    # Keras trains on one GPU of several, so the project is given one as well.
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    shared = {**_ENVIRONMENT, **({"CUDA_VISIBLE_DEVICES": visible} if settings.peers else {})}

    def start_one(name: str, module: str, *arguments: str, **environment: str) -> Worker:
        record.say(f"{model}: starting {name}")
        command = [sys.executable, "-m", f"benchmarks.{module}", *arguments]
        return stack.enter_context(start(command, {**shared, **environment}))

    contestants = {
        PROJECT: start_one(PROJECT, "throughput_workers", "project", str(npz), model, *settings.set)
    }
    failed = {}
    for backend in _installed_backends() if settings.peers else ():
        name = f"Keras, {backend}"
        try:
            worker = start_one(name, "keras_worker", str(npz), model, KERAS_BACKEND=backend)
        except WorkerError as error:
            failed[name] = str(error)
            record.say(f"{name} is left out. {error}")
        else:
            contestants[name] = worker
    contestants[PRODUCT] = start_one(
        PRODUCT,
        "throughput_workers",
        "product",
        str(settings.product_size),
        contestants[PROJECT].ready["dtype"],
    )
    return contestants, failed


def _installed_backends() -> list[str]:
    if importlib.util.find_spec("keras") is None:
        return []
    return [backend for backend in KERAS_BACKENDS if importlib.util.find_spec(backend)]


def _library(ready: dict[str, Any], answers: list[dict[str, Any]]) -> dict[str, Any]:
    last = answers[-1]
    return {
        **ready,
        "images_per_second": summarize([one["images"] / one["seconds"] for one in answers]),
        "step_seconds": statistics.median(one["seconds"] / one["steps"] for one in answers),
        "host_peak_bytes": last["host_peak_bytes"],
        "device_peak_bytes": last["device_peak_bytes"],
    }


def _add_rates(ours: dict[str, Any], ready: dict[str, Any], product_rates: Sequence[float]) -> None:
    """Adds what the images/s mean in operations, and as a share of the matrix product's rate.

    The product is computed on one device, and the training may have more.
    """
    flop = ready["flop_per_image"]
    rates = [speed * flop for speed in ours["images_per_second"]["rounds"]]
    ours["gflop_per_step"] = ready["batch_size"] * flop / 1e9
    ours["fourier_gflop_per_step"] = ready["batch_size"] * ready["fourier_flop_per_image"] / 1e9
    ours["gflop_per_second"] = summarize([rate / 1e9 for rate in rates])
    of_devices = [ready["devices"] * rate for rate in product_rates]
    ours["share_of_matrix_product"] = median_ratio(rates, of_devices)


def _time_starts(model: str, npz: Path, settings: argparse.Namespace) -> dict[str, Any] | None:
    if not recipes.has_ml_collections():
        record.say("launch.py is not started: ml_collections is not installed.")
        return None
    source = "cifar100" if images.cifar100_is_prepared() else f"npz:{npz.absolute()}"
    family = model.split("_")[0]
    changes = [*([] if model == family else [f"model.name={model}"]), *settings.set]
    cold, *warm = first_step.measure(family, source, settings.starts, changes)
    return {"source": source.partition(":")[0], "cold": cold, "warm": warm}


def _print_table(models: dict[str, Any], title: str) -> None:
    columns = (
        *("model", "library", "images/s", "least to most", f"{PROJECT} is", "GFLOP/s"),
        *("of product", "memory, GB", "compile, s", "first step cold, warm, s"),
    )
    rows = []
    for model, measured in models.items():
        for name, library in measured["libraries"].items():
            speed = library["images_per_second"]
            times = library.get("project_is_times_faster")
            rows.append(
                [
                    model,
                    name,
                    f"{speed['median']:,.0f}",
                    f"{speed['least']:,.0f} to {speed['most']:,.0f}",
                    f"{times:.2f} x" if times else "",
                    *_rate_cells(library),
                    _memory_cell(library),
                    f"{library['compile_seconds']:.1f}",
                    _start_cell(library),
                ]
            )
        rate = measured["matrix_product"]["gflop_per_second"]
        rows.append([model, PRODUCT, *[""] * 3, f"{rate['median']:,.0f}", *[""] * 4])
    tables.show(title, columns, rows)


def _rate_cells(library: dict[str, Any]) -> tuple[str, str]:
    if "gflop_per_second" not in library:
        return "", ""
    rate = library["gflop_per_second"]["median"]
    return f"{rate:,.0f}", f"{100 * library['share_of_matrix_product']:.0f} %"


def _memory_cell(library: dict[str, Any]) -> str:
    host, device = library["host_peak_bytes"], library["device_peak_bytes"]
    return f"{host / 1e9:.2f}" + (f" + {device / 1e9:.2f} GPU" if device else "")


def _start_cell(library: dict[str, Any]) -> str:
    if "start_to_first_step_seconds" in library:  # Keras keeps nothing for a second start
        return f"{library['start_to_first_step_seconds']:.1f}"
    starts = library.get("launch_to_first_step_seconds")
    if not starts:
        return ""
    warm = f", {statistics.median(starts['warm']):.1f}" if starts["warm"] else ""
    return f"{starts['cold']:.1f}{warm}"


if __name__ == "__main__":
    main(sys.argv[1:])
