"""Trains on 1, 2 and 4 virtual CPU devices, without dropout and with; prints JSON.

It is a process of its own because the number of devices is fixed when JAX starts.
"""

import json
import sys
from types import SimpleNamespace
from typing import cast

import jax
import numpy as np

from mlpvis_jax.data.resident import ResidentSet
from mlpvis_jax.data.sources import Source
from mlpvis_jax.learning import augment, metrics
from mlpvis_jax.learning.metrics import no_sums
from mlpvis_jax.learning.state import EpochTotals
from mlpvis_jax.running.placement import DataParallel
from mlpvis_jax.running.programs import Programs
from mlpvis_jax.running.task import Task
from mlpvis_jax.settings.config import RunConfig


def run(config: RunConfig, number: int) -> dict:
    """Three epochs of 22 examples in batches of 7, then an evaluation in batches of 7."""
    placement = DataParallel(tuple(jax.devices()[:number]))
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (22, 8, 8, 3), np.uint8)
    examples = ResidentSet.of(images, random.integers(0, 5, 22, np.int32))
    source = SimpleNamespace(num_classes=5, image_shape=(8, 8, 3))
    normalization = augment.channel_statistics(images)
    task = Task(cast(Source, source), examples, examples, examples, normalization, {})
    programs = Programs([config], task, placement)
    plan = programs.plan
    state = placement.place([plan.initial_state(config)])
    numbers = placement.place([plan.numbers(config)])
    programs.compile(state)
    losses, counts = [], []
    for epoch in (1, 2, 3):
        nothing = no_sums(plan.learner.metrics, plan.learner.num_classes)
        totals = placement.place([EpochTotals.zero(nothing)])
        dispatches = programs.training.run_epoch(
            1, state, totals, numbers, epoch, range(programs.steps_per_epoch),
            programs.steps_per_dispatch,
        )  # fmt: skip
        for state, totals, _, _ in dispatches:  # noqa: B007
            pass
        sums = placement.fetch(totals)[0].sums
        losses.append(metrics.means_of(plan.learner.metrics, sums)["loss"])
        counts.append(int(sums["count"]))
    copies = [
        [np.asarray(shard.data).ravel().tolist() for shard in leaf.addressable_shards]
        for leaf in jax.tree.leaves(state.params)
    ]
    (evaluated,) = programs.validate(1, state.params)
    return {
        "losses": losses,
        "images": counts,
        "evaluation": evaluated,
        "params": [
            np.asarray(leaf).ravel().tolist()
            for leaf in jax.tree.leaves(placement.fetch(state.params)[0])
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
