"""A loop over equal submodules that compiles one of them."""

from collections.abc import Callable, Sequence
from typing import Any

import flax
import jax
import jax.numpy as jnp
from flax import linen as nn


def scan_submodules(
    module: nn.Module,
    names: Sequence[str],
    apply: Callable[[flax.core.Scope, jax.Array, dict[str, Any]], jax.Array],
    tokens: jax.Array,
    layers: dict[str, Any],
) -> jax.Array:
    """Applies equal submodules one after another, and compiles one of them.

    What the submodules store, and what they change, keeps the names that it has in a Python loop.

    Args:
      module: whose variables hold those of the submodules; it is being called.
      names: of the submodules, in their order.
      apply: maps (a scope with the submodule's variables, tokens, its layer) to tokens.
      tokens: the input of the first submodule.
      layers: what differs between the submodules besides variables, with a leading axis of
        submodules; `key` is the key of the submodule's random stream "dropout".

    Returns:
      The tokens after the last submodule.
    """
    # Stacked here rather than stored so: names on disk, and initial values, are the loop's.
    variables = [
        {kind: tree[name] for kind, tree in module.variables.items() if name in tree}
        for name in names
    ]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *variables)
    assert module.scope is not None
    mutable = module.scope.mutable or ()

    def apply_layer(tokens: jax.Array, both: tuple[Any, dict[str, Any]]) -> tuple[jax.Array, Any]:
        variables, layer = both
        # Not `block.apply`, which would forget whether this call captures intermediates.
        rngs = {"dropout": layer["key"]} if "key" in layer else None
        call = flax.core.apply(lambda scope: apply(scope, tokens, layer), mutable=mutable)
        return call(variables, rngs=rngs)

    tokens, changed = jax.lax.scan(apply_layer, tokens, (stacked, layers), length=len(names))
    for kind, of_all in changed.items():
        for index, name in enumerate(names):
            of_one = jax.tree.map(lambda leaf, index=index: leaf[index], of_all)
            module.put_variable(kind, name, of_one)
    return tokens
