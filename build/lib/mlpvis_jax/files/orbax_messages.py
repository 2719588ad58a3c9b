"""What Orbax and TensorStore print of a write that failed, kept off the terminal.

Each array that is not written is a traceback, in the log and from threads whose event loop is gone
by then; the error itself is raised as well.
"""

import functools
import logging
import sys
from typing import Any


@functools.cache
def withhold() -> None:
    """Withholds them until the process ends, for they come late; all else is printed as before."""
    hook = sys.unraisablehook

    def is_other(record: logging.LogRecord) -> bool:
        of_orbax = record.name == "absl" and "orbax" in record.pathname
        of_its_tasks = "exception was never retrieved" in record.getMessage()
        return record.levelno < logging.ERROR or not (of_orbax or of_its_tasks)

    def print_other(unraisable: Any) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            hook(unraisable)

    for name in ("absl", "asyncio"):
        logging.getLogger(name).addFilter(is_other)
    sys.unraisablehook = print_other
