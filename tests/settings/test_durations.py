"""Durations: how they are written, and how many steps they come to."""

import copy
import json
from fractions import Fraction

import pytest

from mlpvis_jax.settings.durations import Duration


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("50 epochs", "50 epochs"),
        (" 50  epochs ", "50 epochs"),
        ("1 epochs", "1 epoch"),
        ("1 epoch", "1 epoch"),
        (50, "50 epochs"),
        (0.5, "0.5 epochs"),
        ("0.50", "0.5 epochs"),
        ("10_000steps", "10000 steps"),
        ("1e4 steps", "10000 steps"),
        ("1 step", "1 step"),
        ("2_250_000 examples", "2250000 examples"),
        ("0 steps", "0 steps"),
    ],
)
def test_one_text_for_every_way_to_write_a_duration(given, text):
    duration = Duration(given)
    assert duration == text and Duration(duration) == duration
    # As config.json and the checkpoints have it.
    assert json.dumps([duration]) == json.dumps([text])
    assert type(copy.deepcopy(duration)) is Duration


@pytest.mark.parametrize(
    "given",
    ["", "x", "steps", "5 minutes", "1/2 epochs", "nan", "inf steps", "5 Epochs", True, None, [5],
     10**1000, "9" * 1000],
)  # fmt: skip
def test_what_is_no_duration(given):
    with pytest.raises(ValueError, match=r"^a duration such as '50 epochs', '500 steps' or "):
        Duration(given)


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        # 45,000 images in batches of 128 are 351 whole batches and one of 72.
        ("50 epochs", 50 * 352),
        ("0.5 epochs", 176),
        ("0.1 epochs", Fraction(352, 10)),
        ("500 steps", 500),
        ("45000 examples", 352),
        ("2250000 examples", 50 * 352),
        ("45128 examples", 353),
        ("45001 examples", 352 + Fraction(1, 128)),
        ("128 examples", 1),
        ("0 epochs", 0),
    ],
)
def test_steps_of_a_duration(text, steps):
    assert Duration(text).steps(45_000, 128) == steps


def test_an_epoch_cut_by_a_decimal_is_that_part_of_it():
    # In floating point 0.1 times 30 is above 3.
    assert Duration("0.1 epochs").steps(30, 1) == 3
    assert Duration("0.1 epochs").times(2) == "0.2 epochs"
    assert Duration("1 step").times(2) == "2 steps"
