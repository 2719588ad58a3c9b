"""Trains or evaluates a classifier, or sweeps over its settings: the command `mlpvis`, in a file.

python launch.py --config=configs/mixer.py
python launch.py --config=configs/mixer.py:digits --config.optimizer.learning_rate=0.003
python launch.py --workdir=runs/mixer --mode=evaluate
python launch.py --config=configs/mixer.py --sweep=configs/sweeps/lr_wd.py --workdir=runs/lr_wd
python launch.py --help
"""

from mlpvis_jax.command import main, run_as_program

__all__ = ["main"]

if __name__ == "__main__":
    run_as_program()
