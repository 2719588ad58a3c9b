"""The Optuna study of a sweep in a database: opened, or made where there is none."""

import json
import time
from typing import Any

from mlpvis_jax.errors import InputError, first_line
from mlpvis_jax.sweep import tpe
from mlpvis_jax.sweep.culling import Record
from mlpvis_jax.sweep.database_url import DatabaseUrl
from mlpvis_jax.sweep.definition import Sweep
from mlpvis_jax.sweep.folder import SweepFolder
from mlpvis_jax.sweep.retry import BEATS_OF_GRACE

DEFINITION = "sweep"  # the attribute of the study that holds the sweep's definition
_ATTEMPTS = 5
_KEPT = (
    *("epoch", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy"),
    *("validation_top5_accuracy", "learning_rate", "seconds"),
)
_DIGITS = 7


def open_study(
    folder: SweepFolder, sweep: Sweep, url: DatabaseUrl, seed: int, beat_seconds: int
) -> tuple[Any, Any]:
    """Opens the Optuna study of a sweep; the study's name is that of the sweep's folder.

    Args:
      folder: of the sweep on this machine.
      sweep: what to do.
      url: of the database.
      seed: of the points that this process suggests.
      beat_seconds: how often a process says that it is alive.

    Returns:
      The study and its storage, which keeps no copy of what other processes write.

    Raises:
      InputError: no such database, or it holds another sweep of this name.
    """
    name, optuna = folder.path.absolute().name, tpe.optuna()
    try:
        storage = _open_storage(url.full, beat_seconds)
        study = optuna.create_study(
            study_name=name,
            storage=storage,
            sampler=tpe.sampler(sweep, seed),
            load_if_exists=True,
        )
        found = study.user_attrs.get(DEFINITION)
    except Exception as error:  # whatever the driver raises
        reason = url.hide(first_line(error))
        raise InputError(f"--storage={url.shown} cannot be used: {reason}.") from None
    if found is None:
        if study.get_trials(deepcopy=False):
            raise InputError(f"--storage={url.shown} holds a study {name!r} of another program.")
        return study, storage
    try:
        content = json.loads(found)
        before = Sweep.read(content["config"], content["sweep"])
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise InputError(
            f"--storage={url.shown} holds a study {name!r} whose definition is damaged ({error}); "
            "choose another name for the folder of the sweep."
        ) from None
    sweep.refuse_other(before, f"--storage={url.shown}, study {name!r},")
    return study, storage


def _open_storage(url: str, beat_seconds: int) -> Any:
    """Opens Optuna's storage; its tables are made where there are none."""
    import sqlalchemy

    for left in reversed(range(_ATTEMPTS)):
        try:
            return tpe.optuna().storages.RDBStorage(
                url,
                engine_kwargs={"pool_pre_ping": True},
                heartbeat_interval=beat_seconds,
                grace_period=BEATS_OF_GRACE * beat_seconds,
            )
        except (sqlalchemy.exc.IntegrityError, sqlalchemy.exc.ProgrammingError):
            # Two workers that begin at once make the same tables, and one comes second.
            if not left:
                raise
            time.sleep(1.0)
    raise AssertionError


def shortened(record: Record) -> dict[str, Any]:
    """Makes of the record of an epoch what is kept in the database."""
    return {
        key: float(f"{record[key]:.{_DIGITS}g}") if isinstance(record[key], float) else record[key]
        for key in _KEPT
        if key in record
    }
