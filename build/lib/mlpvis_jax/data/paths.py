"""Paths as a user writes them: a leading ~ is a home, and what cannot be a path is refused."""

from pathlib import Path

from mlpvis_jax.errors import InputError
from mlpvis_jax.settings.declared import shown


def read_path(text: str | Path, key: str) -> Path:
    """Reads a path, at which there need not be anything.

    Args:
      text: the path; a leading `~` or `~USER` is a home.
      key: the setting that gives it, such as "config.data.data_dir"; for messages.

    Raises:
      InputError: the path is too long, leads through a loop of links, is closed to this user, or
        begins with the home of nobody.
    """
    try:
        path = Path(text).expanduser()
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError, RuntimeError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or str(error).rstrip(".")
        raise InputError(f"{key} is {shown(str(text))}, which is no path: {reason}.") from error
    return path
