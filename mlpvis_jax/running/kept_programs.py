"""Compiled programs that are kept between processes, by JAX's cache."""

import hashlib
import os
import sys
from pathlib import Path

import jax

from mlpvis_jax.running.processes import exchange


def keep_compiled_programs() -> None:
    """Makes JAX find the programs that earlier processes compiled, and keep those of this one.

    They are in JAX_COMPILATION_CACHE_DIR, or else in mlpvis_jax/compiled under XDG_CACHE_HOME or
    ~/.cache. A folder that cannot be written costs a line on standard error and nothing else; a
    user without a home, as in some containers, has none. To be called after `processes.join`.
    """
    if jax.config.jax_compilation_cache_dir is None:  # type: ignore[attr-defined]
        _choose_folder()
    if jax.distributed.is_initialized() and jax.process_count() > 1:
        _compile_unless_all_find_the_same()


def _choose_folder() -> None:
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


def _compile_unless_all_find_the_same() -> None:
    """Leaves kept programs alone where the processes of a run would not find the same ones.

    All processes that compile for GPUs share the search for the fastest kernels, and wait for the
    results of all others, for up to a day: so for those, too, that have found the program and do
    not compile. Process 0 alone keeps programs, so they differ where each machine has a home of
    its own.
    """
    if jax.default_backend() != "gpu":
        return
    folder = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    names = sorted(os.listdir(folder)) if folder and os.path.isdir(folder) else []
    if len(set(exchange(hashlib.sha256(repr(names).encode()).hexdigest()))) > 1:
        jax.config.update("jax_enable_compilation_cache", False)
