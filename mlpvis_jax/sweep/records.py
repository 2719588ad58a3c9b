"""Reads what trials and groups have written down, and says what to do where a file is damaged."""

import contextlib
import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from mlpvis_jax.errors import InputError
from mlpvis_jax.files.run_folder import read_json
from mlpvis_jax.running.outcome import CULLED, DIVERGED, FINISHED, STOPPED
from mlpvis_jax.sweep.culling import Record

RUNNING = "running"  # the state of a trial that has not ended

_NUMBER, _PERHAPS = int | float, int | float | None
_RECORD = {"epoch": int, "validation_loss": _NUMBER, "validation_accuracy": _NUMBER}
_OUTCOME = {
    **{"state": str, "epochs": int, "values": dict},
    **dict.fromkeys(("validation_loss", "validation_accuracy", "test_accuracy"), _PERHAPS),
}
_MEMBER = {"trial": int, "point": int, "values": dict}


def read_outcome(path: Path) -> dict[str, Any]:
    """Reads how a trial ended, from its trial.json.

    Raises:
      InputError: the file is damaged.
    """
    with explained(path):
        outcome = read_json(path)
        _check(outcome, _OUTCOME)
        if outcome["state"] not in (FINISHED, STOPPED, CULLED, DIVERGED):
            raise ValueError(f"its state is {outcome['state']!r}")
        return outcome


def read_history(path: Path, epochs: int | None) -> list[Record]:
    """Reads the records in a trial's metrics.jsonl.

    Args:
      path: of the file.
      epochs: those of a trial that has ended; what a run has added to them is left out. None
        while the trial goes on: a line that is not whole ends the history then, for the trial
        writes the file anew from its checkpoint.

    Raises:
      InputError: the file cannot be read, is damaged, or has fewer epochs.
    """
    history: list[Record] = []
    with explained(path):
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        for number, line in enumerate(lines[:epochs], start=1):
            try:
                record = json.loads(line)
                _check(record, _RECORD)
                if record["epoch"] != number or not line.endswith(b"\n"):
                    raise ValueError(f"epoch {number} is not whole")
            except (ValueError, RecursionError) as error:
                if epochs is None:
                    break
                raise ValueError(f"line {number}: {error}") from None
            history.append(record)
        if len(history) < (epochs or 0):
            raise ValueError(f"it has {len(history)} epochs of {epochs}")
    return history


def read_members(path: Path, keys: Collection[str]) -> list[dict[str, Any]]:
    """Reads the trials of a group, from its group.json: number, index of the point, and values.

    Args:
      path: of the file.
      keys: of the values.

    Raises:
      InputError: the file is damaged.
    """
    with explained(path):
        members = read_json(path).get("trials")
        if not members or not isinstance(members, list):
            raise ValueError("it names no trials")
        for member in members:
            _check(member, _MEMBER)
            if member["values"].keys() != set(keys):
                raise ValueError(
                    f"a trial has values of {', '.join(member['values']) or 'nothing'}"
                )
        return members


def _check(content: Any, kinds: Mapping[str, Any]) -> None:
    """Raises ValueError unless it is an object with values of these kinds."""
    if not isinstance(content, dict):
        raise ValueError("an object is missing")
    for key, kind in kinds.items():
        if not isinstance(content.get(key), kind):
            raise ValueError(f"{key} is missing or of a wrong kind")


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Makes one InputError, which says what to do, of all that a damaged file can raise."""
    try:
        yield
    except (OSError, ValueError) as error:  # an InputError is a ValueError, too
        raise InputError(
            f"{path} is damaged ({error}). Put back a copy of it, or remove the folder "
            f"{path.parent} and give the same command again: what is missing then is trained anew."
        ) from None
