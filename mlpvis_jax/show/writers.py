"""Who writes a run's epochs down besides metrics.jsonl: event files, curves, Weights & Biases.

A row of WRITERS makes a writer of a run that has begun; a run's config lists those it wants, and
may name one of the user's own as MODULE:NAME.
"""

from collections.abc import Callable, Mapping, Sequence

from mlpvis_jax.settings.choice import find
from mlpvis_jax.show.curves import plot_curves
from mlpvis_jax.show.event_files import EventFiles
from mlpvis_jax.show.weights_and_biases import WeightsAndBiases
from mlpvis_jax.show.writer import Record, RunDescription, Writer, WritesMore, tell

__all__ = ["WRITERS", "RunDescription", "Writer", "WritesMore", "chosen", "tell"]


class Curves:
    """The picture `curves.png`, drawn when the run ends; see `Writer`."""

    def __init__(self, run: RunDescription) -> None:
        self._run = run

    def write(self, record: Record) -> None:
        pass

    def finish(self, history: Sequence[Record], results: Record) -> None:
        run = self._run
        words = [f"run {run.folder.absolute().name}"]
        if "seed" in run.settings:
            words.append(f"seed {run.settings['seed']}")
        if results.get("test_accuracy") is not None:
            words.append(f"test accuracy {results['test_accuracy']:.2%}")
        plot_curves(history, run.folder / "curves.png", run.title, ", ".join(words))

    def close(self) -> None:
        pass


WRITERS: Mapping[str, Callable[[RunDescription], Writer]] = {
    "tensorboard": EventFiles,
    "curves": Curves,
    "wandb": WeightsAndBiases,
}


def names_in(text: str) -> list[str]:
    """Splits the names of writers as a config has them, by spaces or commas."""
    return text.replace(",", " ").split()


def chosen(names: str) -> list[Callable[[RunDescription], Writer]]:
    """Finds the writers of a config, such as "tensorboard curves"; "" for none.

    Raises:
      InputError: no such writer, or a package that it needs is not installed.
    """
    found = [find(WRITERS, name, "config.writers") for name in names_in(names)]
    for writer in found:
        getattr(writer, "check", lambda: None)()  # of those that need another package
    return found
