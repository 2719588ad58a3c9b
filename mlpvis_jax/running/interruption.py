"""Signals taken as a wish to end: the first is noted, a second Ctrl-C ends at once.

A signal to any process of a run is one to all of them.

SIGHUP comes when a terminal is closed, SIGUSR1 from schedulers before they take a machine.
"""

import os
import signal
import socket
import sys
import threading
from types import FrameType
from typing import Self

import jax

from mlpvis_jax.running import processes

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_UNLESS_IGNORED = (signal.SIGHUP, signal.SIGUSR1)  # as nohup ignores SIGHUP for its command


class Interruption:
    """Notes signals while it is entered; in other threads than the main one there are none.

    A second Ctrl-C is answered by a thread of its own, because Python runs handlers in the main
    thread only, which may be waiting for a device then.

    Attributes:
      received: the number of the first signal, or None. Of several processes, it is what they last
        agreed on.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._noted: int | None = None  # by this process
        self._is_alone = jax.process_count() == 1

    def agree(self, is_due: bool = False) -> bool:
        """Says whether a signal has come to any process, or any finds that something is due.

        All processes of a run have to ask, after the same step.
        """
        if not self._is_alone:
            number, due = processes.largest(self._noted or 0, is_due)
            self.received, is_due = self.received or number or None, bool(due)
        return self.received is not None or is_due

    def __enter__(self) -> Self:
        self._is_main = threading.current_thread() is threading.main_thread()
        if not self._is_main:
            return self
        self._receiving, self._sending = socket.socketpair()
        self._sending.setblocking(False)
        handlers = {number: signal.getsignal(number) for number in (*_SIGNALS, *_UNLESS_IGNORED)}
        self._previous = {
            number: handler
            for number, handler in handlers.items()
            if number in _SIGNALS or handler != signal.SIG_IGN
        }
        self._previous_wakeup = signal.set_wakeup_fd(self._sending.fileno())
        for number in self._previous:
            signal.signal(number, self._note)
        threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        if not self._is_main:
            return
        signal.set_wakeup_fd(self._previous_wakeup)
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._sending.close()  # which ends the thread

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._noted = self._noted or number
        if self._is_alone:
            self.received = self._noted

    def _watch(self) -> None:
        """Reads a byte a signal: its number."""
        is_told, times_pressed = False, 0  # Ctrl-C is SIGINT
        while numbers := self._receiving.recv(16):
            for number in numbers:
                if not is_told and number in self._previous:
                    print(f"{signal.Signals(number).name}: saving ...", file=sys.stderr, flush=True)
                    is_told = True
                times_pressed += number == signal.SIGINT
                if times_pressed == 2:
                    os._exit(128 + signal.SIGINT)
        self._receiving.close()
