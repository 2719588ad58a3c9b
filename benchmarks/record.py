"""The JSON file of a benchmark: its results, and all it takes to repeat them."""

import argparse
import datetime
import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from mlpvis_jax.files.atomic import replacing

RESULTS = Path(__file__).parent / "results"
_PACKAGES = (
    *("mlpvis_jax", "jax", "jaxlib", "flax", "optax", "numpy"),
    *("keras", "tensorflow", "tensorflow-cpu", "torch"),
    *("libtpu", "jax-cuda13-plugin", "nvidia-cuda-nvcc", "nvidia-cudnn-cu13"),
)


def write(
    benchmark: str,
    arguments: Sequence[str],
    settings: argparse.Namespace,
    device: str,
    data: str,
    results: Any,
) -> Path:
    """Writes what was measured and how.

    Args:
      benchmark: its module's name, such as "throughput".
      arguments: of the command line.
      settings: the same, parsed; `out` names the file, or None for a new one in results/.
      device: that JAX ran on.
      data: what the images were.
      results: what was measured.

    Returns:
      The file.
    """
    now = datetime.datetime.now(datetime.UTC)
    path = Path(settings.out or new_path(benchmark))
    record = {
        "benchmark": benchmark,
        "date": now.isoformat(timespec="seconds"),
        "command": shlex.join(["python", "-m", f"benchmarks.{benchmark}", *arguments]),
        "git_revision": git_revision(),
        "hardware": {**hardware(), "device": device},
        "versions": versions(),
        "data": data,
        "settings": {key: value for key, value in vars(settings).items() if key != "out"},
        "results": results,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:  # a benchmark that writes again and again may be stopped
        partial.write_text(json.dumps(record, indent=1) + "\n")
    return path


def new_path(benchmark: str) -> Path:
    """Names a new file in results/, by the time."""
    now = datetime.datetime.now(datetime.UTC)
    return RESULTS / f"{benchmark}-{now:%Y%m%d-%H%M%S}.json"


def hardware() -> dict[str, Any]:
    """Describes the processor's model, and the cores that this process may use."""
    may_use = getattr(os, "sched_getaffinity", None)
    cores = len(may_use(0)) if may_use else os.cpu_count()
    return {"cpu": _cpu_model(), "cores": cores}


def _cpu_model() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Lists the versions of Python and of the installed packages that decide what is computed."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def git_revision() -> str | None:
    """Names the commit, with "-dirty" where files were changed; None outside of a repository."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def say(message: str) -> None:
    """Tells what is under way, apart from the results."""
    print(message, file=sys.stderr, flush=True)
