"""What this machine has memory for: a model too large for it is refused before anything is read."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import psutil

from mlpvis_jax.errors import InputError
from mlpvis_jax.models import Classifier
from mlpvis_jax.running.machine import local_devices

# The parameters, AdamW's two averages of them, and the parameters of the best epoch.
_COPIES = 4


def device_bytes() -> int:
    """Tells the memory of a device, in bytes; devices that are cores have a share each."""
    devices = local_devices()
    found = devices[0].memory_stats()
    if found and "bytes_limit" in found:
        return int(found["bytes_limit"])
    return psutil.virtual_memory().total // len(devices)


def refuse_without_room(model: Classifier, image_size: int) -> None:
    """Raises InputError where parameters and optimizer state exceed the memory of this machine."""
    one = model.clone(num_blocks=1, attention_blocks=0, dropout_rate=0.0, stochastic_depth_rate=0.0)
    whole, block = _bytes_of_parameters(one, image_size)
    needed = whole + (model.num_blocks - 1) * block
    if model.attention_blocks:
        _, other = _bytes_of_parameters(one.clone(attention_blocks=1), image_size)
        needed += model.attention_blocks * (other - block)
    needed *= _COPIES
    memory = psutil.virtual_memory().total
    if needed > memory:
        sizes = {
            "image_size": image_size,
            **{key: getattr(model, key) for key in ("patch_size", "width", "num_blocks")},
            **{key: size for key, size in model.block_options.items() if key.endswith("_dim")},
        }
        named = ", ".join(f"{key} {size:,}" for key, size in sizes.items())
        raise InputError(
            f"The parameters of config.model ({named}) and their optimizer's state take "
            f"{needed / 1e9:,.1f} GB, and this machine has {memory / 1e9:,.1f} GB of memory; lower "
            "one of these sizes."
        )


@functools.lru_cache
def _bytes_of_parameters(model: Classifier, image_size: int) -> tuple[int, int]:
    """Of a model of one block, and of that block alone; nothing is computed."""

    def init() -> Any:
        return model.init(jax.random.key(0), jnp.zeros((1, image_size, image_size, 3)))["params"]

    params = jax.eval_shape(init)
    trees = (params, params.get(f"{model.block.__name__}_0", {}))  # a block may have none
    whole, block = (
        sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree)) for tree in trees
    )
    return whole, block
