"""What can end a run, each with a message for a person and an exit status for the shell."""

import difflib
import signal
from collections.abc import Iterable


class RunError(Exception):
    """A run cannot go on; `launch.py` prints the message alone, without a traceback.

    Attributes:
      exit_status: of the process.
    """

    exit_status = 1


class InputError(RunError, ValueError):
    """A setting, a file or a data set that cannot be used as it is.

    The message is one or two sentences: what was given (the key, the value, the path) and what
    would be right. From Python it is a `ValueError`.
    """

    exit_status = 2


class DivergenceError(RunError):
    """The loss or a gradient is no longer a finite number."""

    exit_status = 3


class StorageError(RunError):
    """The disk is full, read-only or broken, or a database cannot be reached."""


class OutOfMemoryError(RunError):
    """The devices have no room for the run."""


class InterruptedRunError(RunError):
    """A signal asked the run to end, and it is saved."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.exit_status = 128 + signal.Signals(number)


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Returns the known word that a mistyped one most likely stands for, or None."""
    matches = difflib.get_close_matches(word, list(known), n=1)
    return matches[0] if matches else None


def first_line(error: BaseException) -> str:
    """Returns the first line of an error's message, or the name of its class."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def one_line(error: BaseException) -> str:
    """Returns the class of an error, and its whole message in one line if it has one."""
    return ": ".join(filter(None, (type(error).__name__, " ".join(str(error).split()))))
