"""Processes that are started once, kept alive, and told to measure when it is their turn.

A worker writes one JSON line when it is ready and one for each line it is sent; between these it
waits on its standard input and computes nothing. Whatever else its libraries print goes to its
standard error, which is kept for the message should it fail.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any

# From how many seconds to measure, or what, to what was measured.
Measure = Callable[[Any], dict[str, Any]]
_STARTED = "BENCHMARK_WORKER_STARTED"  # environment variable: when, in seconds of the epoch


class WorkerError(Exception):
    """A worker ended before it answered."""


class Worker:
    """A worker as its parent sees it.

    Attributes:
      ready: what it said when it was ready.
    """

    def __init__(self, process: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
        self._process, self._errors = process, errors
        self.ready = self._receive()

    def measure(self, request: Any) -> dict[str, Any]:
        """Lets it compute for about so many seconds, or what JSON asks for; returns its answer."""
        assert self._process.stdin is not None
        # If it has ended, why stands in what it printed, which _receive tells.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(f"{json.dumps(request)}\n".encode())
        return self._receive()

    def _receive(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line:
            return json.loads(line)
        status = self._process.wait()
        self._errors.seek(0)
        last = self._errors.read()[-2000:].decode(errors="replace").strip()
        raise WorkerError(f"It ended with status {status}: {last}")


@contextlib.contextmanager
def start(command: Sequence[str], environment: dict[str, str] | None = None) -> Iterator[Worker]:
    """Starts a worker and waits until it is ready; ends it when the context is left.

    Args:
      command: of a program that calls `answer`.
      environment: variables to set beside those of this process.

    Raises:
      WorkerError: it ended instead, here or while it measured; with the end of what it printed.
    """
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(
            command,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**os.environ, **(environment or {}), _STARTED: repr(time.time())},
        ) as process,
    ):
        try:
            yield Worker(process, errors)
        finally:
            process.kill()


def answer(prepare: Callable[[], tuple[dict[str, Any], Measure]]) -> None:
    """Prepares, says that the worker is ready, and measures as often as it is asked.

    Args:
      prepare: gives what to say and the function that measures.
    """
    with os.fdopen(os.dup(sys.stdout.fileno()), "w") as replies:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

        def reply(values: dict[str, Any]) -> None:
            print(json.dumps(values), file=replies, flush=True)

        description, measure = prepare()
        reply(description)
        for line in sys.stdin:
            reply(measure(json.loads(line)))


def seconds_since_start() -> float:
    """Seconds since this worker's parent started it, its interpreter's start included."""
    return time.time() - float(os.environ[_STARTED])
