"""How a measure grows with a size: the exponent of a power law, and where two curves cross."""

import math
from collections.abc import Sequence

import numpy as np


def fit_exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """Fits the b of value = a size^b, by least squares on the logarithms.

    Args:
      sizes: positive, at least two different ones.
      values: positive, one for each size.
    """
    return float(np.polyfit(np.log(sizes), np.log(values), deg=1)[0])


def crossings(
    sizes: Sequence[float], values: Sequence[float], others: Sequence[float]
) -> list[tuple[float, bool]]:
    """Finds where one curve overtakes another.

    Between two sizes both are taken for power laws, straight lines in the logarithms.

    Args:
      sizes: positive, rising.
      values, others: positive, one for each size.

    Returns:
      For each crossing its size, and whether `values` is the smaller one beyond it.
    """
    found = []
    gaps = [math.log(value / other) for value, other in zip(values, others, strict=True)]
    for index in range(1, len(sizes)):
        before, after = gaps[index - 1], gaps[index]
        if before * after < 0:
            share = before / (before - after)
            ratio = sizes[index] / sizes[index - 1]
            found.append((sizes[index - 1] * ratio**share, after < 0))
    return found
