"""What Orbax and TensorStore print of a write, kept off the terminal.

Of one that failed, each array is a traceback, in the log and from threads whose event loop is gone
by then; the error itself is raised as well. Of one that waits for the one before, as in runs of
short epochs, it is a warning.
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
        if of_orbax and record.getMessage().startswith("Waiting for previous save"):
            return False
        return record.levelno < logging.ERROR or not (of_orbax or of_its_tasks)

    def print_other(unraisable: Any) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            hook(unraisable)

    for name in ("absl", "asyncio"):
        logging.getLogger(name).addFilter(is_other)
    sys.unraisablehook = print_other
