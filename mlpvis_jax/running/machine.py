"""What a process tells JAX about the machine, before JAX looks for devices."""

import contextlib
import os
import sys
from pathlib import Path

import jax

from mlpvis_jax.errors import InputError, first_line

# Every device has its own copy of the images.
_MAX_CPU_DEVICES = 8


def keep_compiled_programs() -> None:
    """Makes JAX find the programs that earlier processes compiled, and keep those of this one.

    They are in JAX_COMPILATION_CACHE_DIR, or else in mlpvis_jax/compiled under XDG_CACHE_HOME or
    ~/.cache. A folder that cannot be written costs a line on standard error and nothing else; a
    user without a home, as in some containers, has none.
    """
    if jax.config.jax_compilation_cache_dir is None:  # type: ignore[attr-defined]
        home = os.path.expanduser(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
        if home.startswith("~"):
            return
        folder = Path(home) / "mlpvis_jax" / "compiled"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = error.strerror or error
            print(f"{folder} cannot be written ({reason}): programs are not kept.", file=sys.stderr)
            return
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def use_each_core(max_devices: int) -> None:
    """Exposes each CPU core, of at most eight, as a JAX device, so that one trial trains per core.

    A trial on each of two cores is done sooner than one after another on both of them, and the
    numbers are the same: see benchmarks/README.md. Without effect once JAX has looked for devices,
    or where it was told their number (JAX_NUM_CPU_DEVICES, or a flag of XLA_FLAGS).

    Args:
      max_devices: devices that there is work for.
    """
    told = jax.config.jax_num_cpu_devices >= 0  # type: ignore[attr-defined]
    if told or "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", ""):
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    with contextlib.suppress(RuntimeError):  # JAX has looked for devices
        jax.config.update("jax_num_cpu_devices", max(1, min(max_devices, cores, _MAX_CPU_DEVICES)))


def local_devices() -> tuple[jax.Device, ...]:
    """Finds all devices of this process.

    Raises:
      InputError: JAX finds none, or is told to compute in 64 bits or without compiling.
    """
    if jax.config.jax_enable_x64:  # type: ignore[attr-defined]
        raise InputError(
            "JAX_ENABLE_X64 is set, and training is in 32 bits: unset it, or set it to 0."
        )
    if jax.config.jax_disable_jit:  # type: ignore[attr-defined]
        raise InputError(
            "JAX_DISABLE_JIT is set, and training is compiled: unset it, or set it to 0."
        )
    try:
        return tuple(jax.local_devices())
    except (RuntimeError, AssertionError) as error:  # the second without a plugin for a GPU
        reason = first_line(error) if str(error) else "there is no such device"
        raise InputError(
            f"JAX finds no device with JAX_PLATFORMS={jax.config.jax_platforms!r} "  # type: ignore[attr-defined]
            f"({reason}); unset it, or install JAX for that kind of device."
        ) from error
