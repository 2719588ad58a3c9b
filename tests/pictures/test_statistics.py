"""Statistics of predictions against SciPy, scikit-learn and hand-made cases."""

import numpy as np
import pytest
import sklearn.calibration
import sklearn.metrics
from scipy import stats

from mlpvis_jax.pictures import statistics

RANDOM = np.random.default_rng(0)
LABELS, PREDICTIONS = RANDOM.integers(0, 7, (2, 500))


def test_confusion_is_scikit_learns():
    expected = sklearn.metrics.confusion_matrix(LABELS, PREDICTIONS, labels=range(8))
    assert np.array_equal(statistics.confusion_matrix(LABELS, PREDICTIONS, 8), expected)


@pytest.mark.parametrize("correct, count", [(0, 10), (3, 10), (10, 10), (4771, 10_000)])
@pytest.mark.parametrize("confidence", [0.95, 0.68])
def test_wilson_is_scipys(correct, count, confidence):
    expected = stats.binomtest(correct, count).proportion_ci(confidence, "wilson")
    found = statistics.wilson_interval(correct, count, confidence)
    np.testing.assert_allclose(found, [expected.low, expected.high], atol=1e-12)


def test_nothing_is_known_of_a_class_without_examples():
    low, high = statistics.wilson_interval(np.array([0, 1]), np.array([0, 1]))
    assert (low[0], high[0]) == (0, 1) and 0 < low[1] < high[1] == 1


def test_the_calibration_error_of_a_hand_made_case():
    confidences = np.array([0.15, 0.12, 0.9, 1.0, 0.95])
    correct = np.array([False, True, True, True, False])
    found = statistics.reliability(confidences, correct, num_bins=10)
    assert found.counts.tolist() == [0, 2, 0, 0, 0, 0, 0, 0, 1, 2]
    # An upper edge is of the bin below it: 0.9 is in (0.8, 0.9].
    expected = (2 * abs(0.5 - 0.135) + 1 * abs(1 - 0.9) + 2 * abs(0.5 - 0.975)) / 5
    assert found.error == pytest.approx(expected)


def test_reliability_is_scikit_learns():
    confidences = RANDOM.uniform(size=1000)
    correct = RANDOM.uniform(size=1000) < confidences**2
    found = statistics.reliability(confidences, correct)
    accuracy, confidence = sklearn.calibration.calibration_curve(correct, confidences, n_bins=15)
    np.testing.assert_allclose(found.accuracy, accuracy)
    np.testing.assert_allclose(found.confidence, confidence)


def test_confused_classes_stand_side_by_side():
    matrix = np.diag([10] * 6)
    for one, other in ((0, 4), (1, 3), (2, 5)):
        matrix[one, other] = matrix[other, one] = 5
    order = statistics.cluster_order(matrix).tolist()
    assert sorted(order) == list(range(6))
    assert {frozenset(order[i : i + 2]) for i in (0, 2, 4)} == {
        frozenset(pair) for pair in ((0, 4), (1, 3), (2, 5))
    }
    assert statistics.cluster_order(np.eye(2)).tolist() == [0, 1]


def test_groups_keep_the_order_within():
    assert statistics.group_order(np.array([1, 0, 1, 0])).tolist() == [1, 3, 0, 2]


def right(only_first, only_second, both=10, neither=5):
    """Whether two classifiers are right on examples of which these are the numbers."""
    pairs = [(1, 0)] * only_first + [(0, 1)] * only_second + [(1, 1)] * both + [(0, 0)] * neither
    return np.array(pairs, bool).T


def test_the_paired_test_of_a_hand_made_case():
    # Twice the chance of at most 2 heads among 11: (1 + 11 + 55) / 2^10.
    assert statistics.mcnemar(*right(9, 2)) == (9, 2, pytest.approx(67 / 1024))
    assert statistics.mcnemar(*right(0, 0)) == (0, 0, 1)


@pytest.mark.parametrize(
    "first, second", [(121, 59), (59, 121), (20, 20), (21, 20), (0, 1), (0, 9)]
)
def test_the_paired_test_is_scipys_binomial_test(first, second):
    found = statistics.mcnemar(*right(first, second))
    assert (found.only_first, found.only_second) == (first, second)
    assert found.p_value == pytest.approx(stats.binomtest(first, first + second).pvalue)


def test_holm_multiplies_the_smallest_the_most():
    found = statistics.holm(np.array([0.01, 0.04, 0.03]))
    assert found.tolist() == pytest.approx([0.03, 0.06, 0.06])
    assert statistics.holm(np.array([0.6, 0.7])).tolist() == [1, 1]
