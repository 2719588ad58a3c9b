"""Kills runs at random moments, and compares what they end with to an undisturbed run.

    python -m tests.soak [--kills 100] [--seed 0] [--processes 1]

Every kill is SIGKILL or SIGTERM after a random time, from before the first step to after the last;
checkpoints are written every four steps, so that many fall into a write. A killed run is started
again with the same command until it is finished; then its weights, its metrics and its results
must be those of the undisturbed run, to the last bit. Prints kills, resumes and mismatches. Of
several processes that train a run together one is killed once they have met, and the others have to
end by themselves.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from tests import tiny, together

MODELS = ("mixer", "fnet", "gmlp")


def settings(source: Path, model: str = "mixer") -> list[str]:
    """Arguments of a run on 8 x 8 images whose steps take milliseconds."""
    return tiny.settings(
        source,
        model,
        steps_per_dispatch=2,
        **{"checkpoint.every_steps": 3, "early_stopping.patience": 1_000_000},
    )


class Soak:
    """Kills runs, and counts.

    Args:
      folder: for their files.
      seed: of the times, the signals and who gets them.
      processes: that train a run together, one of which is killed.
    """

    def __init__(self, folder: Path, seed: int, processes: int = 1) -> None:
        self._folder = folder
        self._source = _make_images(folder)
        self._draw = random.Random(seed)
        self._processes = processes
        names = ("kills", "SIGKILL", "SIGTERM", "while it wrote", "resumes", "finished runs")
        self.count: dict[str, float] = dict.fromkeys((*names, "mismatches", "slowest end, s"), 0)

    def start(self, name: str, model: str) -> list[subprocess.Popen]:
        # Not that of others, who would find the programs that a kill has cut short.
        environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(self._folder / "compiled")}
        arguments = [f"--workdir={self._folder / name}", *settings(self._source, model)]
        return together.start([*arguments, "--config.duration=10"], self._processes, environment)

    def run(self, name: str, model: str) -> float:
        """Trains a run to its end; returns the seconds that it took."""
        begin = time.monotonic()
        for process in self.start(name, model):
            _, error = process.communicate()
            if process.returncode:
                raise RuntimeError(error)
        return time.monotonic() - begin

    def kill(self, name: str, model: str, seconds: float) -> bool:
        """Starts a run and kills one of its processes; returns whether the run was done before."""
        group, count = self.start(name, model), self.count
        victim = self._draw.choice(group)
        wait = self._draw.uniform(0, seconds)
        number = self._draw.choice([signal.SIGKILL, signal.SIGTERM])
        if self._processes > 1:  # those that have not met wait for minutes
            lock = self._folder / name / "lock"
            while victim.poll() is None:  # a finished run takes no lock
                if lock.exists() and f"process {group[0].pid} " in lock.read_text():
                    break
                time.sleep(0.01)
        try:
            victim.wait(timeout=wait)
            was_killed = writing = False
        except subprocess.TimeoutExpired:
            was_killed, writing = True, any((self._folder / name).glob("checkpoints/*tmp*"))
            victim.send_signal(number)
        begin = time.monotonic()
        errors = [process.communicate()[1] for process in group]
        statuses = [process.returncode for process in group]
        # It may have finished before the signal came.
        done = not any(statuses)
        count["kills"] += was_killed and not done
        count[number.name] += was_killed and not done
        count["while it wrote"] += was_killed and not done and writing
        count["slowest end, s"] = max(count["slowest end, s"], round(time.monotonic() - begin, 1))
        ends = {0, 143, -signal.SIGKILL, -signal.SIGTERM}
        # The others are ended by JAX where one has died without a word.
        allowed = ends | ({-signal.SIGABRT} if victim.returncode in ends - {0, 143} else set())
        if not (was_killed or done) or not set(statuses) <= allowed:
            raise RuntimeError(f"exit statuses {statuses}: {errors}")
        if any(error.count("\n") > 2 for error in errors):  # "saving ...", and a message
            raise RuntimeError("\n".join(errors))
        return done


def soak(
    folder: Path, kills: int, seed: int, models: tuple[str, ...] = MODELS, processes: int = 1
) -> int:
    """Kills until `kills` are reached, prints a table, and returns the number of mismatches."""
    one, undisturbed, seconds = Soak(folder, seed, processes), {}, 0.0
    count = one.count
    while count["kills"] < kills:
        model = models[int(count["finished runs"]) % len(models)]
        if model not in undisturbed:
            one.run(f"{model}-compiles", model)
            seconds = one.run(f"{model}-undisturbed", model)
            undisturbed[model] = outcome(folder / f"{model}-undisturbed")
        name = f"{model}-{count['finished runs']}"
        done = False
        while not done and count["kills"] < kills:
            done = one.kill(name, model, seconds)
            count["resumes"] += not done
        if not done:
            one.run(name, model)
        count["finished runs"] += 1
        count["mismatches"] += outcome(folder / name) != undisturbed[model]
    for key, value in count.items():
        print(f"{key:<16}{value}")
    return int(count["mismatches"])


def outcome(folder: Path) -> dict:
    """What a run leaves behind, but for what the clock says."""
    results = json.loads((folder / "results.json").read_text())
    return {
        "history": tiny.history(folder),
        "results": tiny.without_clock(results),
        "best": (folder / "best.safetensors").read_bytes(),
        "last": (folder / "last.safetensors").read_bytes(),
    }


def _make_images(folder: Path) -> Path:
    """Noise of three classes."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (120, 8, 8, 3)).astype(np.uint8)
    labels = np.arange(120) % 3
    path = folder / "noise.npz"
    np.savez(
        path, x_train=images[:100], y_train=labels[:100], x_test=images[100:], y_test=labels[100:]
    )
    return path


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        there = Path(temporary)
        sys.exit(bool(soak(there, given.kills, given.seed, processes=given.processes)))
