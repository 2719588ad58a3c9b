"""Kills runs at random moments, and compares what they end with to an undisturbed run.

    python -m tests.soak [--kills 100] [--seed 0]

Every kill is SIGKILL or SIGTERM after a random time, from before the first step to after the last;
checkpoints are written every three steps, so that many fall into a write. A killed run is started
again with the same command until it is finished; then its weights, its metrics and its results
must be those of the undisturbed run, to the last bit. Prints kills, resumes and mismatches.
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

from tests import tiny

ROOT = Path(__file__).parents[1]
MODELS = ("mixer", "fnet", "gmlp")


def settings(source: Path, model: str = "mixer") -> list[str]:
    """Arguments of a run on 8 x 8 images whose steps take milliseconds."""
    return tiny.settings(
        source,
        model,
        steps_per_dispatch=2,
        **{"checkpoint.every_steps": 3, "early_stopping.patience": 1_000_000},
    )


def soak(folder: Path, kills: int, seed: int, models: tuple[str, ...] = MODELS) -> int:
    """Kills until `kills` are reached, prints a table, and returns the number of mismatches."""
    source = _make_images(folder)
    environment = {"JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"), **os.environ}
    draw = random.Random(seed)
    count = {"kills": 0, "SIGKILL": 0, "SIGTERM": 0, "while it wrote": 0, "resumes": 0}
    count |= {"finished runs": 0, "mismatches": 0}

    def start(name: str, model: str) -> subprocess.Popen:
        command = [sys.executable, "launch.py", f"--workdir={folder / name}"]
        command += [*settings(source, model), "--config.duration=10"]
        return subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def run(name: str, model: str) -> None:
        process = start(name, model)
        _, err = process.communicate()
        if process.returncode:
            raise RuntimeError(err.decode())

    undisturbed, seconds = {}, 0.0
    while count["kills"] < kills:
        model = models[count["finished runs"] % len(models)]
        if model not in undisturbed:
            run(f"{model}-compiles", model)
            begin = time.monotonic()
            run(f"{model}-undisturbed", model)
            seconds = time.monotonic() - begin
            undisturbed[model] = outcome(folder / f"{model}-undisturbed")
        name = f"{model}-{count['finished runs']}"
        done = False
        while not done and count["kills"] < kills:
            process = start(name, model)
            try:
                _, err = process.communicate(timeout=draw.uniform(0, seconds))
                done = True
            except subprocess.TimeoutExpired:
                number = draw.choice([signal.SIGKILL, signal.SIGTERM])
                writing = any((folder / name).glob("checkpoints/*tmp*"))
                process.send_signal(number)
                _, err = process.communicate()
                # It may have finished before the signal came.
                done = process.returncode == 0
                count["kills"] += not done
                count[number.name] += not done
                count["while it wrote"] += not done and writing
            if process.returncode not in (0, 143, -signal.SIGKILL, -signal.SIGTERM):
                raise RuntimeError(f"exit status {process.returncode}: {err.decode()}")
            count["resumes"] += not done
        if not done:
            run(name, model)
        count["finished runs"] += 1
        count["mismatches"] += outcome(folder / name) != undisturbed[model]
    for key, value in count.items():
        print(f"{key:<16}{value}")
    return count["mismatches"]


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
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        sys.exit(bool(soak(Path(temporary), arguments.kills, arguments.seed)))
