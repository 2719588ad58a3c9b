"""Which devices a run uses, and how a pure function runs on them: jit on one, pmap on several.

On several devices every argument and result carries a leading axis, a slice for each device. The
function itself is the same in both cases; it reduces over `axis_names`, which is empty on one
device, where such a reduction is the identity.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

_AXIS = "devices"


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
