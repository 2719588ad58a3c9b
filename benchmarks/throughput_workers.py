"""The workers of `throughput` that compute with JAX alone: the project, and the matrix product.

python -m benchmarks.throughput_workers project NPZ MODEL [KEY=VALUE ...]
python -m benchmarks.throughput_workers product SIZE DTYPE

JAX is imported late, when what a library prints can no longer be taken for an answer.
"""

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import workers


def project(npz: str, model: str, *changes: str) -> tuple[dict[str, Any], workers.Measure]:
    """Compiles the real training of a model, and runs an epoch to warm up."""
    from benchmarks import arithmetic, memory, recipes
    from benchmarks.experiment import Epochs, with_images
    from mlpvis_jax.running.placement import DataParallel
    from mlpvis_jax.running.task import Task

    config = with_images(recipes.run_config(model, changes), Path(npz))
    task = Task.read(config, Path(npz).parent / "run")
    start = time.perf_counter()
    epochs = Epochs([config], task, DataParallel.all())
    compile_seconds = time.perf_counter() - start
    epochs.run(0)

    classifier = epochs.programs.plan.model
    flop = arithmetic.forward_flop(classifier, config.model.image_size, task.channels)
    description = {
        "compile_seconds": compile_seconds,
        "start_to_first_epoch_seconds": workers.seconds_since_start(),
        "batch_size": config.batch_size,
        "devices": len(epochs.programs.placement.devices),
        "dtype": np.dtype(classifier.dtype).name,
        "flop_per_image": flop.training,
        "fourier_flop_per_image": flop.fourier_training,
    }

    def measure(seconds: float) -> dict[str, Any]:
        return {
            **epochs.run(seconds),
            "host_peak_bytes": memory.host_peak_bytes(),
            "device_peak_bytes": memory.device_peak_bytes(),
        }

    return description, measure


def product(size: str, dtype: str) -> tuple[dict[str, Any], workers.Measure]:
    """Compiles the matrix product; says what device it is."""
    from benchmarks import matrix_product
    from mlpvis_jax.running.placement import DataParallel, describe_devices

    rows = int(size) or matrix_product.default_size()
    description = {
        "size": rows,
        "dtype": dtype,
        "device": describe_devices(DataParallel.all().devices),
    }
    rate = matrix_product.make_measurement(rows, dtype)
    return description, lambda seconds: {"flop_per_second": rate(seconds)}


if __name__ == "__main__":
    kind, *arguments = sys.argv[1:]
    prepare = project if kind == "project" else product
    workers.answer(lambda: prepare(*arguments))
