"""Exponents and crossings of exact power laws."""

import pytest

from benchmarks.power_law import crossings, fit_exponent

SIZES = (16, 36, 64, 144, 1024)


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0, 2.0])
def test_the_exponent_of_a_power_law_is_found(exponent):
    values = [3.7 * size**exponent for size in SIZES]
    assert fit_exponent(SIZES, values) == pytest.approx(exponent, abs=1e-12)


def test_the_fit_is_least_squares_on_the_logarithms():
    # Slope of the points (0, 0), (1, 1), (2, 0), (3, 3) in the plane of logarithms, by hand.
    values = [10.0**power for power in (0, 1, 0, 3)]
    assert fit_exponent([1, 10, 100, 1000], values) == pytest.approx(0.8)


def test_power_laws_cross_where_they_are_equal():
    linear = [100.0 * size for size in SIZES]
    quadratic = [float(size**2) for size in SIZES]
    ((size, linear_is_smaller),) = crossings(SIZES, linear, quadratic)
    assert size == pytest.approx(100)
    assert linear_is_smaller
    ((size, quadratic_is_smaller),) = crossings(SIZES, quadratic, linear)
    assert size == pytest.approx(100)
    assert not quadratic_is_smaller


def test_curves_that_keep_apart_do_not_cross():
    assert crossings(SIZES, [1.0] * 5, [2.0] * 5) == []
