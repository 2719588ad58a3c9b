"""Settings that had another name, so that runs which were begun with it go on."""

from collections.abc import Mapping
from typing import Any

from mlpvis_jax.errors import InputError

# The older key and the key of today. Both took and take a number of epochs.
RENAMED: Mapping[str, str] = {
    "num_epochs": "duration",
    "schedule.warmup_epochs": "schedule.warmup",
}


def rename(section: dict[str, Any], place: str) -> None:
    """Gives the older keys of a section the names of today, in place.

    Args:
      section: values by key, some of which may be groups.
      place: of the section, such as "config" or "config.schedule".

    Raises:
      InputError: a setting stands there by both of its names.
    """
    for older, key in RENAMED.items():
        group, _, last = f"config.{older}".rpartition(".")
        if group != place or last not in section:
            continue
        now = key.rpartition(".")[2]
        if now in section:
            raise InputError(f"config.{older} is an older name of config.{key}; give that alone.")
        section[now] = section.pop(last)


def refuse_older(path: str, flag: str = "--config", value: str = "") -> None:
    """Raises InputError where the command line has an older key, with the key of today.

    Args:
      path: such as "num_epochs".
      flag: that the key was given by, such as "--sweep".
      value: the same in today's words, such as "20 epochs", where that is known.
    """
    if path in RENAMED:
        raise InputError(
            f"config.{path} has become config.{RENAMED[path]}, which takes epochs, steps and "
            f"examples; give {flag}.{RENAMED[path]}" + (f"='{value}'." if value else ".")
        )
