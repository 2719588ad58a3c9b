"""What --storage names: a database through which machines share a sweep, or one's own store."""

import dataclasses
import re
from typing import Any

from mlpvis_jax.sweep.database_url import DatabaseUrl

_IMPORT_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


@dataclasses.dataclass(frozen=True)
class OwnStorage:
    """The import path MODULE:NAME of a store of the user's own; stands beside `DatabaseUrl`."""

    shown: str

    @property
    def place(self) -> tuple[Any, ...]:
        """Gives what is equal for two names of one store."""
        return (self.shown,)


Storage = DatabaseUrl | OwnStorage


def flags_of(storage: Storage | None) -> list[str]:
    """Writes the arguments of a command that shares a sweep; none where it is not shared."""
    return [] if storage is None else [f"--storage={storage.shown}"]


def read_storage(text: str) -> Storage:
    """Reads --storage: the URL of a database, or MODULE:NAME.

    Raises:
      InputError: it is neither.
    """
    # Anything else may be a mistyped URL, of which nothing is shown.
    return OwnStorage(text) if _IMPORT_PATH.fullmatch(text) else DatabaseUrl.parse(text)
