"""Weights carried over to another model of their kind: another image size, another head.

Tokens lie on a square grid. A model for another image size has another grid, and parameters of
other shapes: those that have an axis of tokens. What such an axis means decides how it is carried
over. With U the bilinear interpolation from the coarser to the finer of both grids [fine, coarse],
and U+ its pseudo-inverse, the least-squares fit (so that U+ U = 1):

- A kernel's first axis is summed over. Its new rows are (U+)^T W on a finer grid, U^T W on a
  coarser one.
- Any other axis of tokens is a function on the grid (a kernel's last axis, a bias, a table of
  positions). It is interpolated, U b, or fitted, U+ b.

What follows, for each linear map M over tokens, such as W^T x:

- On a finer grid M' U = U M, for any input: what the map makes of interpolated tokens is what it
  made of the tokens, interpolated. Elementwise functions between two maps change nothing in it.
- On a coarser grid M' = U+ M U: the tokens are interpolated to the old grid, mapped there, and
  fitted.
- Constant tokens give what they gave: the sum of a kernel over its first axis stays the same.
- From a grid to a finer one and back, nothing changes; to the same grid, not a bit.

The pseudo-inverse in place of plain interpolation is how FlexiViT (Beyer et al., 2023, section 3.4)
resizes the kernels of patches. An image of another size is not exactly its tokens interpolated, for
a patch keeps its pixels; docs/transfer.md says how it is used.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from mlpvis_jax.learning.augment import resize_matrix

Shapes = Mapping[str, tuple[int, ...]]  # of parameters, by names such as "head/kernel"
Arrays = Mapping[str, np.ndarray]
Axes = Mapping[str, Sequence[int]]


def token_axes(shapes: Shapes, others: Shapes) -> dict[str, list[int]]:
    """Finds which axes of a model's parameters are tokens, by name.

    Args:
      shapes, others: of the same model for two image sizes.
    """
    found = {}
    for name, shape in shapes.items():
        axes = [axis for axis, size in enumerate(shape) if size != others[name][axis]]
        if axes:
            found[name] = axes
    return found


def interpolate(params: Arrays, axes: Axes, side: int, new_side: int) -> dict[str, np.ndarray]:
    """Carries parameters over to another grid of tokens; see the head of this module.

    Args:
      params: arrays by name. Others than those in `axes` are handed back as they are.
      axes: of tokens, by name.
      side, new_side: height and width of the square grids.
    """
    result = dict(params)
    if side == new_side:
        return result
    along, across = grid_maps(side, new_side)
    for name, some in axes.items():
        array = params[name].astype(np.float64)
        for axis in some:
            is_summed = name.rpartition("/")[2] == "kernel" and axis == 0
            matrix = across.T if is_summed else along
            array = np.moveaxis(np.tensordot(matrix, array, (1, axis)), 0, axis)
        result[name] = array.astype(params[name].dtype)
    return result


def grid_maps(side: int, new_side: int) -> tuple[np.ndarray, np.ndarray]:
    """Makes the linear maps between two square grids, row by row.

    Returns:
      From a function on the grid to one on the new grid, [new tokens, tokens], and back, [tokens,
      new tokens], float64. The latter's transpose carries over what is summed over tokens.
    """
    coarse, fine = sorted((side, new_side))
    up = np.asarray(resize_matrix(fine, coarse), np.float64)
    up /= up.sum(axis=1, keepdims=True)  # from float32's rounding
    down = np.linalg.pinv(up)
    along, across = (up, down) if new_side == fine else (down, up)
    return np.kron(along, along), np.kron(across, across)


def block_diagonal(params: Arrays, mlps: Sequence[str], side: int, factor: int) -> dict:
    """Carries token MLPs over to an image `factor` times as large (Mixer paper, appendix C).

    The larger image is split into factor x factor parts of the old size. The MLP becomes
    factor^2 times as wide, and its kernels block-diagonal with copies of the old ones, so that each
    part is processed by itself as an image was before.

    Args:
      params: arrays by name.
      mlps: where the MLPs are, such as "MixerBlock_0/token_mixing"; each has Dense_0, whose kernel
        is [tokens, hidden], and Dense_1, whose kernel is [hidden, tokens].
      side: height and width of the old grid.
      factor: an integer.
    """
    result = dict(params)
    parts = factor**2
    # Tokens are stored row by row over the whole image, not part by part.
    by_part = np.arange(parts * side**2).reshape(factor, factor, side, side)
    rows = by_part.transpose(0, 2, 1, 3).ravel()
    for mlp in mlps:
        first, second = f"{mlp}/Dense_0", f"{mlp}/Dense_1"
        blocks = np.eye(parts, dtype=params[f"{first}/kernel"].dtype)
        result[f"{first}/kernel"] = np.kron(blocks, params[f"{first}/kernel"])[rows]
        result[f"{first}/bias"] = np.tile(params[f"{first}/bias"], parts)
        result[f"{second}/kernel"] = np.kron(blocks, params[f"{second}/kernel"])[:, rows]
        result[f"{second}/bias"] = np.tile(params[f"{second}/bias"], parts)[rows]
    return result
