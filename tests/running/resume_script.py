"""launch.py, with a signal that comes at a definite moment, within an epoch.

Usage: resume_script.py LOOKS ARGUMENT...; the run finds a signal after it has looked LOOKS times.
"""

import signal
import sys

import launch
from mlpvis_jax.running import solo


class StopAfter:
    """Stands in for Interruption."""

    def __init__(self, looks: int) -> None:
        self.looks = looks
        self.received: int | None = None

    def __enter__(self) -> "StopAfter":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def agree(self, is_due: bool = False) -> bool:
        self.looks -= 1
        if self.looks < 0:
            self.received = signal.SIGTERM
        return self.received is not None or is_due


if __name__ == "__main__":
    solo.Interruption = lambda: StopAfter(int(sys.argv[1]))
    sys.exit(launch.main(["launch.py", *sys.argv[2:]]))
