"""Placements on devices that are described and not there: programs are made, and none can run.

They stand in for `DataParallel` and `TrialParallel` under the project's own `Programs`. In place of
arrays on the devices there are shapes that say where the arrays would be. Programs are lowered
alone; which of them is compiled is for the caller to choose, as one takes a minute.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding

from mlpvis_jax.running.placement import DataParallel, Layout
from mlpvis_jax.running.trials import TrialParallel

_AXIS = "devices"


def shapes_on(tree: Any, devices: Sequence[jax.Device], leading: tuple[int, ...] = ()) -> Any:
    """Describes arrays on the devices.

    Args:
      tree: of arrays or shapes; on several devices their first axis is that of the devices.
      devices: where they would be.
      leading: axes to put before theirs.
    """
    sharding: jax.sharding.Sharding = SingleDeviceSharding(devices[0])
    if len(devices) > 1:
        sharding = NamedSharding(Mesh(np.array(devices), (_AXIS,)), PartitionSpec(_AXIS))

    def describe(leaf: Any) -> jax.ShapeDtypeStruct:
        dtype = jax.dtypes.canonicalize_dtype(leaf.dtype)
        return jax.ShapeDtypeStruct((*leading, *leaf.shape), dtype, sharding=sharding)

    return jax.tree.map(describe, tree)


class _Described:
    """What the placements on described devices have in common.

    Attributes:
      devices: those that are described.
      lower: makes a program, as the placement on real devices does.
      lowered: the programs, by the names of their functions, such as "dispatch".
    """

    devices: tuple[jax.Device, ...]
    lower: Callable[..., jax.stages.Lowered]
    lowered: dict[str, jax.stages.Lowered]

    def compile(
        self,
        function: Callable,
        layouts: Sequence[Layout],
        arguments: Sequence[Any],
        donate: int | None = None,
    ) -> Callable:
        """Lowers the function; the returned one gives the shapes of its results."""
        lowered = self.lower(function, layouts, arguments, donate)
        self.lowered[function.__name__] = lowered
        return lambda num_runs, *arguments: shapes_on(lowered.out_info, self.devices)

    def share(self, tree: Any) -> Any:
        several = len(self.devices) > 1
        return shapes_on(tree, self.devices, (len(self.devices),) if several else ())


@dataclasses.dataclass(frozen=True)
class DescribedRun(_Described, DataParallel):
    """One run over described devices; see `_Described`."""

    lowered: dict[str, jax.stages.Lowered] = dataclasses.field(default_factory=dict)

    @property
    def num_shards(self) -> int:
        return len(self.devices)

    @property
    def own_shards(self) -> slice:
        return slice(0, len(self.devices))  # a pod's, too: what is made is the program of all

    def put_shards(self, tree: Any) -> Any:
        if len(self.devices) == 1:
            tree = jax.tree.map(lambda leaf: leaf[0], tree)
        return shapes_on(tree, self.devices)


@dataclasses.dataclass(frozen=True)
class DescribedTrials(_Described, TrialParallel):
    """Many runs on one described device, or over several; see `_Described`."""

    lowered: dict[str, jax.stages.Lowered] = dataclasses.field(default_factory=dict)

    def place(self, trees: Sequence[Any]) -> Any:
        number = len(self.devices)
        slots = (number, self.slots) if number > 1 else (self.slots,)
        return shapes_on(trees[0], self.devices, slots)
