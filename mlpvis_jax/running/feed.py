"""What gives a step its next batch: the interface, and the feed of a set that fits on the devices.

A feed's order is a function of the seed and the epoch, and its place is the epoch and the steps of
it that are taken; so a run that saves these two numbers goes on with the very next batch.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from mlpvis_jax.data.resident import Batch, ResidentSet, rows_in_order, shuffle
from mlpvis_jax.learning.state import Stream, random_key
from mlpvis_jax.running.placement import Layout, Placement
from mlpvis_jax.settings.config import RunConfig


class Chunk(NamedTuple):
    """Some steps' data, on the devices.

    Attributes:
      data: what `Feed.batch` reads; each run has its own.
      first: of the chunk's steps, the first one to take.
      number: steps to take.
    """

    data: Any
    first: int
    number: int


class Feed(Protocol):
    """Gives the batches of an epoch, each example once, in chunks of several steps.

    Attributes:
      num_examples: examples of an epoch.
      steps_per_epoch: batches of an epoch; the last one may be padded.
      resident: what lies on the devices as long as the feed lives, for all runs; may be ().
      layout: of a chunk's data: whether each run has its own.
    """

    num_examples: int
    steps_per_epoch: int
    resident: Any
    layout: Layout

    def example_chunk(self) -> Chunk:
        """Makes any chunk, to compile programs for."""

    def chunks(
        self, num_runs: int, seeds: Any, epoch: int, first_step: int, most: int
    ) -> Iterator[Chunk]:
        """Gives the chunks of an epoch from a step on.

        Args:
          num_runs: runs in use.
          seeds: uint32 of each run, on the devices; they decide the order.
          epoch: from 1.
          first_step: of the epoch, from 0.
          most: steps of a chunk, at most.
        """

    def batch(self, resident: Any, data: Any, index: jax.Array) -> Batch:
        """Gives the batch of a step of a chunk; a pure function of what one device sees."""


def order_of_epoch(
    rows: jax.Array, seed: jax.Array, epoch: jax.Array, number: int, repeats: int
) -> jax.Array:
    """Orders the rows of an epoch; every feed has this order. See `data.resident.shuffle`."""
    return shuffle(rows, random_key(seed, Stream.ORDER, epoch), number, repeats)


class ResidentFeed:
    """Shuffled epochs of a set that lies on every device; see `Feed`."""

    layout = Layout.PER_RUN

    def __init__(
        self,
        placement: Placement,
        examples: ResidentSet,
        config: RunConfig,
        num_microbatches: int,
        seeds: Any,
    ) -> None:
        examples.refuse_larger_batch(config.batch_size)
        self.num_examples = len(examples)
        rows = rows_in_order(
            len(examples), config.batch_size, placement.num_shards, num_microbatches
        )
        self.steps_per_epoch = len(rows)
        self.resident = placement.share(examples)
        self._rows = placement.shard(rows)
        self._seeds = seeds
        self._capacity = placement.capacity

        def order(rows: jax.Array, seed: jax.Array, epoch: jax.Array) -> jax.Array:
            return order_of_epoch(rows, seed, epoch, self.num_examples, config.repeats)

        layouts = (Layout.SHARED, Layout.PER_RUN, Layout.SCALAR)
        self._order = placement.compile(order, layouts, (self._rows, seeds, np.int32(0)))

    def example_chunk(self) -> Chunk:
        return Chunk(self._order(self._capacity, self._rows, self._seeds, np.int32(0)), 0, 0)

    def chunks(
        self, num_runs: int, seeds: Any, epoch: int, first_step: int, most: int
    ) -> Iterator[Chunk]:
        rows = self._order(num_runs, self._rows, seeds, np.int32(epoch))
        for first in range(first_step, self.steps_per_epoch, most):
            yield Chunk(rows, first, min(most, self.steps_per_epoch - first))

    @staticmethod
    def batch(resident: ResidentSet, data: jax.Array, index: jax.Array) -> Batch:
        return resident.batch(data[index])


class EvaluationFeed:
    """A set in its own order, as one chunk that all runs share; stands beside `ResidentFeed`."""

    def __init__(self, placement: Placement, examples: ResidentSet, batch_size: int) -> None:
        rows = rows_in_order(len(examples), batch_size, placement.num_shards)
        self.resident = placement.share(examples)
        self._chunk = Chunk(placement.shard(rows), 0, len(rows))

    def example_chunk(self) -> Chunk:
        return self._chunk

    def chunks(self) -> Iterator[Chunk]:
        yield self._chunk

    @staticmethod
    def batch(resident: ResidentSet, data: jax.Array, index: jax.Array) -> Batch:
        return resident.batch(data[index])
