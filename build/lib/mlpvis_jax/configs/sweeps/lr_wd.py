"""Learning rate by weight decay: a grid of sixteen, after five epochs only the better half.

python launch.py --config=configs/mixer.py --sweep=configs/sweeps/lr_wd.py --workdir=runs/lr_wd
"""


def get_sweep() -> dict:
    return {
        "optimizer.learning_rate": [0.001, 0.002, 0.005, 0.01],
        "optimizer.weight_decay": [0.0, 1e-4, 1e-2, 1e-1],
        "strategy": "grid",
        "cull_epochs": [5],
    }
