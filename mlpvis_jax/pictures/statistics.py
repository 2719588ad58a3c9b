"""What can be said about a classifier's predictions: intervals, calibration, order, paired tests.

Pure functions of NumPy arrays.
"""

from typing import NamedTuple

import numpy as np


class Reliability(NamedTuple):
    """How often predictions are right by how sure they are, in bins of equal width.

    Attributes:
      edges: of the bins, float64 [bins + 1], from 0 to 1.
      counts: predictions in each bin, int64 [bins].
      confidence: their mean confidence, float64 [bins]; NaN in an empty bin.
      accuracy: the share of them that is right, likewise.
      error: the expected calibration error.
    """

    edges: np.ndarray
    counts: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray
    error: float


class PairedTest(NamedTuple):
    """McNemar's test of two classifiers on the same examples.

    Attributes:
      only_first: examples that the first alone gets right.
      only_second: examples that the second alone gets right.
      p_value: of the hypothesis that both are as often right, two-sided.
    """

    only_first: int
    only_second: int
    p_value: float


def confusion_matrix(labels: np.ndarray, predictions: np.ndarray, num_classes: int) -> np.ndarray:
    """Counts examples by label and prediction, int64 [label, prediction]."""
    places = labels.astype(np.int64) * num_classes + predictions
    return np.bincount(places, minlength=num_classes**2).reshape(num_classes, num_classes)


def wilson_interval(
    correct: np.ndarray, count: np.ndarray, confidence: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Computes the interval of a share from counts (Wilson, 1927), which never leaves [0, 1].

    Args:
      correct: int [...].
      count: int [...], of which those are correct.
      confidence: such as 0.95.

    Returns:
      The lower and the upper ends, float64 [...]; 0 and 1 where the count is 0.
    """
    from scipy.stats import norm

    z = norm.ppf(0.5 + confidence / 2)
    count = np.asarray(count, np.float64)
    some = np.maximum(count, 1)
    share = np.asarray(correct) / some
    centre = (share + z**2 / (2 * some)) / (1 + z**2 / some)
    reach = z * np.sqrt(share * (1 - share) / some + z**2 / (4 * some**2)) / (1 + z**2 / some)
    low, high = np.clip(centre - reach, 0, 1), np.clip(centre + reach, 0, 1)
    return np.where(count > 0, low, 0.0), np.where(count > 0, high, 1.0)


def reliability(confidences: np.ndarray, correct: np.ndarray, num_bins: int = 15) -> Reliability:
    """Compares how sure predictions are with how often they are right.

    The expected calibration error is the mean over all predictions of the distance between the
    accuracy and the confidence of their bin (Guo et al., "On Calibration of Modern Neural
    Networks", ICML 2017, equation 3, with their 15 bins).

    Args:
      confidences: the highest probability of each prediction, float [number], in [0, 1].
      correct: bool [number].
      num_bins: of equal width; a bin holds its upper edge.
    """
    edges = np.linspace(0, 1, num_bins + 1)
    bins = np.clip(np.searchsorted(edges, confidences, side="left") - 1, 0, num_bins - 1)
    counts = np.bincount(bins, minlength=num_bins)
    with np.errstate(invalid="ignore"):
        confidence = np.bincount(bins, confidences, minlength=num_bins) / counts
        accuracy = np.bincount(bins, correct, minlength=num_bins) / counts
    gaps = np.where(counts > 0, np.abs(accuracy - confidence), 0)
    error = float((gaps * counts).sum() / max(counts.sum(), 1))
    return Reliability(edges, counts, confidence, accuracy, error)


def cluster_order(matrix: np.ndarray) -> np.ndarray:
    """Orders classes so that those that are often confused stand side by side.

    Args:
      matrix: confusion matrix, int [classes, classes].

    Returns:
      A permutation of the classes, int [classes]: the leaves of a hierarchical clustering by
      average linkage, where two classes are the nearer, the larger the share of their examples
      that is taken for the other.
    """
    from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering
    from scipy.spatial.distance import squareform

    if len(matrix) < 3:
        return np.arange(len(matrix))
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    distances = 1 - (shares + shares.T) / 2
    np.fill_diagonal(distances, 0)
    condensed = squareform(distances, checks=False)
    tree = linkage(condensed, "average")
    return leaves_list(optimal_leaf_ordering(tree, condensed))


def group_order(groups: np.ndarray) -> np.ndarray:
    """Orders classes by the number of their group, int [classes], and in it as they were."""
    return np.argsort(groups, kind="stable")


def mcnemar(first: np.ndarray, second: np.ndarray) -> PairedTest:
    """Tests whether two classifiers are right equally often on the same examples.

    Only examples that one of them alone gets right say something (McNemar, 1947). If both were
    right equally often, each of these n examples would be as likely the one's as the other's. The
    p-value is exact: twice the probability that a binomial variable of n draws and probability 1/2
    is at most the smaller of the two counts, and 1 where that is more than 1.

    Args:
      first, second: whether each is right, bool [number].
    """
    from scipy.stats import binom

    only_first = int((first & ~second).sum())
    only_second = int((second & ~first).sum())
    one_sided = binom.cdf(min(only_first, only_second), only_first + only_second, 0.5)
    return PairedTest(only_first, only_second, min(1.0, 2 * float(one_sided)))


def holm(p_values: np.ndarray) -> np.ndarray:
    """Adjusts p-values of several tests, float [tests], so that all hold at once (Holm, 1979)."""
    order = np.argsort(p_values, kind="stable")
    factors = len(p_values) - np.arange(len(p_values))
    adjusted = np.minimum(np.maximum.accumulate(p_values[order] * factors), 1)
    found = np.empty(len(p_values))
    found[order] = adjusted
    return found
