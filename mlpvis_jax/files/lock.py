"""Locks, which the system gives back when their process ends, however it ends."""

import fcntl
from pathlib import Path
from typing import IO

from mlpvis_jax.errors import InputError


def lock(file: IO[str], folder: Path, waits: bool = False) -> bool:
    """Locks an open file, until it is closed.

    Args:
      file: to be locked.
      folder: that the lock is of, for the message.
      waits: for another process that has the lock.

    Returns:
      Whether it is locked; False where another process has the lock, and this one does not wait.

    Raises:
      InputError: the file system has no locks.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX if waits else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise InputError(
            f"--workdir={folder} cannot be locked ({error.strerror}), and without that two "
            "processes could train in it; choose a folder on another file system (Lustre has locks "
            "where it is mounted with -o flock)."
        ) from error
    return True
