"""The points of a shared sweep that this process has, and its sign of life for each of them."""

import contextlib
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Self


class HeldPoints:
    """Says of every point that it is alive, as long as it is held; a context manager.

    Args:
      say_alive: says so of a trial of the database, by its identity.
      beat_seconds: how often.
    """

    def __init__(self, say_alive: Callable[[int], None], beat_seconds: float) -> None:
        self._say_alive = say_alive
        self._beat_seconds = beat_seconds
        self._identities: dict[int, int] = {}
        self._lock = threading.Lock()
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def hold(self, identities: Mapping[int, int]) -> None:
        """Holds points, given with the identities of their trials, and says at once that they are.

        The last sign of a process that was stopped, and goes on, may be old.
        """
        with self._lock:
            self._identities |= identities
        self._say(identities.values())

    def let_go(self, points: Iterable[int]) -> None:
        with self._lock:
            for point in points:
                self._identities.pop(point, None)

    def identity(self, point: int) -> int | None:
        """Finds the trial of a point that is held; None of any other."""
        with self._lock:
            return self._identities.get(point)

    def _beat(self) -> None:
        while not self._ended.wait(self._beat_seconds):
            with self._lock:
                held = list(self._identities.values())
            self._say(held)

    def _say(self, identities: Iterable[int]) -> None:
        for identity in identities:
            # The network may fail for a while; the training goes on.
            with contextlib.suppress(Exception):
                self._say_alive(identity)
