"""The learning curves of a run, as a picture."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlpvis_jax.show.drawing import new_figure, save_picture

Record = Mapping[str, Any]

# From the Okabe-Ito palette, which people of all kinds of colour vision tell apart.
_TRAIN, _VALIDATION, _TOP5, _FAINT = "#0072B2", "#D55E00", "#E69F00", "#999999"


def plot_curves(history: Sequence[Record], path: Path, title: str) -> None:
    """Draws loss and accuracy by epoch, side by side, as a PNG of 1500 x 600 pixels.

    The best epoch (lowest validation loss) is ringed and cuts of the learning rate are marked.
    A picture that cannot be drawn costs a line of warning: see `drawing.save_picture`.
    """
    save_picture(path, _curves, history, title)


def _curves(history: Sequence[Record], title: str) -> Any:
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    epochs = [record["epoch"] for record in history]
    best = min(history, key=lambda record: _or_infinity(record["validation_loss"]))
    figure = new_figure(10, 4, title)
    loss_axes, accuracy_axes = figure.subplots(1, 2)
    marker = "o" if len(history) < 10 else ""
    curves = (
        (loss_axes, "train_loss", "train", _TRAIN),
        (loss_axes, "validation_loss", "validation", _VALIDATION),
        (accuracy_axes, "train_accuracy", "train", _TRAIN),
        (accuracy_axes, "validation_accuracy", "validation", _VALIDATION),
        (accuracy_axes, "validation_top5_accuracy", "validation, top 5", _TOP5),
    )
    for axes, name, label, colour in curves:
        values = [record.get(name) for record in history]
        if None in values:  # not measured
            continue
        axes.plot(epochs, values, color=colour, label=label, marker=marker, markersize=4)
    ring = {"marker": "o", "markersize": 9, "fillstyle": "none", "linestyle": "none"}
    loss_axes.plot(
        best["epoch"],
        best["validation_loss"],
        color=_VALIDATION,
        label=f"best: epoch {best['epoch']}, {best['validation_loss']:.3f}",
        **ring,
    )
    accuracy_axes.plot(
        best["epoch"],
        best["validation_accuracy"],
        color=_VALIDATION,
        label=f"best: {best['validation_accuracy']:.1%}",
        **ring,
    )
    cuts = [
        now["epoch"] - 0.5
        for before, now in itertools.pairwise(history)
        if now["learning_rate"] < before["learning_rate"]
    ]
    for axes in (loss_axes, accuracy_axes):
        for number, cut in enumerate(cuts):
            label = "learning rate cut" if number == 0 else "_"  # named once
            axes.axvline(cut, color=_FAINT, linewidth=0.8, linestyle=":", label=label, zorder=0)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(axis="y", color="#E5E5E5", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=9)
        if len(history) == 1:
            axes.set_xlim(0, 2)
    loss_axes.set_ylabel("cross-entropy (nats)")
    accuracy_axes.set_ylabel("accuracy")
    accuracy_axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    accuracy_axes.set_ylim(bottom=0)
    return figure


def _or_infinity(loss: float) -> float:
    return loss if loss == loss else float("inf")
