"""launch.py, with a signal that comes at a definite moment, within an epoch.

Usage: resume_script.py LOOKS ARGUMENT...; the loop finds a signal after it has looked LOOKS times.
"""

import signal
import sys

import launch
from mlpvis_jax.running import loop


class StopAfter:
    """Stands in for Interruption."""

    def __init__(self, looks: int) -> None:
        self.looks = looks

    def __enter__(self) -> "StopAfter":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    @property
    def received(self) -> int | None:
        self.looks -= 1
        return signal.SIGTERM if self.looks < 0 else None


if __name__ == "__main__":
    loop.Interruption = lambda: StopAfter(int(sys.argv[1]))
    sys.exit(launch.main(["launch.py", *sys.argv[2:]]))
