"""The settings of a measured run: the project's own configs, with what the caller changes."""

import importlib
import importlib.util
import sys
import types
from collections.abc import Sequence

from mlpvis_jax.settings.config import RunConfig
from mlpvis_jax.settings.override import override

# The three models of the Keras example, by the name of their config.
MODELS = ("mixer", "fnet", "gmlp")

_LIBRARY = "ml_collections"


class _PlainConfig(dict):
    """Stands in for ml_collections.ConfigDict, where a config only builds and returns one."""

    def to_dict(self) -> dict:
        return dict(self)


def run_config(model: str, changes: Sequence[str] = ()) -> RunConfig:
    """Reads the settings of configs/<family>.py, for that model or another preset of its family.

    Args:
      model: mixer, fnet, gmlp, or a preset's name such as mixer_b16.
      changes: settings as KEY=VALUE, such as "model.dtype=bfloat16"; they come last.

    Raises:
      ValueError: no such family.
      InputError: a setting that does not exist or an impossible value.
    """
    family = model.split("_")[0]
    if family not in MODELS:
        raise ValueError(f"Model {model!r} is of none of the families {', '.join(MODELS)}.")
    values = _read_config(family)
    if model != family:
        values["model"]["name"] = model
    change_each(values, changes)
    return RunConfig.from_mapping(values)


def change_each(values: dict, changes: Sequence[str]) -> None:
    """Sets values of a nested dict, in the order of the changes, each as KEY=VALUE.

    Raises:
      InputError: a setting that does not exist or an impossible value.
    """
    for change in changes:
        path, _, text = change.partition("=")
        override(values, path, text)


def has_ml_collections() -> bool:
    """Tells whether ml_collections is installed; what stands in for it does not count."""
    module = sys.modules.get(_LIBRARY)
    if module is None:
        return importlib.util.find_spec(_LIBRARY) is not None
    return module.ConfigDict is not _PlainConfig


def _read_config(family: str) -> dict:
    # A machine that only lends its GPU may lack ml_collections. The configs then build a plain
    # dict, so that their values still stand in one place only.
    if not has_ml_collections():
        sys.modules[_LIBRARY] = types.SimpleNamespace(ConfigDict=_PlainConfig)  # type: ignore[assignment]
    return importlib.import_module(f"configs.{family}").get_config().to_dict()
