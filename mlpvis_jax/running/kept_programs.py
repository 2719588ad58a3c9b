"""Compiled programs that are kept between processes, by JAX's cache."""

import hashlib
import os
import sys
from pathlib import Path

import jax
from jax.experimental.compilation_cache import compilation_cache

from mlpvis_jax.running.processes import exchange


def keep_compiled_programs() -> None:
    """Makes JAX find the programs that earlier processes compiled, and keep those of this one.

    They are in JAX_COMPILATION_CACHE_DIR, or else in mlpvis_jax/compiled under XDG_CACHE_HOME or
    ~/.cache. A folder that cannot be written costs a line on standard error and nothing else; a
    user without a home, as in some containers, has none.
    """
    if jax.config.jax_compilation_cache_dir is None:  # type: ignore[attr-defined]
        _choose_folder()


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


def keep_programs_in(run: Path) -> None:
    """Makes the processes of a run that compile for GPUs keep their programs in the run's folder.

    All of them share the search for the fastest kernels, and wait for the results of all others,
    for up to a day: so for those, too, that have found the program and do not compile. In a folder
    that other runs write as well, a program may come between the looks of two processes.

    Args:
      run: the folder, which all of them see.
    """
    folder = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    is_alone = not jax.distributed.is_initialized() or jax.process_count() == 1
    if folder is None or is_alone or jax.default_backend() != "gpu":
        return
    compiled = run / "compiled"
    jax.config.update("jax_compilation_cache_dir", str(compiled))
    compilation_cache.reset_cache()  # JAX may have opened the other
    # A network file system may show a program to some of them later.
    names = sorted(os.listdir(compiled)) if compiled.is_dir() else []
    if len(set(exchange(hashlib.sha256(repr(names).encode()).hexdigest()))) > 1:
        jax.config.update("jax_enable_compilation_cache", False)
