"""The config file of a run whose model is the user's own, kept with the run.

config.json names such a model, and only the Python file that defined it knows what it is. Its copy
is not executed unasked, because a folder may come from somebody else: the command names it.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlpvis_jax.errors import InputError
from mlpvis_jax.files.atomic import replacing
from mlpvis_jax.files.command_line import command_line
from mlpvis_jax.settings.config import RunConfig

_NAME = "begun_with.py"
_MARK = b"\n# Kept by launch.py, with the variant and the settings that it was asked for: "


@dataclasses.dataclass(frozen=True)
class ConfigFile:
    """A Python file of settings.

    Attributes:
      text: its content.
      variant: what its get_config was given.
      settings: by key, those that the command line did not change.
      switched_off: keys that it gave as None. A transform of these is in no config.json.
    """

    text: bytes
    variant: str
    settings: Mapping[str, Any]
    switched_off: Sequence[str] = ()

    def write(self, folder: Path) -> None:
        """Keeps a copy in a folder."""
        text = self.text.partition(_MARK)[0]  # it may be such a copy itself
        asked = json.dumps(
            {
                "variant": self.variant,
                "settings": self.settings,
                "switched_off": self.switched_off,
            }
        )
        with replacing(folder / _NAME) as partial:
            partial.write_bytes(text + _MARK + asked.encode() + b"\n")


def command(folder: Path, config: RunConfig, *more: str) -> str | None:
    """Writes the command that uses the config file kept in a folder; None if there is none.

    Args:
      folder: of a run, of a sweep, or of one of its trials.
      config: the settings that are wanted.
      more: further arguments.

    Raises:
      InputError: what is kept is not as it was written.
    """
    places = [folder, *([folder.parent.parent] if folder.parent.name == "trials" else [])]
    path = next((place / _NAME for place in places if (place / _NAME).exists()), None)
    if path is None:
        return None
    try:
        asked = json.loads(path.read_bytes().partition(_MARK)[2])
        variant, settings = asked["variant"], asked["settings"].items()
        switched_off = list(asked.get("switched_off", []))  # older versions did not write it
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}, which defines the run's model, is damaged; give --config=FILE, the file that "
            "the run was begun with."
        ) from error
    file = f"--config={path}:{variant}" if variant else f"--config={path}"
    flat = config.flat()
    changed = {key: value for key, value in flat.items() if (key, value) not in settings}
    # One that has been given options since is on again.
    off = [key for key in switched_off if not any(f"{one}.".startswith(f"{key}.") for one in flat)]
    changed |= dict.fromkeys(off)
    overrides = [f"--config.{key}={value}" for key, value in changed.items()]
    return command_line(file, *overrides, *more)
