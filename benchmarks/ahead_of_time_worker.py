"""The worker of `ahead_of_time`: compiles the project's own programs for one kind of accelerator.

python -m benchmarks.ahead_of_time_worker ACCELERATOR

It runs in an environment with that accelerator's compiler. JAX is imported late, after what the
compilers read is set.
"""

import sys
import time
from typing import Any

import numpy as np

from benchmarks import accelerators, workers

# Images of the resident set of the Keras example: CIFAR-100, a tenth of which validates.
_CIFAR100 = {"training": 45_000, "validation": 5_000, "test": 10_000}
_MESSAGE = 600  # characters of a compiler's that are kept


def prepare(name: str) -> tuple[dict[str, Any], Any]:
    """Makes ready for an accelerator of ACCELERATORS; says what compiles for it."""
    accelerator = accelerators.ACCELERATORS[name]
    accelerators.prepare_environment(accelerator)
    from benchmarks import record

    devices = accelerators.described_devices(accelerator, 1)
    described = {"device": devices[0].device_kind, "versions": record.versions()}
    return described, lambda cell: compile_cell(accelerator, cell)


def compile_cell(accelerator: accelerators.Accelerator, cell: dict[str, Any]) -> dict[str, Any]:
    """Compiles one program and counts what is in it.

    Args:
      accelerator: that it is for.
      cell: its fields are those of `ahead_of_time.Cell`.
    """
    import jax

    from benchmarks import recipes

    chips, trials = cell["chips"], cell["trials"]
    devices = accelerators.described_devices(accelerator, chips)
    config = recipes.run_config(cell["model"], cell["changes"])
    start = time.perf_counter()
    lowered, counted = _lower(config, devices, cell["program"], trials)
    lower_seconds = time.perf_counter() - start
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:  # a TPU's compiler refuses what does not fit
        return {**counted, "failed": str(error)[:_MESSAGE]}
    return {
        "lower_seconds": lower_seconds,
        "compile_seconds": time.perf_counter() - start - lower_seconds,
        **counted,
        **_read_off(compiled, accelerator, is_loop=cell["program"] == "dispatch"),
    }


def _lower(
    config: Any, devices: tuple[Any, ...], program: str, trials: int | None
) -> tuple[Any, dict[str, Any]]:
    """Makes a program, and counts what it must have in memory.

    Returns:
      The program; and the bytes of `_counted_bytes` for a microbatch of one device, and of the data
      set (0 for a step alone), and the number of microbatches.
    """
    from benchmarks.described import DescribedRun, DescribedTrials
    from mlpvis_jax.running.placement import num_microbatches
    from mlpvis_jax.running.plan import Plan
    from mlpvis_jax.running.programs import Programs

    task = _task_of_shapes(config)
    plan = Plan.of([config], task)
    placement: DescribedRun | DescribedTrials = DescribedRun(devices)
    if trials is not None:
        slots = DescribedTrials.with_capacity(devices, trials)
        placement = DescribedTrials(devices, slots.slots, slots.vmapped_trials)
    state = placement.place([plan.state_shapes(config)])
    if program == "dispatch":
        Programs([config], task, placement, plan).compile(state)
        lowered = placement.lowered["dispatch"]
    else:
        lowered = _lower_step(config, placement, plan, state)
    parts = num_microbatches(placement, config.batch_size, config.microbatch_size)
    images = -(-config.batch_size // (placement.num_shards * parts))
    is_dispatch = program == "dispatch"
    return lowered, {
        **_counted_bytes(config, plan.model, images),
        "data_bytes": task.training.images.nbytes if is_dispatch else 0,
        "microbatches": parts,
    }


def _counted_bytes(config: Any, model: Any, images: int) -> dict[str, int]:
    """Counts bytes of a model for so many images at a time.

    Returns:
      `parameter_bytes`; `kept_bytes`, what the forward pass keeps for the backward pass in the
      traced program; `needed_bytes`, what of it cannot be computed again without a product.
    """
    from mlpvis_jax.sweep.capacity import bytes_of

    parameters, kept = bytes_of(config, model, images, channels=3)
    thrifty = model.clone(remat=True, remat_keeps_products=True)
    _, needed = bytes_of(config, thrifty, images, channels=3)
    return {"parameter_bytes": parameters, "kept_bytes": kept, "needed_bytes": needed}


def _lower_step(config: Any, placement: Any, plan: Any, state: Any) -> Any:
    """Makes a step over a batch that is on the devices."""
    from mlpvis_jax.data.resident import Batch
    from mlpvis_jax.learning.step import make_step
    from mlpvis_jax.running.placement import Layout, num_microbatches

    parts = num_microbatches(placement, config.batch_size, config.microbatch_size)
    rows = -(-config.batch_size // (placement.num_shards * parts)) * parts
    lead = (placement.num_shards, rows)
    images = _nothing((*lead, *plan.task.source.image_shape), np.uint8)
    arrays: Any = images, _nothing(lead, np.int32), _nothing(lead, np.bool_)
    batch = placement.put_shards(Batch(*arrays))
    placement.compile(
        make_step(plan.learner, placement.axis_names, parts),
        (Layout.PER_RUN, Layout.SHARED, Layout.PER_RUN),
        (state, batch, placement.place([plan.numbers(config)])),
        donate=0,
    )
    return placement.lowered["step"]


def _task_of_shapes(config: Any) -> Any:
    """Makes a task whose sets have CIFAR-100's numbers and no images: arrays without memory.

    At 64 pixels, the example's size, images have CIFAR-100's 32 and 100 classes; at any other they
    have the model's size, and ImageNet's 1,000 classes.
    """
    from mlpvis_jax.data import Source
    from mlpvis_jax.data.examples import ArrayExamples
    from mlpvis_jax.data.resident import ResidentSet
    from mlpvis_jax.learning.augment import Normalization
    from mlpvis_jax.running.task import Task

    size = config.model.image_size
    side, classes = (32, 100) if size == 64 else (size, 1000)
    shape = (side, side, 3)
    sets = {
        name: ResidentSet(
            _nothing((number, side * side * 3), np.uint8), _nothing((number,), np.int32), shape
        )
        for name, number in _CIFAR100.items()
    }
    none = ArrayExamples(np.zeros((0, *shape), np.uint8), np.zeros(0, np.int32))
    names = tuple(f"class {number}" for number in range(classes))
    source = Source("shapes alone", names, shape, none, none, {}, "")
    half = np.full(3, 127.5, np.float32)
    return Task(source, normalization=Normalization(half, half), identity={}, **sets)


def _nothing(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    return np.broadcast_to(np.zeros((), dtype), shape)


def _read_off(
    compiled: Any, accelerator: accelerators.Accelerator, is_loop: bool
) -> dict[str, Any]:
    """Reads memory, operations, traffic and launches off a compiled program."""
    from benchmarks import hlo, memory

    statistics = compiled.memory_analysis()
    cost = _cost(compiled)
    once, repeated = hlo.count_launches(compiled.as_text())
    step = repeated if is_loop else once
    return {
        "temporary_bytes": statistics.temp_size_in_bytes,
        "argument_bytes": statistics.argument_size_in_bytes,
        "total_bytes": memory.program_bytes(compiled),
        "flop": cost["flops"],
        "moved_bytes": cost["bytes accessed"],
        "step": {**vars(step), "total": step.total},
        "around_the_steps": {**vars(once), "total": once.total} if is_loop else None,
        "least_seconds": accelerator.least_seconds(
            cost["flops"], cost["bytes accessed"], step.total
        ),
    }


def _cost(compiled: Any) -> dict[str, float]:
    """XLA's count of operations and of bytes to and from memory; a loop's body counts once."""
    import jax
    from jax._src.lib import xla_client

    if cost := compiled.cost_analysis():
        return cost
    # A described GPU's compiler counts nothing; that of this machine's CPU counts in its place.
    (module,) = compiled.runtime_executable().hlo_modules()
    client = jax.local_devices(backend="cpu")[0].client
    return xla_client._xla.hlo_module_cost_analysis(client, module)


if __name__ == "__main__":
    workers.answer(lambda: prepare(sys.argv[1]))
