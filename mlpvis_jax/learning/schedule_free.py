"""The parameters that are evaluated where the optimiser is schedule-free: not those it trains."""

from typing import Any

import jax
import optax
from optax.contrib import ScheduleFreeState


def evaluated(params: Any, opt_state: optax.OptState) -> Any:
    """Computes the parameters that are validated, tested and kept; mostly they are `params`.

    A schedule-free optimiser (Defazio et al., 2024) takes gradients at y, between the iterates z of
    its inner optimiser and their average x, and x is what it has learned:

        x = (y - (1 - b1) z) / b1

    Args:
      params: those that gradients are taken at, y.
      opt_state: of the optimiser, which may be part of a chain, or have a share of the parameters.
    """
    for state in _states(opt_state):
        # What another optimiser of a partition has, or nobody, stays as it is.
        own = jax.tree.map(
            lambda one, param: one if _is_absent(one) else param,
            state.z, params, is_leaf=_is_absent,
        )  # fmt: skip
        averages = optax.contrib.schedule_free_eval_params(state, own)
        params = jax.tree.map(
            lambda one, param: param if _is_absent(one) else one.astype(param.dtype),
            averages, params, is_leaf=_is_absent,
        )  # fmt: skip
    return params


def is_schedule_free(opt_state: optax.OptState) -> bool:
    """Says whether an optimiser with this state evaluates other parameters than it trains."""
    return bool(_states(opt_state))


def _states(opt_state: optax.OptState) -> list[ScheduleFreeState]:
    leaves = jax.tree.leaves(opt_state, is_leaf=_is_of_schedule_free)
    return [leaf for leaf in leaves if _is_of_schedule_free(leaf)]


def _is_of_schedule_free(node: Any) -> bool:
    return isinstance(node, ScheduleFreeState)


def _is_absent(node: Any) -> bool:
    return isinstance(node, optax.MaskedNode)
