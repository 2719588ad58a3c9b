"""What --storage names: a database through which machines share a sweep, or one's own store."""

import dataclasses
from typing import Any

from mlpvis_jax.sweep.database_url import DatabaseUrl


@dataclasses.dataclass(frozen=True)
class OwnStorage:
    """The import path MODULE:NAME of a store of the user's own; stands beside `DatabaseUrl`."""

    shown: str

    @property
    def place(self) -> tuple[Any, ...]:
        """What is equal for two names of one store."""
        return (self.shown,)


Storage = DatabaseUrl | OwnStorage


def read_storage(text: str) -> Storage:
    """Reads --storage: the URL of a database, or MODULE:NAME.

    Raises:
      InputError: it is neither.
    """
    return OwnStorage(text) if "://" not in text and ":" in text else DatabaseUrl.parse(text)
