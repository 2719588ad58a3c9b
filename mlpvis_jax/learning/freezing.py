"""Which parameters stay as they are: patterns of names, such as "stem/*" or "!head/*"."""

from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any

import jax

HEAD = "head/*"


def patterns_of(freeze: str) -> list[str]:
    """Splits patterns that stand beside one another with spaces or commas between them."""
    return freeze.replace(",", " ").split()


def is_frozen(name: str, freeze: str) -> bool:
    """Says whether patterns freeze a parameter.

    A pattern is one of a shell's, whose `*` stands for any text, slashes included. One that begins
    with `!` takes the parameters that it matches out again; if all patterns do, they are taken out
    of all parameters: "!head/*" freezes everything but the head.

    Args:
      name: of the parameter, such as "MixerBlock_0/token_mixing/Dense_0/kernel".
      freeze: the patterns; see `patterns_of`. An empty text freezes nothing.
    """
    patterns = patterns_of(freeze)
    taken_out = [pattern[1:] for pattern in patterns if pattern.startswith("!")]
    frozen = [pattern for pattern in patterns if not pattern.startswith("!")]
    if taken_out and not frozen:
        frozen = ["*"]
    matches = [any(fnmatchcase(name, one) for one in some) for some in (frozen, taken_out)]
    return matches[0] and not matches[1]


def map_names(function: Callable[[str, Any], Any], params: Any) -> Any:
    """Maps each array of a nested dict of parameters, given its name, such as "head/kernel"."""

    def of_leaf(path: Any, leaf: Any) -> Any:
        # An initialiser may have put an array in a box, whose own key is no part of the name.
        keys = [str(key.key) for key in path if isinstance(key, jax.tree_util.DictKey)]
        return function("/".join(keys), leaf)

    return jax.tree_util.tree_map_with_path(of_leaf, params)


def stop_gradients(params: Any, freeze: str) -> Any:
    """Keeps the derivatives by frozen parameters zero, and out of the compiled program."""
    return map_names(
        lambda name, leaf: jax.lax.stop_gradient(leaf) if is_frozen(name, freeze) else leaf, params
    )
