"""Learning rate by weight decay by dropout: thirty-two random points, halved four times.

python launch.py --config=configs/mixer.py --sweep=configs/sweeps/lr_wd_dropout.py \
    --workdir=runs/mixer-sweep

and likewise fnet.py and gmlp.py. --sweep.strategy=tpe lets Optuna choose the points.
"""


def get_sweep() -> dict:
    return {
        "optimizer.learning_rate": "log_uniform(3e-4, 3e-2)",
        "optimizer.weight_decay": "log_uniform(1e-5, 1e-1)",  # multiplied by the learning rate
        "model.dropout_rate": "uniform(0.0, 0.5)",
        "strategy": "random",
        "num_trials": 32,
        "cull_epochs": [2, 5, 10, 20],
        "cull_factor": 2,
    }
