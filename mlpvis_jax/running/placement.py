"""Which devices a run uses, and how a pure function runs on them: jit on one, pmap on several.

On several devices every argument and result carries a leading axis, a slice for each device. The
function itself is the same in both cases; it reduces over `axis_names`, which is empty on one
device, where such a reduction is the identity.

Many trials of one shape run as one program: `Trials` stands in for `Devices`, and the same pure
functions then see one trial each. Every trial lives on one device, so nothing is reduced over them.
"""

import contextlib
import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from mlpvis_jax.errors import InputError

_AXIS = "devices"
# Every device has its own copy of the images.
_MOST_CPU_DEVICES = 8
# Activations of so many images stay in a CPU's cache, and its products are still large enough to
# be fast: see benchmarks/README.md. Accelerators are best with the whole batch.
_CPU_MICROBATCH_SIZE = 16


def keep_compiled_programs() -> None:
    """Makes JAX find the programs that earlier processes compiled, and keep those of this one.

    They are in JAX_COMPILATION_CACHE_DIR, or else in mlpvis_jax/compiled under XDG_CACHE_HOME or
    ~/.cache. A folder that cannot be written costs a warning and nothing else.
    """
    if jax.config.jax_compilation_cache_dir is None:  # type: ignore[attr-defined]
        home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
        folder = Path(home).expanduser() / "mlpvis_jax" / "compiled"
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def spread_over_cores(most: int) -> None:
    """Makes JAX take each core of the CPU for a device, so that trials train on each at a time.

    A trial on each of two cores is done sooner than one after another on both of them, and the
    numbers are the same: see benchmarks/README.md. Without effect once JAX has looked for devices,
    or where it was told their number (JAX_NUM_CPU_DEVICES, or a flag of XLA_FLAGS).

    Args:
      most: devices that there is work for.
    """
    told = jax.config.jax_num_cpu_devices >= 0  # type: ignore[attr-defined]
    if told or "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", ""):
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    with contextlib.suppress(RuntimeError):  # JAX has looked for devices
        jax.config.update("jax_num_cpu_devices", max(1, min(most, cores, _MOST_CPU_DEVICES)))


@dataclasses.dataclass(frozen=True)
class Devices:
    """The devices of this process that one run uses."""

    devices: tuple[jax.Device, ...]

    @classmethod
    def all(cls) -> "Devices":
        """All of this process.

        Raises:
          InputError: JAX finds none, or is told to compute in 64 bits.
        """
        if jax.config.jax_enable_x64:  # type: ignore[attr-defined]
            raise InputError(
                "JAX_ENABLE_X64 is set, and training is in 32 bits: unset it, or set it to 0."
            )
        try:
            return cls(tuple(jax.local_devices()))
        except (RuntimeError, AssertionError) as error:  # the second without a plugin for a GPU
            reason = str(error).splitlines()[0] if str(error) else "there is no such device"
            raise InputError(
                f"JAX finds no device with JAX_PLATFORMS={jax.config.jax_platforms!r} "  # type: ignore[attr-defined]
                f"({reason}); unset it, or install JAX for that kind of device."
            ) from error

    def __len__(self) -> int:
        return len(self.devices)

    @property
    def axis_names(self) -> tuple[str, ...]:
        """To be reduced over inside a compiled function."""
        return (_AXIS,) if len(self) > 1 else ()

    @property
    def shards(self) -> int:
        """Parts that a batch is cut into."""
        return len(self)

    def num_microbatches(self, batch_size: int, largest: int | None) -> int:
        """Into how many equal parts a device cuts its share of a batch.

        Args:
          batch_size: images over all devices.
          largest: images of a part, at most; None leaves it to the kind of device.
        """
        share = -(-batch_size // len(self))
        if largest is None:
            largest = _CPU_MICROBATCH_SIZE if self.devices[0].platform == "cpu" else share
        return -(-share // largest)

    def compile(
        self,
        function: Callable,
        *arguments: Any,
        shared: Sequence[int] = (),
        each: Sequence[int] = (),
        donate: int | None = None,
    ) -> Callable:
        """Compiles a function for arguments like these, before any of it runs.

        Args:
          function: pure; sees the slice of one device.
          *arguments: as the compiled function will be called with them.
          shared: indices of arguments that are plain numbers, the same on every device.
          each: indices of arguments that each of many trials has its own of; see `Trials`.
          donate: index of an argument whose memory the results may take over.
        """
        del each  # there is one trial
        donated = () if donate is None else (donate,)
        if len(self) == 1:
            wrapped = jax.jit(function, donate_argnums=donated)
        else:
            axes = tuple(None if index in shared else 0 for index in range(len(arguments)))
            wrapped = jax.pmap(
                function, _AXIS, in_axes=axes, devices=self.devices, donate_argnums=donated
            )
        return wrapped.lower(*arguments).compile()

    def replicate(self, tree: Any) -> Any:
        """Puts a copy of the tree's arrays on every device."""
        copies = (len(self),)
        return self.scatter(
            jax.tree.map(lambda leaf: np.broadcast_to(leaf, copies + np.shape(leaf)), tree)
        )

    copies = replicate  # of what every trial has; there is one

    def scatter(self, tree: Any) -> Any:
        """Puts slice i of each array [devices, ...] on device i."""
        if len(self) == 1:
            return jax.device_put(jax.tree.map(lambda leaf: leaf[0], tree), self.devices[0])
        mesh = jax.sharding.Mesh(np.array(self.devices), (_AXIS,))
        return jax.device_put(tree, NamedSharding(mesh, PartitionSpec(_AXIS)))

    def first(self, tree: Any) -> Any:
        """Fetches one copy of a replicated tree to the host, as NumPy arrays."""
        if len(self) > 1:
            tree = jax.tree.map(lambda leaf: leaf.addressable_shards[0].data[0], tree)
        return jax.device_get(tree)


@dataclasses.dataclass
class Trials:
    """Trials of equal shapes, trained as one program: a stand-in for `Devices`.

    What differs between trials carries a leading axis of `slots` (of [devices, slots] on several
    devices). Trial i is in slot i // devices of device i % devices; a device works on as many
    blocks of `side_by_side` slots, one block after another, as hold the trials in use.

    Side by side is `jax.vmap`, which fills an accelerator. On a CPU XLA's products with a batch of
    matrices are slow, and one trial at a time is computed by the very instructions of a solo run.

    Attributes:
      devices: those to spread over.
      slots: trials that a device has room for, a multiple of `side_by_side`.
      side_by_side: trials that a device computes together.
      number: trials in use; may be lowered without compiling anew.
    """

    devices: tuple[jax.Device, ...]
    slots: int
    side_by_side: int
    number: int

    axis_names: ClassVar[tuple[str, ...]] = ()  # nothing is reduced over devices
    shards: ClassVar[int] = 1  # a trial's batch is not cut

    def num_microbatches(self, batch_size: int, largest: int | None) -> int:
        """As in a solo run on one device."""
        return Devices(self.devices[:1]).num_microbatches(batch_size, largest)

    @classmethod
    def room_for(cls, devices: Devices, number: int, side_by_side: int | None = None) -> "Trials":
        """Slots for so many trials.

        Args:
          devices: those to spread over.
          number: of trials.
          side_by_side: None: all that a device has, or a single one on CPUs.
        """
        slots = -(-number // len(devices))
        if side_by_side is None:
            side_by_side = 1 if devices.devices[0].platform == "cpu" else slots
        side_by_side = min(side_by_side, slots)
        slots += -slots % side_by_side
        return cls(devices.devices, slots, side_by_side, number)

    @property
    def capacity(self) -> int:
        """Trials that there is room for."""
        return len(self.devices) * self.slots

    @property
    def blocks_in_use(self) -> np.ndarray:
        """Blocks that a device works through, one after another; int32, [devices] of several."""
        several = len(self.devices)
        of_devices = -(-(self.number - np.arange(several)) // several)  # trials, in turn
        blocks = (-(-of_devices // self.side_by_side)).astype(np.int32)
        return blocks if several > 1 else blocks[0]

    def compile(
        self,
        function: Callable,
        *arguments: Any,
        shared: Sequence[int] = (),
        each: Sequence[int] = (),
        donate: int | None = None,
    ) -> Callable:
        """Compiles a function of one trial for all of them.

        Args:
          function: pure; sees one trial.
          *arguments: as the compiled function will be called with them.
          shared: indices of arguments that are plain numbers, the same on every device.
          each: indices of arguments that have the axis of the trials; the others they share.
          donate: index of an argument whose memory the function's first result takes over.
        """
        axes = [0 if index in each else None for index in range(len(arguments))]
        block = jax.vmap(function, in_axes=axes) if self.side_by_side > 1 else _one(function, axes)
        block = jax.jit(block)  # so that it is traced once, for its shapes and for the program

        def of_device(blocks: jax.Array, *arguments: Any) -> Any:
            if self.side_by_side == self.slots > 1:
                return block(*arguments)

            def taken(index: Any, results: Any) -> list[Any]:
                """The arguments of a block."""

                def part(leaf: jax.Array) -> jax.Array:
                    start = index * self.side_by_side
                    return jax.lax.dynamic_slice_in_dim(leaf, start, self.side_by_side)

                now = list(arguments)
                if donate is not None and results is not None:
                    now[donate] = results[0]
                for argument in each:
                    now[argument] = jax.tree.map(part, now[argument])
                return now

            def take(index: jax.Array, results: Any) -> Any:
                def put(leaf: jax.Array, new: jax.Array) -> jax.Array:
                    start = index * self.side_by_side
                    return jax.lax.dynamic_update_slice_in_dim(leaf, new, start, axis=0)

                return jax.tree.map(put, results, block(*taken(index, results)))

            results = jax.tree.map(
                lambda leaf: jnp.zeros((self.slots, *leaf.shape[1:]), leaf.dtype),
                jax.eval_shape(block, *taken(0, None)),
            )
            if donate is not None:
                results = (arguments[donate], *results[1:])
            # The number of blocks is a value, so that fewer trials are the same program.
            return jax.lax.fori_loop(0, blocks, take, results)

        donated = () if donate is None else (donate + 1,)
        if len(self.devices) == 1:
            wrapped = jax.jit(of_device, donate_argnums=donated)
        else:
            same = set(shared) - set(each)
            wrapped = jax.pmap(
                of_device,
                in_axes=(0, *(None if i in same else 0 for i in range(len(arguments)))),
                devices=self.devices,
                donate_argnums=donated,
            )
        compiled = wrapped.lower(self.blocks_in_use, *arguments).compile()
        return lambda *arguments: compiled(self.blocks_in_use, *arguments)

    def place(self, trees: Sequence[Any]) -> Any:
        """Puts a tree of each trial, at most `capacity`, on the devices; fills up with the last."""
        trees = [*trees, *[trees[-1]] * (self.capacity - len(trees))]
        of_devices = [trees[device :: len(self.devices)] for device in range(len(self.devices))]
        stacks = [jax.tree.map(lambda *leaves: np.stack(leaves), *some) for some in of_devices]
        return self._put(stacks)

    def fetch(self, tree: Any) -> list[Any]:
        """The tree of each trial in use, on the host, as NumPy arrays; the inverse of `place`."""
        host = jax.device_get(tree)
        several = len(self.devices) > 1

        def of_trial(number: int) -> Any:
            slot, device = divmod(number, len(self.devices))
            index = (device, slot) if several else slot
            return jax.tree.map(lambda leaf: leaf[index], host)

        return [of_trial(number) for number in range(self.number)]

    def copies(self, tree: Any) -> Any:
        """Puts a copy of the tree's arrays on the devices for every trial."""
        return self.place([tree])

    def replicate(self, tree: Any) -> Any:
        """Puts one copy of the tree's arrays on every device, for its trials to share."""
        return self._put([jax.tree.map(np.asarray, tree)] * len(self.devices))

    def scatter(self, tree: Any) -> Any:
        """As `replicate`, of the single slice of each array [1, ...]."""
        return self.replicate(jax.tree.map(lambda leaf: leaf[0], tree))

    def _put(self, trees: Sequence[Any]) -> Any:
        """Puts tree i on device i."""
        if len(self.devices) == 1:
            return jax.device_put(trees[0], self.devices[0])
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *trees)
        return Devices(self.devices).scatter(stacked)


def _one(function: Callable, axes: Sequence[int | None]) -> Callable:
    """As jax.vmap of the function over an axis of one, but compiled as the function itself is."""

    def apply(*arguments: Any) -> Any:
        pairs = zip(axes, arguments, strict=True)
        single = [
            argument if axis is None else jax.tree.map(lambda leaf: leaf[0], argument)
            for axis, argument in pairs
        ]
        return jax.tree.map(lambda leaf: leaf[None], function(*single))

    return apply
