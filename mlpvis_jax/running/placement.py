"""Where programs run and how values get there and back: the interface, and one run over devices.

A group of runs trains as one program. `DataParallel` is the placement of a single run whose batches
are cut over all devices; `trials.TrialParallel` is that of many runs, each of which lives on one
device. The pure functions that both compile see one run, and one device's share of its batch.
"""

import dataclasses
import enum
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from mlpvis_jax.running.machine import local_devices

_AXIS = "devices"
# Activations of so many images stay in a CPU's cache, and its products are still large enough to
# be fast: see benchmarks/README.md. Accelerators are best with the whole batch.
_CPU_MICROBATCH_SIZE = 16


class Layout(enum.Enum):
    """What an argument of a compiled program is, which says how it lies on the devices.

    PER_RUN: each run has its own, such as its state.
    SHARED: all runs read it, such as the images, or the rows of a batch.
    SCALAR: a plain number of the host, the same everywhere.
    """

    PER_RUN = enum.auto()
    SHARED = enum.auto()
    SCALAR = enum.auto()


class Placement(Protocol):
    """Where the programs of a group of runs are computed.

    Attributes:
      devices: those of this process.
      capacity: runs that there is room for.
      axis_names: to be reduced over inside a compiled function, () where nothing is to be.
      num_shards: parts that a batch is cut into: processes times devices of each, or 1.
      rounds: blocks of runs that a device works through in a step, one after another.
      own_shards: those of the parts that are of this process.
    """

    @property
    def devices(self) -> tuple[jax.Device, ...]: ...
    @property
    def capacity(self) -> int: ...
    @property
    def axis_names(self) -> tuple[str, ...]: ...
    @property
    def num_shards(self) -> int: ...
    @property
    def rounds(self) -> int: ...
    @property
    def own_shards(self) -> slice: ...

    def compile(
        self,
        function: Callable,
        layouts: Sequence[Layout],
        arguments: Sequence[Any],
        donate: int | None = None,
    ) -> Callable:
        """Compiles a function of one run for all runs, before any of it runs.

        Args:
          function: pure; sees one run, on one device.
          layouts: of its arguments.
          arguments: as the compiled function will be called with them.
          donate: index of an argument whose memory the first result takes over.

        Returns:
          The program, called with the number of runs in use and the arguments. Its results are
          those of each run.
        """

    def place(self, trees: Sequence[Any]) -> Any:
        """Puts a tree of arrays of each run, at most `capacity`, on the devices."""

    def fetch(self, tree: Any, num_runs: int) -> list[Any]:
        """Brings the tree of each run to the host, as NumPy arrays: the inverse of `place`."""

    def share(self, tree: Any) -> Any:
        """Puts one copy of a tree of arrays on every device, for all runs to read."""

    def shard(self, array: np.ndarray) -> Any:
        """Puts a share [steps, rows] of an array [steps, num_shards, rows] on every device."""

    def put_shards(self, tree: Any) -> Any:
        """Puts slice i of each array [own shards, ...] on the device whose share it is."""


def num_microbatches(placement: Placement, batch_size: int, largest: int | None) -> int:
    """Counts the equal parts into which a device cuts its share of a batch.

    Args:
      placement: where the batch is computed.
      batch_size: images of a batch, over all devices.
      largest: images of a part, at most; None leaves it to the kind of device.
    """
    share = -(-batch_size // placement.num_shards)
    if largest is None:
        largest = _CPU_MICROBATCH_SIZE if placement.devices[0].platform == "cpu" else share
    parts = -(-share // largest)
    if placement.num_shards == 1:
        return parts
    # What parts need for their padding moves examples to other devices, and so to other partners in
    # `mix`: parts that divide the share need none.
    return next((number for number in range(parts, 2 * parts) if share % number == 0), parts)


def describe_devices(devices: Sequence[jax.Device]) -> str:
    """Describes devices in words, such as "4 x NVIDIA H100 80GB HBM3 (gpu)"."""
    each = f" in each of {jax.process_count()} processes" if jax.process_count() > 1 else ""
    return f"{len(devices)} x {devices[0].device_kind} ({devices[0].platform}){each}"


@dataclasses.dataclass(frozen=True)
class DataParallel:
    """One run over all devices of all its processes: jit on one, pmap on several; see `Placement`.

    On several devices every argument and result carries a leading axis, a slice for each device, of
    which a process has those of its own. The function itself is the same in both cases; it reduces
    over `axis_names`, which is empty on one device, where such a reduction is the identity.
    """

    devices: tuple[jax.Device, ...]
    capacity: int = dataclasses.field(default=1, init=False)
    rounds: int = dataclasses.field(default=1, init=False)

    @classmethod
    def all(cls) -> "DataParallel":
        """Takes all devices of this process, and of each; see `machine.local_devices`."""
        return cls(local_devices())

    @property
    def axis_names(self) -> tuple[str, ...]:
        return (_AXIS,) if self.num_shards > 1 else ()

    @property
    def num_shards(self) -> int:
        return jax.process_count() * len(self.devices)

    def compile(
        self,
        function: Callable,
        layouts: Sequence[Layout],
        arguments: Sequence[Any],
        donate: int | None = None,
    ) -> Callable:
        program = self.lower(function, layouts, arguments, donate).compile()

        def call(num_runs: int, *arguments: Any) -> Any:
            assert num_runs == self.capacity, f"one run at a time, not {num_runs}"
            return program(*arguments)

        return call

    def lower(
        self,
        function: Callable,
        layouts: Sequence[Layout],
        arguments: Sequence[Any],
        donate: int | None = None,
    ) -> jax.stages.Lowered:
        """Makes the program that `compile` compiles; devices that are only described can have it.

        Args:
          function, layouts, arguments, donate: as those of `compile`; arguments may be shapes.
        """
        donated = () if donate is None else (donate,)
        if self.num_shards == 1:
            return jax.jit(function, donate_argnums=donated).lower(*arguments)
        axes = tuple(None if layout is Layout.SCALAR else 0 for layout in layouts)
        mapped = jax.pmap(
            function, _AXIS, in_axes=axes, devices=_of_all(self.devices), donate_argnums=donated
        )
        return mapped.lower(*arguments)

    def place(self, trees: Sequence[Any]) -> Any:
        (tree,) = trees
        return self.share(tree)

    def fetch(self, tree: Any, num_runs: int = 1) -> list[Any]:
        if self.num_shards == 1:
            return [jax.device_get(tree)] * num_runs
        # Indexing on the device would be a program there, behind all that is begun, and a copy.
        own = jax.device_get(jax.tree.map(lambda leaf: leaf.addressable_shards[0].data, tree))
        return [jax.tree.map(lambda leaf: leaf[0, ...], own)] * num_runs

    def share(self, tree: Any) -> Any:
        return replicate(tree, self.devices)

    @property
    def own_shards(self) -> slice:
        first = jax.process_index() * len(self.devices)
        return slice(first, first + len(self.devices))

    def shard(self, array: np.ndarray) -> Any:
        return self.put_shards(array.swapaxes(0, 1)[self.own_shards])

    def put_shards(self, tree: Any) -> Any:
        return put_on_devices(tree, self.devices)


def replicate(tree: Any, devices: Sequence[jax.Device]) -> Any:
    """Puts a copy of each array on every device; those of other processes put theirs."""
    copies = (len(devices),)
    return put_on_devices(
        jax.tree.map(lambda leaf: np.broadcast_to(leaf, copies + np.shape(leaf)), tree), devices
    )


def put_on_devices(tree: Any, devices: Sequence[jax.Device]) -> Any:
    """Puts slice i of each array [devices, ...] on device i; a single device gets no axis.

    Args:
      tree: of arrays, with the slices of this process.
      devices: of this process. The others have as many, and put theirs.
    """
    if len(devices) == 1 and jax.process_count() == 1:
        return jax.device_put(jax.tree.map(lambda leaf: leaf[0], tree), devices[0])
    mesh = jax.sharding.Mesh(np.array(_of_all(devices)), (_AXIS,))
    sharding = NamedSharding(mesh, PartitionSpec(_AXIS))
    if jax.process_count() == 1:
        return jax.device_put(tree, sharding)
    return jax.tree.map(
        lambda leaf: jax.make_array_from_process_local_data(sharding, np.asarray(leaf)), tree
    )


def _of_all(devices: Sequence[jax.Device]) -> tuple[jax.Device, ...]:
    """The devices of all processes, process by process; `devices` are those of this one."""
    if jax.process_count() == 1:
        return tuple(devices)
    numbers = range(jax.process_count())
    return tuple(device for number in numbers for device in jax.local_devices(number))
