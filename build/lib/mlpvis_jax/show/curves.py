"""The learning curves of a run, as a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlpvis_jax.show.drawing import new_figure, save_picture

Record = Mapping[str, Any]

# From the Okabe-Ito palette, which people of all kinds of colour vision tell apart; their dashes
# tell them apart in grey print.
_TRAIN, _VALIDATION, _TOP5, _AVERAGED = "#0072B2", "#D55E00", "#E69F00", "#000000"
_RATE = "#555555"


def plot_curves(history: Sequence[Record], path: Path, title: str, subtitle: str = "") -> None:
    """Draws loss and accuracy by epoch, side by side, as a PNG of 1500 x 720 pixels.

    The best epoch (lowest validation loss) is ringed. Below is the learning rate of each epoch's
    last step, on a logarithmic axis where it changes by a factor of ten or more. A picture that
    cannot be drawn costs a line of warning: see `drawing.save_picture`.

    Args:
      history: the records of the run's epochs.
      path: of the picture.
      title: such as "mixer_keras on cifar100".
      subtitle: such as "run first, seed 0, test accuracy 47.70%".
    """
    save_picture(path, _curves, history, title, subtitle)


def _curves(history: Sequence[Record], title: str, subtitle: str) -> Any:
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    figure = new_figure(10, 4.8, title, subtitle)
    layout = [["loss", "accuracy"], ["rate", "accuracy"]]
    panels = figure.subplot_mosaic(layout, height_ratios=(5, 1))
    loss_axes, accuracy_axes = panels["loss"], panels["accuracy"]
    loss_axes.sharex(panels["rate"])
    loss_axes.tick_params(axis="x", labelbottom=False)
    for axes, name in ((loss_axes, "loss"), (accuracy_axes, "accuracy")):
        _draw(axes, history, f"train_{name}", label="train", color=_TRAIN, linestyle="--")
        _draw(axes, history, f"validation_{name}", label="validation", color=_VALIDATION)
        _draw(
            axes, history, f"averaged_{name}", label="validation, averaged weights",
            color=_AVERAGED, linestyle="-.", linewidth=1.0,
        )  # fmt: skip
    _draw(
        accuracy_axes, history, "validation_top5_accuracy", label="validation, top 5",
        color=_TOP5, linestyle=":",
    )  # fmt: skip
    best = min(history, key=lambda record: _or_infinity(record["validation_loss"]))
    loss, accuracy = best["validation_loss"], best["validation_accuracy"]
    _ring(loss_axes, best["epoch"], loss, f"best: epoch {best['epoch']}, {loss:.3f}")
    _ring(accuracy_axes, best["epoch"], accuracy, f"best: {accuracy:.1%}")
    _draw_rate(panels["rate"], history)
    for axes in (loss_axes, accuracy_axes):
        axes.legend(frameon=False, fontsize=8.5, loc="best")
    for axes in panels.values():
        axes.grid(axis="y", color="#E5E5E5", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(x=0.02)
        if len(history) == 1:
            axes.set_xlim(0, 2)
    for axes in (panels["rate"], accuracy_axes):
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    loss_axes.set_ylabel("cross-entropy (nats)")
    accuracy_axes.set_ylabel("accuracy")
    accuracy_axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    accuracy_axes.set_ylim(bottom=0)
    return figure


def _draw(axes: Any, history: Sequence[Record], name: str, **style: Any) -> None:
    values = [record.get(name) for record in history]
    if None in values:  # not measured
        return
    marker = "o" if len(history) < 10 else ""
    epochs = [record["epoch"] for record in history]
    axes.plot(epochs, values, marker=marker, markersize=4, **style)


def _ring(axes: Any, epoch: int, value: float, label: str) -> None:
    axes.plot(
        epoch, value, color=_VALIDATION, label=label, marker="o", markersize=9, fillstyle="none",
        linestyle="none",
    )  # fmt: skip


def _draw_rate(axes: Any, history: Sequence[Record]) -> None:
    from matplotlib.ticker import MaxNLocator

    rates = [record["learning_rate"] for record in history]
    epochs = [record["epoch"] for record in history]
    marker = "o" if len(history) == 1 else ""
    axes.step(epochs, rates, where="mid", color=_RATE, linewidth=1.2, marker=marker, markersize=4)
    if min(rates) > 0 and max(rates) >= 10 * min(rates):
        axes.set_yscale("log")
    else:
        axes.set_ylim(0, 1.15 * max(rates) or 1.0)
        axes.yaxis.set_major_locator(MaxNLocator(2))
    axes.set_ylabel("learning\nrate", fontsize=8)
    axes.tick_params(axis="y", labelsize=7)


def _or_infinity(loss: float) -> float:
    return loss if loss == loss else float("inf")
