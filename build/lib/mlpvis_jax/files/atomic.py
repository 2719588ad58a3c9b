"""Files that are there as a whole or not at all, whenever the process or the machine stops."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a path to write to; the file then takes the place of `path`, and is on the disk.

    A write that fails or is cut short leaves the file that was there.

    Raises:
      OSError: it cannot be written.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        yield partial
        sync(partial)
        os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink()  # on a full disk it takes room that others need
        raise
    sync(path.parent)  # without which the new name is not on the disk


def sync(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on the disk.

    Raises:
      OSError: they cannot be written.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system that has no fsync
            raise
    finally:
        os.close(descriptor)
