"""Seconds from `python launch.py` to its first finished step, with empty caches and with full ones.

Each start is a process of its own that runs launch.py's main and ends when the first step is
reported. All starts share one new home directory and one new folder of runs: the first one finds
neither decoded images nor compiled programs there, the others find what the first one left. The
operating system's cache of files is left as it is.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import images

_MARK = "First step finished at "


def measure(model: str, source: str, starts: int, changes: Sequence[str] = ()) -> list[float]:
    """Starts launch.py so often; the first start is the cold one.

    Args:
      model: a config's name, such as mixer.
      source: of the data, as config.data.source has it.
      starts: how many.
      changes: settings as KEY=VALUE.

    Returns:
      Seconds, one number for each start.
    """
    with tempfile.TemporaryDirectory() as folder:
        return [
            _start_once(model, source, changes, Path(folder), f"run-{number}")
            for number in range(starts)
        ]


def _start_once(model: str, source: str, changes: Sequence[str], folder: Path, run: str) -> float:
    environment = {
        **os.environ,
        "HOME": str(folder / "home"),
        "XDG_CACHE_HOME": str(folder / "home" / ".cache"),
    }
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    (folder / "home").mkdir(exist_ok=True)
    started = time.time()
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.first_step"),
            f"--config=configs/{model}.py",
            f"--workdir={folder / 'runs' / run}",
            f"--config.data.source={source}",
            f"--config.data.validation={images.VALIDATION}",
            # So that the first report comes after one step; it is a value in the same program.
            "--config.steps_per_dispatch=1",
            *(f"--config.{change}" for change in changes),
        ],
        env=environment,
        capture_output=True,
        text=True,
    )
    for line in done.stdout.splitlines():
        if line.startswith(_MARK):
            return float(line.removeprefix(_MARK)) - started
    raise RuntimeError(f"launch.py finished no step: {done.stdout[-1000:]}{done.stderr[-2000:]}")


def _launch_until_first_step(arguments: Sequence[str]) -> int:
    import launch
    from mlpvis_jax.show import terminal

    def end(self: terminal.Progress, images: int, *_: object) -> None:
        if not images:  # the first step has been begun, and is told of when it is done
            return
        print(f"\n{_MARK}{time.time()}", flush=True)
        os._exit(0)  # what is still running on the device is not waited for

    terminal.Progress.advance = end  # type: ignore[method-assign, assignment]
    return launch.main(["launch.py", *arguments])


if __name__ == "__main__":
    sys.exit(_launch_until_first_step(sys.argv[1:]))
