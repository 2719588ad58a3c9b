"""Which devices a run uses, and how a pure function runs on them: jit on one, pmap on several.

On several devices every argument and result carries a leading axis, a slice for each device. The
function itself is the same in both cases; it reduces over `axis_names`, which is empty on one
device, where such a reduction is the identity.
"""

import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

_AXIS = "devices"
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


@dataclasses.dataclass(frozen=True)
class Devices:
    """The devices of this process that one run uses."""

    devices: tuple[jax.Device, ...]

    @classmethod
    def all(cls) -> "Devices":
        return cls(tuple(jax.local_devices()))

    def __len__(self) -> int:
        return len(self.devices)

    @property
    def axis_names(self) -> tuple[str, ...]:
        """To be reduced over inside a compiled function."""
        return (_AXIS,) if len(self) > 1 else ()

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
        donate: int | None = None,
    ) -> Callable:
        """Compiles a function for arguments like these, before any of it runs.

        Args:
          function: pure; sees the slice of one device.
          *arguments: as the compiled function will be called with them.
          shared: indices of arguments that are plain numbers, the same on every device.
          donate: index of an argument whose memory the results may take over.
        """
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
