"""Where files can be: paths that lead to a folder, and what may stand in the way there."""

import contextlib
import itertools
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from mlpvis_jax.errors import InputError

# Stands for the path of the deepest file of a run within its folder. Encrypted file systems take no
# names of more than about 140 bytes.
_LONGEST_BELOW = "/".join(["x" * 49] * 4)


def find_folder(text: str, flag: str = "--workdir") -> Path:
    """Reads the path of a folder, which need not exist yet; a leading `~` is a home.

    Args:
      text: the path.
      flag: that gives it; for messages.

    Raises:
      InputError: no folder can be there, or the way to it is closed to this user.
    """
    try:
        path = Path(text).expanduser()
    except RuntimeError:
        user = text.partition("/")[0]
        raise InputError(f"{flag}={text} cannot be a folder: {user} is nobody's home.") from None
    check_folder(path, flag)
    return path


def check_folder(path: Path, flag: str = "--workdir") -> Path:
    """Refuses a path at which there is no folder, and cannot be one.

    Args:
      path: of the folder.
      flag: that gives it; for messages.

    Returns:
      The folder, or the one of its parents in which it can be made.

    Raises:
      InputError: naming the path and what stands in the way.
    """
    refused = f"{flag}={path} cannot be a folder:"
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError:  # checkpoints are written by a library that takes nothing else
        raise InputError(f"{ascii(refused)[1:-1]} its name is not in UTF-8.") from None
    try:
        existing = nearest_existing(path)
        if not existing.is_dir():
            kind = "a file" if existing.exists() else "a symbolic link to nothing"
            raise InputError(f"{refused} {existing} is {kind}.")
        name = max(path.parts, key=lambda part: len(os.fsencode(part)), default="")
        if len(os.fsencode(name)) > os.pathconf(existing, "PC_NAME_MAX"):
            raise InputError(f"{refused} {name} is too long for a name.")
        # TensorStore's patterns: Orbax would not find what it has just written there.
        if flag == "--workdir" and any(sign in os.path.abspath(path) for sign in "[\\"):
            raise InputError(f"{refused} no checkpoint is read from a path with [ or \\ in it.")
    except InputError:  # is a ValueError, too
        raise
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{refused} {reason}.") from error
    return existing


def check_writable(path: Path, flag: str = "--workdir") -> None:
    """Refuses a path where no folder can be, or one that cannot be written.

    Args:
      path: of the folder.
      flag: that gives it; for messages.

    Raises:
      InputError: naming the folder and what stands in the way.
    """
    existing = check_folder(path, flag)
    if not os.access(existing, os.W_OK | os.X_OK):
        raise InputError(
            f"{flag}={path} cannot be written: {existing} gives no permission, or is on a "
            "read-only disk."
        )


def nearest_existing(path: Path) -> Path:
    """Finds the path itself where something is there, or else the nearest of its parents.

    Raises:
      OSError: the path is too long, leads through a loop of links, or is closed to this user.
    """
    deepest = path.absolute() / _LONGEST_BELOW
    for candidate in (deepest, *deepest.parents):
        try:
            candidate.lstat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        return candidate
    raise FileNotFoundError(path)


def check_kinds(files: Iterable[Path], folders: Iterable[Path]) -> None:
    """Refuses a folder where a file belongs, the reverse, and links that lead nowhere.

    Raises:
      InputError: naming the first such path.
    """
    for paths, kind, is_right in ((files, "file", Path.is_file), (folders, "folder", Path.is_dir)):
        for path in paths:
            if os.path.lexists(path) and not is_right(path):
                raise InputError(
                    f"{path} must be a {kind}, and something else is there; move it away, or "
                    "choose another --workdir."
                )


def describe_free_space(path: Path) -> str:
    """Describes the free space of the disk that a path is on, such as "12.3 MB are free"."""
    try:
        return f"{shutil.disk_usage(nearest_existing(path)).free / 1e6:,.1f} MB are free"
    except OSError as error:
        return f"the disk does not answer ({error.strerror})"


def take_name(folder: Path, name: str, suffixes: Sequence[str]) -> str:
    """Takes the first of NAME, NAME-2, ... that is free, by an empty file with the first suffix.

    Of several processes that look for a name at once each has another.

    Raises:
      OSError: the file cannot be written.
    """
    while True:
        found = free_name(folder, name, suffixes)
        with contextlib.suppress(FileExistsError):
            (folder / f"{found}{suffixes[0]}").touch(exist_ok=False)
            return found


def free_name(folder: Path, name: str, suffixes: Sequence[str] = ("",)) -> str:
    """Finds the first of NAME, NAME-2, NAME-3, ... that nothing in a folder has.

    Args:
      folder: to look in.
      name: to begin with.
      suffixes: the name has to be free with each of them at its end.
    """
    names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
    return next(
        one
        for one in names
        if not any(os.path.lexists(folder / f"{one}{suffix}") for suffix in suffixes)
    )
