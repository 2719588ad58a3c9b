"""A worker answers when it is asked, and says why it ended."""

import sys

import pytest

from benchmarks.workers import WorkerError, start

DOUBLING = """
import os
from benchmarks import workers

def prepare():
    print("what a library has to say")  # must not be taken for an answer
    return {"name": os.environ["NAME"]}, lambda seconds: {"twice": 2 * seconds}

workers.answer(prepare)
"""
FAILING = """
from benchmarks import workers

def measure(seconds):
    raise ValueError("no such number")

workers.answer(lambda: ({}, measure))
"""


def test_it_answers_each_request():
    with start([sys.executable, "-c", DOUBLING], {"NAME": "doubling"}) as worker:
        assert worker.ready == {"name": "doubling"}
        assert [worker.measure(number)["twice"] for number in (1, 2.5)] == [2, 5]


def test_the_error_says_why_it_ended():
    with (
        pytest.raises(WorkerError, match="(?s)status 1.*no such number"),
        start([sys.executable, "-c", FAILING]) as worker,
    ):
        worker.measure(1)
