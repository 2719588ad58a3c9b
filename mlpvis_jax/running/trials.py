"""The placement of many runs of equal shapes, trained as one program: the trials of a sweep."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mlpvis_jax.running.placement import Layout, put_on_devices, replicate


@dataclasses.dataclass(frozen=True)
class TrialParallel:
    """Many runs, each of which lives on one device, so that nothing is reduced; see `Placement`.

    What differs between runs carries a leading axis of `slots` (of [devices, slots] on several
    devices). Run i is in slot i // devices of device i % devices. A device works through its slots
    in blocks of `vmapped_trials`, one block after another; blocks without a run are skipped.

    A block is `jax.vmap`, which fills an accelerator. On a CPU XLA's products with a batch of
    matrices are slow, and one run at a time is computed by the very instructions of a solo run.

    Attributes:
      devices: those to spread over.
      slots: runs that a device has room for, a multiple of `vmapped_trials`.
      vmapped_trials: runs that a device computes together.
    """

    devices: tuple[jax.Device, ...]
    slots: int
    vmapped_trials: int
    axis_names: tuple[str, ...] = dataclasses.field(default=(), init=False)
    num_shards: int = dataclasses.field(default=1, init=False)

    @classmethod
    def with_capacity(
        cls, devices: Sequence[jax.Device], capacity: int, vmapped_trials: int | None = None
    ) -> "TrialParallel":
        """Makes room for a number of runs.

        Args:
          devices: those to spread over.
          capacity: runs to make room for.
          vmapped_trials: None: all that a device has, or a single one on CPUs.
        """
        slots = -(-capacity // len(devices))
        if vmapped_trials is None:
            vmapped_trials = 1 if devices[0].platform == "cpu" else slots
        vmapped_trials = min(vmapped_trials, slots)
        slots += -slots % vmapped_trials
        return cls(tuple(devices), slots, vmapped_trials)

    @property
    def capacity(self) -> int:
        return len(self.devices) * self.slots

    @property
    def own_shards(self) -> slice:
        return slice(0, 1)

    @property
    def rounds(self) -> int:
        return self.slots // self.vmapped_trials

    def compile(
        self,
        function: Callable,
        layouts: Sequence[Layout],
        arguments: Sequence[Any],
        donate: int | None = None,
    ) -> Callable:
        program = self.lower(function, layouts, arguments, donate).compile()
        return lambda num_runs, *arguments: program(self._blocks_in_use(num_runs), *arguments)

    def lower(
        self,
        function: Callable,
        layouts: Sequence[Layout],
        arguments: Sequence[Any],
        donate: int | None = None,
    ) -> jax.stages.Lowered:
        """Makes the program that `compile` compiles; see `placement.DataParallel.lower`."""
        per_run = [index for index, layout in enumerate(layouts) if layout is Layout.PER_RUN]
        axes = [0 if index in per_run else None for index in range(len(layouts))]
        several = self.vmapped_trials > 1
        block = jax.vmap(function, axes) if several else without_trial_axis(function, axes)
        block = jax.jit(block)  # so that it is traced once, for its shapes and for the program
        of_device = self._over_blocks(block, per_run, donate)
        donated = () if donate is None else (donate + 1,)
        if len(self.devices) == 1:
            wrapped = jax.jit(of_device, donate_argnums=donated)
        else:
            # A plain number is the same on every device; all else has an axis of devices.
            scalars = [layout is Layout.SCALAR for layout in layouts]
            wrapped = jax.pmap(
                of_device,
                in_axes=(0, *(None if is_scalar else 0 for is_scalar in scalars)),
                devices=self.devices,
                donate_argnums=donated,
            )
        return wrapped.lower(self._blocks_in_use(self.capacity), *arguments)

    def _over_blocks(self, block: Callable, per_run: Sequence[int], donate: int | None) -> Callable:
        """Builds the program of one device: the block's function for each block in use."""
        size = self.vmapped_trials

        def of_device(blocks: jax.Array, *arguments: Any) -> Any:
            if size == self.slots > 1:
                return block(*arguments)

            def arguments_of(index: Any, results: Any) -> list[Any]:
                now = list(arguments)
                if donate is not None and results is not None:
                    now[donate] = results[0]
                for place in per_run:
                    now[place] = jax.tree.map(
                        lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, index * size, size),
                        now[place],
                    )
                return now

            def take(index: jax.Array, results: Any) -> Any:
                def put(leaf: jax.Array, new: jax.Array) -> jax.Array:
                    return jax.lax.dynamic_update_slice_in_dim(leaf, new, index * size, axis=0)

                return jax.tree.map(put, results, block(*arguments_of(index, results)))

            results = jax.tree.map(
                lambda leaf: jnp.zeros((self.slots, *leaf.shape[1:]), leaf.dtype),
                jax.eval_shape(block, *arguments_of(0, None)),
            )
            if donate is not None:
                results = (arguments[donate], *results[1:])
            # The number of blocks is a value, so that fewer runs are the same program.
            return jax.lax.fori_loop(0, blocks, take, results)

        return of_device

    def _blocks_in_use(self, num_runs: int) -> np.ndarray:
        """Blocks that a device works through, int32; [devices] of several."""
        several = len(self.devices)
        runs_of_device = -(-(num_runs - np.arange(several)) // several)  # runs are dealt in turn
        blocks = (-(-runs_of_device // self.vmapped_trials)).astype(np.int32)
        return blocks if several > 1 else blocks[0]

    def place(self, trees: Sequence[Any]) -> Any:
        # Slots without a run hold a copy of the last run; they are skipped.
        trees = [*trees, *[trees[-1]] * (self.capacity - len(trees))]
        of_devices = [trees[device :: len(self.devices)] for device in range(len(self.devices))]
        stacks = [jax.tree.map(lambda *leaves: np.stack(leaves), *some) for some in of_devices]
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *stacks)
        return put_on_devices(stacked, self.devices)

    def fetch(self, tree: Any, num_runs: int) -> list[Any]:
        host = jax.device_get(tree)
        several = len(self.devices) > 1

        def of_run(number: int) -> Any:
            slot, device = divmod(number, len(self.devices))
            index = (device, slot) if several else slot
            return jax.tree.map(lambda leaf: leaf[index], host)

        return [of_run(number) for number in range(num_runs)]

    def share(self, tree: Any) -> Any:
        return replicate(tree, self.devices)

    def shard(self, array: np.ndarray) -> Any:
        return self.share(array[:, 0])

    def put_shards(self, tree: Any) -> Any:
        return self.share(jax.tree.map(lambda leaf: leaf[0], tree))


def without_trial_axis(function: Callable, axes: Sequence[int | None]) -> Callable:
    """Strips a trial axis of length 1, calls the function, and adds the axis back.

    As jax.vmap over that axis, but it avoids products with a batch of matrices, which are slow on a
    CPU: what is compiled is the function itself.
    """

    def apply(*arguments: Any) -> Any:
        single = [
            argument if axis is None else jax.tree.map(lambda leaf: leaf[0], argument)
            for axis, argument in zip(axes, arguments, strict=True)
        ]
        return jax.tree.map(lambda leaf: leaf[None], function(*single))

    return apply
