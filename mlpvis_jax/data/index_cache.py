"""What is found out once about files that do not change: small arrays, kept between processes.

They are in mlpvis_jax/indices under XDG_CACHE_HOME or ~/.cache, a folder for each:

    <cache>/mlpvis_jax/indices/<name>/<array>.npy

A name holds a fingerprint of the files that the arrays are of, so that arrays of files that have
changed since are never found.
"""

import contextlib
import functools
import os
import sys
import tempfile
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import numpy as np

Arrays = Mapping[str, np.ndarray]


def kept(name: str, keys: Collection[str], make: Callable[[], Arrays]) -> Arrays:
    """Gives the arrays of this name: mapped from the disk, or made now and kept for the next time.

    Where nothing can be written they are made every time, and a line on standard error says so.

    Args:
      name: of them, which another content does not have.
      keys: of the arrays.
      make: makes them, if they are not there.
    """
    folder = _folder()
    if folder is None:
        return make()
    found = _load(folder / name, keys)
    if found is not None:
        return found
    arrays = make()
    try:
        _write(folder / name, arrays)
    except OSError as error:
        _say_not_kept(folder, error.strerror or str(error))
        return arrays
    return _load(folder / name, keys) or arrays


@functools.cache  # of each reason, once
def _say_not_kept(folder: Path, reason: str) -> None:
    print(
        f"{folder} cannot be written ({reason}): what was read from the files of the images is not "
        "kept, and the next start reads it again.",
        file=sys.stderr,
    )


def _folder() -> Path | None:
    home = os.path.expanduser(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    return None if home.startswith("~") else Path(home) / "mlpvis_jax" / "indices"


def _load(entry: Path, keys: Collection[str]) -> Arrays | None:
    """The arrays of an entry, mapped; None if there is none, or one that is not whole."""
    try:
        if not entry.is_dir():
            return None
        return {
            key: np.load(entry / f"{key}.npy", mmap_mode="r", allow_pickle=False) for key in keys
        }
    except (OSError, ValueError, EOFError):
        return None


def _write(entry: Path, arrays: Arrays) -> None:
    """Writes beside, and takes the name when all is there; whoever is first keeps it."""
    entry.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=entry.parent, prefix=".") as temporary:
        unfinished = Path(temporary, "entry")
        unfinished.mkdir()
        for key, array in arrays.items():
            with open(unfinished / f"{key}.npy", "wb") as file:
                np.save(file, array)
                file.flush()
                os.fsync(file.fileno())
        if entry.is_dir() and _load(entry, arrays) is None:  # damaged
            entry.rename(Path(temporary, "damaged"))
        with contextlib.suppress(FileExistsError):
            try:
                unfinished.rename(entry)
            except OSError:
                if _load(entry, arrays) is None:  # else another process was first
                    raise
