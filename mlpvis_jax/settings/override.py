"""Changes of single settings from the command line, where everything is text."""

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any

from mlpvis_jax.errors import InputError
from mlpvis_jax.settings.config import RunConfig, hints_of, keys_of
from mlpvis_jax.settings.declared import Role, Setting, settings_of, unknown_key
from mlpvis_jax.settings.renamed import refuse_older, rename
from mlpvis_jax.settings.sections import Options


def override_all(values: dict[str, Any], texts: Mapping[str, str]) -> None:
    """Sets values of a nested dict by their keys; see `override`.

    Groups come in the order in which they were first written, for transforms are applied in their
    order; in a group its name comes first, for it drops options that are not its own.
    """
    groups = list(dict.fromkeys(path.rpartition(".")[0] for path in texts))

    def place(path: str) -> tuple[int, bool]:
        group, _, key = path.rpartition(".")
        return groups.index(group), key != "name"

    for path in sorted(texts, key=place):
        override(values, path, texts[path])


def override(values: dict[str, Any], path: str, text: str) -> None:
    """Sets one value of a nested dict from the command line, where everything is text.

    Another name drops the options of the row that stood there before; a model keeps its own, for
    they replace fields of any preset.

    Args:
      values: changed in place.
      path: such as "optimizer.learning_rate".
      text: a number, a word, True, False or None, as the setting's type asks.

    Raises:
      InputError: no such setting, or a text that is none of its type.
    """
    refuse_older(path, value=f"{text} epochs")
    *groups, key = path.split(".")
    section: Any = RunConfig
    for depth, name in enumerate(groups):
        place = ".".join(["config", *groups[: depth + 1]])
        if section is None:  # inside of a group of options, of which any depth may be new
            break
        hints = typing.get_type_hints(section)
        if name not in hints and "options" in hints:
            raise InputError(f"{place} is one setting; there is no config.{path}.")
        if name not in hints or name == "options":
            raise InputError(unknown_key(place, keys_of(section)))
        section = hints[name] if dataclasses.is_dataclass(hints[name]) else None
        if section is None and hints[name] != Options:
            raise InputError(f"{place} is one setting; there is no config.{path}.")
    value = _parse(section, key, path, text)
    for name in groups:
        values = values.setdefault(name, {})
        if not isinstance(values, dict):
            raise InputError(f"config.{path} cannot be set; {name} is {values!r}, and no group.")
    rename(values, ".".join(["config", *groups]))
    if value is None and section is None and len(groups) == 1 and key not in values:
        raise InputError(  # None switches a transform off, and there is none of that label
            unknown_key(f"config.{path}", values) if values else f"config.{groups[0]} is empty."
        )
    # The name of a transform is its label where none is given.
    if key == "name" and groups[0] != "model" and values.get("name", groups[-1]) != value:
        closed = settings_of(section) if section is not None else {}
        for option in values.keys() - closed.keys():
            del values[option]
    values[key] = value


def _parse(section: Any, key: str, path: str, text: str) -> Any:
    declared = settings_of(section).get(key) if section is not None else None
    if declared is not None:
        return declared.check(declared.parse(text), f"config.{path}")
    is_open = section is None or "options" in hints_of(section)
    if section is not None and key in hints_of(section) and key != "options":
        hint = hints_of(section)[key]
        keys = keys_of(hint) if dataclasses.is_dataclass(hint) else ["LABEL"]
        raise InputError(
            f"config.{path} is a group of settings; set one of {', '.join(keys)} in it."
        )
    if not is_open:
        raise InputError(unknown_key(f"config.{path}", keys_of(section)))
    return Setting(object, (), True, Role.SHAPE, "").parse(text)
