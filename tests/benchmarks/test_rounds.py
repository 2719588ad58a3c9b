"""The order of rounds, and what is said of their values."""

import pytest

from benchmarks.rounds import interleaved, median_ratio, summarize


def test_everyone_has_a_turn_in_each_round_and_every_second_runs_backwards():
    assert list(interleaved(["a", "b", "c"], 3)) == [
        *[(0, "a"), (0, "b"), (0, "c")],
        *[(1, "c"), (1, "b"), (1, "a")],
        *[(2, "a"), (2, "b"), (2, "c")],
    ]


def test_a_summary_keeps_the_rounds_in_their_order():
    assert summarize([4.0, 1.0, 2.0]) == {
        "median": 2.0,
        "least": 1.0,
        "most": 4.0,
        "rounds": [4.0, 1.0, 2.0],
    }


def test_a_ratio_is_formed_within_a_round():
    # The machine was ten times slower in the second round, for both.
    assert median_ratio([200.0, 20.0, 210.0], [100.0, 10.0, 100.0]) == pytest.approx(2.0)
