"""Trains on 1, 2 and 4 virtual CPU devices, without dropout and with; prints JSON.

It is a process of its own because the number of devices is fixed when JAX starts.
"""

import json
import sys

import jax
import numpy as np

from mlpvis_jax.data.resident import ResidentSet
from mlpvis_jax.learning import augment, metrics
from mlpvis_jax.learning.state import EpochTotals
from mlpvis_jax.running.placement import Devices
from mlpvis_jax.running.programs import Evaluation, Training
from mlpvis_jax.running.setup import build_model, initial_hyperparameters, initial_state
from mlpvis_jax.settings.config import RunConfig


def run(config: RunConfig, number: int) -> dict:
    """Three epochs of 22 examples in batches of 7, then an evaluation in batches of 7."""
    devices = Devices(tuple(jax.devices()[:number]))
    random = np.random.default_rng(0)
    examples = ResidentSet(
        random.integers(0, 256, (22, 8, 8, 3), np.uint8), random.integers(0, 5, 22, np.int32)
    )
    model = build_model(config.model, 5)
    normalize = augment.measure(examples.images)
    told = initial_hyperparameters(config, model)
    state = devices.replicate(initial_state(config, model, 3))
    training = Training(config, model, normalize, devices, examples, state, told)
    losses, images = [], []
    for epoch in (1, 2, 3):
        totals = devices.replicate(EpochTotals.zero())
        *_, (state, totals, _) = training.run_epoch(state, totals, epoch, 0, told)
        sums = devices.first(totals).sums
        losses.append(metrics.means_of(sums)["loss"])
        images.append(int(sums["count"]))
    evaluation = Evaluation(config, model, normalize, devices, examples, state.params)
    copies = [
        [np.asarray(shard.data).ravel().tolist() for shard in leaf.addressable_shards]
        for leaf in jax.tree.leaves(state.params)
    ]
    return {
        "losses": losses,
        "images": images,
        "evaluation": metrics.means_of(devices.first(evaluation(state.params))),
        "params": [
            np.asarray(leaf).ravel().tolist()
            for leaf in jax.tree.leaves(devices.first(state.params))
        ],
        "copies_agree": all(copy == leaf[0] for leaf in copies for copy in leaf),
    }


if __name__ == "__main__":
    values = json.loads(sys.argv[1])
    results = {}
    for dropout_rate in (0.0, 0.3):
        values["model"]["dropout_rate"] = dropout_rate
        config = RunConfig.from_mapping(values)
        results[dropout_rate] = {number: run(config, number) for number in (1, 2, 4)}
    print(json.dumps(results))
