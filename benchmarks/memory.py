"""How much memory a process or a program needs, in bytes."""

import resource
import sys
from pathlib import Path
from typing import Any


def host_peak_bytes() -> int:
    """Gives the most resident memory that this process has had, bytes.

    On Linux the kernel's VmHWM. getrusage's ru_maxrss would count the parent's memory at the time
    it started this process, too; elsewhere it is what there is.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def device_peak_bytes() -> int | None:
    """Gives the most memory that JAX has had on its first device; None where it is silent (CPU)."""
    import jax

    statistics = jax.local_devices()[0].memory_stats()
    return statistics.get("peak_bytes_in_use") if statistics else None


def program_bytes(compiled: Any) -> int:
    """Counts what a compiled program holds while it runs: arguments, results and temporaries.

    An argument that is donated shares its memory with a result and is counted once.
    """
    statistics = compiled.memory_analysis()
    return (
        statistics.argument_size_in_bytes
        + statistics.output_size_in_bytes
        + statistics.temp_size_in_bytes
        - statistics.alias_size_in_bytes
    )
