"""A run whose steps take milliseconds, and what two equal runs may differ in."""

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlpvis_jax.settings.config import RunConfig
from mlpvis_jax.settings.override import override

CLOCK = {"seconds", "images_per_second"}
# On images of 8 x 8 pixels, such as those of the fixture tiny_npz.
SIZES = {
    "model.image_size": 8,
    "model.patch_size": 4,
    "model.num_blocks": 1,
    "model.width": 8,
    "batch_size": 8,
}


def settings(source: Path | str, model: str = "mixer", **changes: Any) -> list[str]:
    """Arguments of launch.py; a change is given as `duration=2` or `**{"optimizer.b1": 0.5}`."""
    values = {"data.source": f"npz:{source}", **SIZES, **changes}
    arguments = [f"--config.{key}={value}" for key, value in values.items()]
    return [f"--config=configs/{model}.py", *arguments]


def values(source: Path | str, model: str = "mixer", **changes: Any) -> dict[str, Any]:
    """The settings that these arguments give, as a nested dict."""
    nested = importlib.import_module(f"configs.{model}").get_config().to_dict()
    for argument in settings(source, model, **changes)[1:]:
        key, _, text = argument.removeprefix("--config.").partition("=")
        override(nested, key, text)
    return nested


def config(source: Path | str, model: str = "mixer", **changes: Any) -> RunConfig:
    """The same, checked."""
    return RunConfig.from_mapping(values(source, model, **changes))


def without_clock(record: Mapping[str, Any]) -> dict[str, Any]:
    """A line of metrics.jsonl, or results.json, without what is never the same twice."""
    return {key: value for key, value in record.items() if key not in CLOCK}


def history(run: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl in the folder of a run, without the clock."""
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [without_clock(json.loads(line)) for line in lines]
