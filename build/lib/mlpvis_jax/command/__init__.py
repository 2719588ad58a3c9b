"""The command line, `mlpvis` and launch.py: flags to settings to the function of a mode."""

from mlpvis_jax.command.program import main, run_as_program

__all__ = ["main", "run_as_program"]
