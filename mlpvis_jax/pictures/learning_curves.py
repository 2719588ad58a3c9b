"""The learning curves of several runs in one picture."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from mlpvis_jax.pictures.theme import empty_figure
from mlpvis_jax.show.drawing import shortened

_NAMED = 12  # runs in the legend
_LONGEST = 43  # letters of a name there
_STYLES = ("-", "--", ":", "-.")


def draw_learning_curves(
    histories: Mapping[str, Sequence[Mapping[str, Any]]],
    groups: Mapping[str, int] | None = None,
    by_time: bool = False,
) -> Any:
    """Draws the validation loss and the validation accuracy of every run by epoch, or by time.

    Args:
      histories: of each run by name, the lines of its metrics.jsonl.
      groups: the number of each run's group from 0, which chooses its colour; runs of a group,
        such as those that differ in the seed alone, look the same. By default each is its own.
      by_time: by the minutes that training and validation of the epochs took.

    Returns:
      A Matplotlib Figure.
    """
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    of_run = {name: number for number, name in enumerate(histories)} if groups is None else groups
    figure = empty_figure(7.4, 3.4)
    loss_axes, accuracy_axes = figure.subplots(1, 2)
    named: set[int] = set()
    for name, history in histories.items():
        group = of_run[name]
        style = {"color": f"C{group % 6}", "linestyle": _STYLES[group // 6 % len(_STYLES)]}
        is_new = group not in named and len(named) < _NAMED
        named.add(group)
        places = _minutes(history) if by_time else _ends(history)
        marks = {"marker": "o" if len(history) < 6 else "", "markersize": 3}
        for axes, key in (
            (loss_axes, "validation_loss"),
            (accuracy_axes, "validation_accuracy"),
        ):
            values = [_number(record.get(key)) for record in history]
            label = _shown(name) if is_new and axes is loss_axes else "_"
            axes.plot(places, values, linewidth=1.3, label=label, **style, **marks)
    for axes in (loss_axes, accuracy_axes):
        axes.set_xlabel("minutes of training and validation" if by_time else "epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=not by_time))
        axes.grid(axis="y")
    loss_axes.set_ylabel("validation loss (nats)")
    accuracy_axes.set_ylabel("validation accuracy")
    accuracy_axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    if len(set(of_run.values())) > _NAMED:
        loss_axes.plot([], [], " ", label=f"and {len(set(of_run.values())) - _NAMED} more")
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def _shown(name: str) -> str:
    """The name of a run as a legend has room for it; none of it is a formula, or hidden."""
    shown = shortened(name, _LONGEST)
    # Matplotlib leaves out of a legend what begins with an underscore.
    return (" " if shown.startswith("_") else "") + shown.replace("$", r"\$")


def _ends(history: Sequence[Mapping[str, Any]]) -> list[float]:
    """Where each record's epoch ends, in epochs; the last one of a run may be a part."""
    if not history or "step" not in history[0]:
        return [record["epoch"] for record in history]
    steps_per_epoch = history[0]["step"] / history[0]["epoch"]
    return [record["step"] / steps_per_epoch for record in history]


def _minutes(history: Sequence[Mapping[str, Any]]) -> list[float]:
    """How long the run had trained at the end of each record's epoch; NaN from where none says."""
    seconds = (_number(record.get("seconds")) for record in history)
    return [passed / 60 for passed in itertools.accumulate(seconds)]


def _number(value: Any) -> float:
    return float("nan") if value is None else value
