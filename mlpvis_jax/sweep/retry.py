"""Another try while a database cannot be reached."""

import functools
import time
from collections.abc import Callable
from typing import Any, TypeVar, cast

from mlpvis_jax.errors import StorageError, first_line

BEATS_OF_GRACE = 4
_Method = TypeVar("_Method", bound=Callable)


def retry_until_deadline(method: _Method) -> _Method:
    """Makes a method of DatabaseStore try again while the database cannot be reached.

    It does so for as long as the other workers take this one for alive; then it raises
    StorageError.
    """

    @functools.wraps(method)
    def call(self: Any, *arguments: Any) -> Any:
        import optuna
        import sqlalchemy

        failures = (optuna.exceptions.StorageInternalError, sqlalchemy.exc.OperationalError)
        deadline = time.monotonic() + BEATS_OF_GRACE * self.beat_seconds
        while True:
            try:
                return method(self, *arguments)
            except failures as error:
                if time.monotonic() >= deadline:
                    reason = self.url.hide(first_line(error.__cause__ or error))
                    raise StorageError(
                        f"--storage={self.url.shown} can no longer be reached ({reason}). The "
                        f"trials are on disk: --workdir={self.folder.path} with the same --storage "
                        "goes on when it can."
                    ) from None
                time.sleep(self.beat_seconds / 10)

    return cast(_Method, call)
