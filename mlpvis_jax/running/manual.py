"""The manual of the settings, made from their declarations: `--help`, and docs/settings.md."""

from collections.abc import Iterator, Mapping
from typing import Any

from mlpvis_jax.learning.losses import LOSSES
from mlpvis_jax.learning.metrics import METRICS
from mlpvis_jax.learning.mix import MIXES
from mlpvis_jax.learning.optimizers import OPTIMIZERS
from mlpvis_jax.learning.schedules import SCHEDULES
from mlpvis_jax.learning.transforms import TRANSFORMS
from mlpvis_jax.models.presets import PRESETS, model_settings
from mlpvis_jax.settings.config import closed_settings
from mlpvis_jax.settings.declared import MISSING, Setting, settings_of
from mlpvis_jax.show.writers import WRITERS

_TABLES: Mapping[str, Mapping[str, Any]] = {
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "loss": LOSSES,
    "augment.LABEL": TRANSFORMS,
    "mix.LABEL": MIXES,
}
_NAMES = {"metrics": METRICS, "writers": WRITERS, "model.name": PRESETS}

_HEAD = """# Settings

Every setting of a run, made from the declarations in the code by
`python -m mlpvis_jax.running.manual`. A config gives the values; the command line changes them:
`--config.optimizer.learning_rate=0.003`. A *traced number* may be another one without compiling
anew, and the trials of a sweep that differ in nothing else are one program; a *rule on the host*
may differ among them, too; a *part of the program* makes another program; a *matter of the machine*
may change when a run goes on.

A section with a `name` takes the settings of what the name stands for. A name is a row of the
section's table, or MODULE:NAME of your own: see [extending.md](extending.md).

| setting | of | value | role | meaning |
|---|---|---|---|---|"""


def rows() -> Iterator[tuple[str, str, Setting]]:
    """Lists every setting: its key, the rows of a table that have it ("" for all), and itself."""
    for key, setting in closed_settings().items():
        yield key, "", setting
    of_models: dict[tuple[str, str], tuple[list[str], Setting]] = {}
    for name in PRESETS:
        family = name.partition("_")[0]
        for key, setting in model_settings(name).items():
            families = of_models.setdefault((key, setting.meaning), ([], setting))[0]
            if family not in families:
                families.append(family)
    every = {name.partition("_")[0] for name in PRESETS}
    for (key, _), (families, setting) in of_models.items():
        yield f"model.{key}", "" if every == set(families) else ", ".join(families), setting
    for section, table in _TABLES.items():
        for name, row in table.items():
            for key, setting in settings_of(row).items():
                yield f"{section}.{key}", name, setting


def markdown() -> str:
    """Writes docs/settings.md."""
    lines = [_HEAD]
    for key, owner, setting in rows():
        default = ""
        if owner and key.startswith("model."):
            default = ", by default the preset's"
        elif owner and setting.default is not MISSING:
            default = f", by default {setting.default}"
        words = f"{setting}{default}".replace("|", "\\|")
        lines.append(f"| `{key}` | {owner} | {words} | {setting.role.value} | {setting.meaning} |")
    lines += ["", "## Tables", ""]
    for section, table in [*_TABLES.items(), *_NAMES.items()]:
        lines.append(f"- `config.{section}`: {', '.join(f'`{name}`' for name in table)}")
    return "\n".join(lines) + "\n"


def text() -> str:
    """Writes the settings for `--help`, one a line."""
    lines = []
    for key, owner, setting in rows():
        of = f" [{owner}]" if owner else ""
        kind = str(setting)
        lines.append(f"  --config.{key}{of}\n      {setting.meaning} {kind[:1].upper()}{kind[1:]}.")
    return "\n".join(lines)


if __name__ == "__main__":
    print(markdown(), end="")
