"""What the mixing across tokens has learned: its weights, and how local they are.

The mixing of each kind of block has weights from token to token:

MixerBlock   W2 W1, up to a factor the derivative of W2 gelu(W1 x) where W1 x is 0
GMlpBlock    W of the spatial gating unit
ResMlpBlock  A, the linear map across tokens
FNetBlock    exp(-2 pi i j k / n), fixed, the discrete Fourier transform over n tokens

Those of self-attention are other ones for every image, and so are no picture of what was learned.
The skip connection around the mixing, and the LayerNorm before it, are no part of these.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mlpvis_jax.errors import InputError
from mlpvis_jax.models import Classifier, FNetBlock, GMlpBlock, MixerBlock, ResMlpBlock, VitBlock

Grid = tuple[int, int]  # rows and columns of tokens, which run over it row by row


class Kernels(NamedTuple):
    """The weights of one block's mixing across tokens.

    Attributes:
      units: [units, tokens], the weights of each unit over the tokens that it reads; a unit is a
        hidden unit of the Mixer's MLP over tokens, or an output token of gMLP and ResMLP. Of
        FNet it is the real part of the transform.
      between: [tokens, tokens], real or complex: the weight of each token that is read (columns)
        in each token that is written (rows).
    """

    units: np.ndarray
    between: np.ndarray


class Measures(NamedTuple):
    """How the tokens that are written spread their weights, [tokens] each; see `measure`."""

    entropy: np.ndarray
    distance: np.ndarray


def _of_mixer(params: Mapping[str, Any], _: int) -> Kernels:
    first, second = (
        np.asarray(params["token_mixing"][name]["kernel"], np.float32)
        for name in ("Dense_0", "Dense_1")
    )
    return Kernels(first.T, (first @ second).T)


def _of_gmlp(params: Mapping[str, Any], _: int) -> Kernels:
    kernel = np.asarray(params["spatial_gating"]["Dense_0"]["kernel"], np.float32)
    return Kernels(kernel.T, kernel.T)


def _of_resmlp(params: Mapping[str, Any], _: int) -> Kernels:
    kernel = np.asarray(params["token_mixing"]["kernel"], np.float32)
    return Kernels(kernel.T, kernel.T)


def _of_fnet(_: Mapping[str, Any], tokens: int) -> Kernels:
    # The product of indices is reduced modulo n first, which keeps the angles exact.
    products = np.outer(np.arange(tokens), np.arange(tokens)) % tokens
    transform = np.exp(-2j * np.pi * products / tokens)
    return Kernels(transform.real, transform)


# By the class of the block: (the block's parameters, number of tokens) to its kernels.
READERS: dict[type, Callable[[Mapping[str, Any], int], Kernels]] = {
    MixerBlock: _of_mixer,
    GMlpBlock: _of_gmlp,
    ResMlpBlock: _of_resmlp,
    FNetBlock: _of_fnet,
}


def grid_of(model: Classifier, image_size: int) -> Grid:
    """Gives the rows and columns of the tokens that a model makes of a square image."""
    side = image_size // model.patch_size
    return side, side


def token_kernels(model: Classifier, params: Mapping[str, Any], grid: Grid) -> dict[str, Kernels]:
    """Reads the weights across tokens of each block of a classifier.

    Args:
      model: the classifier.
      params: its parameters, a nested dict of arrays.
      grid: rows and columns of its tokens.

    Returns:
      The kernels of each block by the block's name, in the order of the blocks; those whose mixing
      is self-attention, as the last ones of a hybrid FNet, are left out.

    Raises:
      InputError: the block is not one of READERS, or is one of self-attention; or its weights are
        for another number of tokens.
    """
    readers = [reader for kind, reader in READERS.items() if issubclass(model.block, kind)]
    names = [name for name in model.block_names if "self_attention" not in params.get(name, {})]
    if issubclass(model.block, VitBlock) or not names:
        raise InputError(
            f"{model.block.__name__} computes its weights across tokens from each image, by "
            "self-attention, so that there is no picture of what they have become."
        )
    if not readers:
        known = ", ".join(kind.__name__ for kind in READERS)
        raise InputError(
            f"Where {model.block.__name__} has its weights across tokens is not known; it is of "
            f"{known}. A row of mlpvis_jax.pictures.mixing.READERS says it of another block."
        )
    tokens = grid[0] * grid[1]
    found = {name: readers[0](params.get(name, {}), tokens) for name in names}
    for name, kernels in found.items():
        if kernels.between.shape != (tokens, tokens):
            raise InputError(
                f"The weights of {name} are for {len(kernels.between)} tokens, not for a grid of "
                f"{grid[0]} x {grid[1]}."
            )
    return found


def measure(kernels: Kernels, grid: Grid) -> Measures:
    """Measures how widely, and how far, each token that is written looks.

    A token's share p of another is the square of the weight's magnitude over the sum of them: its
    share of the variance that white inputs would give. A row of zeros has no shares: NaN.

    Returns:
      entropy: of the shares in nats, - sum p log p: 0 of a single token, log(tokens) of all alike.
      distance: sum of p times the distance on the grid from the token that is written, in tokens.
    """
    return Measures(
        entropy(kernels.between), (shares(kernels.between) * distances(grid)).sum(axis=-1)
    )


def shares(weights: np.ndarray) -> np.ndarray:
    """Divides the squared magnitudes, [..., tokens], by their sum; NaN where all are zero."""
    # Scaled first: squares of small weights, such as gMLP's initial ones, could vanish.
    magnitudes = np.abs(weights).astype(np.float64)
    largest = magnitudes.max(axis=-1, keepdims=True)
    scaled = np.divide(magnitudes, largest, out=np.full_like(magnitudes, np.nan), where=largest > 0)
    return np.square(scaled) / np.square(scaled).sum(axis=-1, keepdims=True)


def entropy(weights: np.ndarray) -> np.ndarray:
    """Computes the entropy of the shares of weights, [..., tokens] to [...], in nats."""
    share = shares(weights)
    logarithms = np.log(share, out=np.zeros_like(share), where=share != 0)
    return np.abs((share * logarithms).sum(axis=-1))


def distances(grid: Grid) -> np.ndarray:
    """Computes the Euclidean distance of any two tokens, [tokens, tokens]; a neighbour's is 1."""
    places = np.argwhere(np.ones(grid)).astype(np.float64)
    return np.linalg.norm(places[:, None] - places[None], axis=-1)


def uniform(grid: Grid) -> Measures:
    """Gives the measures of a mixing that weighs all tokens alike, as FNet's does."""
    tokens = grid[0] * grid[1]
    ones = np.ones((tokens, tokens))
    return measure(Kernels(ones, ones), grid)


def order_in_pairs(units: np.ndarray, grid: Grid) -> np.ndarray:
    """Orders units as figure 5 of the Mixer's paper does.

    The two units that are the nearest to each other's negative become neighbours, then the nearest
    two of the rest, and so on; the pairs are sorted by their mean spatial frequency.

    Args:
      units: [units, tokens].
      grid: rows and columns of the tokens.

    Returns:
      int [units], a permutation of their indices.
    """
    norms = np.linalg.norm(units, axis=-1, keepdims=True)
    directions = units / np.where(norms > 0, norms, 1)
    likeness = directions @ directions.T
    first, second = np.triu_indices(len(units), 1)
    pairs: list[Sequence[int]] = []
    free = set(range(len(units)))
    for index in np.argsort(likeness[first, second], kind="stable"):
        pair = int(first[index]), int(second[index])
        if free.issuperset(pair):
            free.difference_update(pair)
            pairs.append(pair)
    pairs.extend([unit] for unit in sorted(free))  # at most one
    frequency = _mean_frequency(units.reshape(-1, *grid))
    pairs.sort(key=lambda pair: np.mean(frequency[list(pair)]))
    return np.concatenate([np.asarray(pair, int) for pair in pairs])


def _mean_frequency(pictures: np.ndarray) -> np.ndarray:
    """The mean of the spatial frequency, in cycles a token, weighted by power: [units]."""
    power = np.square(np.abs(np.fft.fft2(pictures)))
    rows, columns = (np.fft.fftfreq(size) for size in pictures.shape[1:])
    frequency = np.hypot(rows[:, None], columns[None])
    total = power.sum(axis=(1, 2))
    return (power * frequency).sum(axis=(1, 2)) / np.where(total > 0, total, 1)
