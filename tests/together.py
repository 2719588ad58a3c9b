"""Processes that train one run together, on this machine."""

import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]


def start(
    arguments: Sequence[str], number: int, environment: Mapping[str, str]
) -> list[subprocess.Popen]:
    """Starts that many processes of launch.py, which meet at a free port; one needs no port."""
    with socket.create_server(("localhost", 0)) as free:
        place = f"localhost:{free.getsockname()[1]}"
    flags = [
        [f"--coordinator={place}", f"--processes={number}", f"--process={index}"]
        for index in range(number)
    ]
    return [
        subprocess.Popen(
            [sys.executable, "launch.py", *arguments, *(own if number > 1 else [])],
            cwd=ROOT,
            env=dict(environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for own in flags
    ]
