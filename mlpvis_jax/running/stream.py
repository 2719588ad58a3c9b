"""The feed of a set that does not fit: chunks of decoded images, while the devices compute.

The order is the resident feed's, and so is every bit of a batch: which feed a run has is a matter
of the machine. A chunk is shorter than a dispatch where images are large, and its memory is the
same for a set of any size.
"""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from mlpvis_jax.data import Source, reading
from mlpvis_jax.data.framing import frame_seeds
from mlpvis_jax.data.reading import Crops, ImageStream
from mlpvis_jax.data.resident import PADDING, Batch, rows_in_order
from mlpvis_jax.data.streamed import StreamedSet
from mlpvis_jax.running.feed import Chunk, EvaluationFeed, Feed, ResidentFeed, order_of_epoch
from mlpvis_jax.running.length import Length
from mlpvis_jax.running.placement import Layout, Placement
from mlpvis_jax.running.task import ImageSet, is_streamed
from mlpvis_jax.settings.config import RunConfig

_CHUNK_BYTES = 1 << 28  # of all devices of a process; three chunks are in memory at a time
# Orders that a stream is begun with: processes start once for so many epochs.
_ORDER_BYTES = 1 << 25


def refuse_workers_without_room(source: Source, config: RunConfig) -> None:
    """Raises InputError where processes that decode could not hand over what they have decoded."""
    workers = config.data.workers
    if workers and is_streamed(config, source):
        reading.refuse_workers_without_room(
            source.train, source.image_shape, config.batch_size, workers
        )


def training_feed(
    placement: Placement, examples: ImageSet, config: RunConfig, num_microbatches: int, seeds: Any
) -> Feed:
    """Makes the feed of a training set: resident or streamed, as the set is."""
    kind = StreamFeed if isinstance(examples, StreamedSet) else ResidentFeed
    return kind(placement, examples, config, num_microbatches, seeds)  # type: ignore[arg-type]


def evaluation_feed(
    placement: Placement, examples: ImageSet, batch_size: int, workers: int
) -> "EvaluationFeed | StreamedEvaluationFeed":
    """Makes the feed of a set that is measured: resident or streamed, as the set is."""
    if isinstance(examples, StreamedSet):
        return StreamedEvaluationFeed(placement, examples, batch_size, workers)
    return EvaluationFeed(placement, examples, batch_size)


class _Chunks:
    """Puts decoded images together to chunks on the devices.

    Args:
      placement: of the devices.
      examples: that the images are of.
      rows_of_shard: of a step.
      most_steps: of a chunk, whatever the size of its images.
      workers: processes that decode.
    """

    def __init__(
        self,
        placement: Placement,
        examples: StreamedSet,
        rows_of_shard: int,
        most_steps: int,
        workers: int,
    ) -> None:
        self._placement = placement
        self._examples = examples
        self._workers = workers
        own = placement.own_shards
        self._shards = own.stop - own.start
        image_bytes = int(np.prod(examples.image_shape))
        fit = _CHUNK_BYTES // (self._shards * rows_of_shard * image_bytes)
        self.steps = max(1, min(most_steps, fit))
        self._shape = (self._shards, self.steps, rows_of_shard)
        self._image_bytes = image_bytes

    def example(self) -> Chunk:
        """Makes any chunk, to compile programs for."""
        return self._chunk(np.full(self._shape, PADDING, np.int32), None)

    def begin(
        self, rows: np.ndarray, repeats: bool = False, crops: Crops | None = None
    ) -> ImageStream:
        """Begins to decode the images of some steps.

        Args:
          rows: int32 [steps, own shards, rows of a shard].
          repeats: whether the steps are wanted again and again.
          crops: parts of the images to be taken, whose seeds have the shape of `rows`.
        """
        flat, of = rows.reshape(-1, rows.shape[-1]), self._examples
        if crops is not None:
            crops = crops._replace(seeds=crops.seeds.reshape(flat.shape))
        return ImageStream(of.examples, flat, of.image_shape, self._workers, repeats, crops)

    def take(self, stream: ImageStream, rows: np.ndarray) -> Chunk:
        """Takes the next steps from a stream.

        Args:
          stream: as `begin` made it.
          rows: of these steps, int32 [steps, own shards, rows of a shard].
        """
        padded = np.full(self._shape, PADDING, np.int32)
        padded[:, : len(rows)] = rows.swapaxes(0, 1)
        return self._chunk(padded, stream, len(rows))

    def _chunk(self, rows: np.ndarray, stream: ImageStream | None, number: int = 0) -> Chunk:
        # Each chunk has memory of its own, for a CPU's device may use it as it is.
        images = np.empty((*self._shape, self._image_bytes), np.uint8)
        for step in range(number):
            for shard in range(self._shards):
                assert stream is not None
                stream.fill(images[shard, step])
        mask = rows != PADDING
        labels = self._examples.labels[np.where(mask, rows, 0)]
        batches = jax.tree.map(np.asarray, Batch(images, labels, mask))  # type: ignore[arg-type]
        return Chunk(self._placement.put_shards(batches), 0, number)


class StreamFeed:
    """Shuffled epochs of a set that is decoded on the way; see `Feed`.

    All runs of a group see the same batches, so they are to have the same seed.
    """

    layout = Layout.SHARED
    resident = ()

    def __init__(
        self,
        placement: Placement,
        examples: StreamedSet,
        config: RunConfig,
        num_microbatches: int,
        seeds: Any,
    ) -> None:
        examples.refuse_larger_batch(config.batch_size)
        self.num_examples = len(examples)
        self._image_shape = examples.image_shape
        self._rows = rows_in_order(
            len(examples), config.batch_size, placement.num_shards, num_microbatches
        )
        self.steps_per_epoch = len(self._rows)
        self._placement = placement
        self._num_epochs = Length.of(config, len(examples)).num_epochs
        self._chunks = _Chunks(
            placement,
            examples,
            self._rows.shape[-1],
            config.steps_per_dispatch,
            config.data.workers,
        )
        self._repeats = config.repeats
        self._smallest_crop = config.data.random_crop
        # What is decoded at the moment: the place of its next step, and its epochs' rows.
        self._stream: ImageStream | None = None
        self._place = (0, 0, 0)
        self._orders: dict[int, np.ndarray] = {}

    def example_chunk(self) -> Chunk:
        return self._chunks.example()

    def chunks(
        self, num_runs: int, seeds: Any, epoch: int, first_step: int, most: int
    ) -> Iterator[Chunk]:
        (seed, *others) = (int(one) for one in self._placement.fetch(seeds, num_runs))
        assert not set(others) - {seed}, "a stream has the order of one seed"
        most = min(most, self._chunks.steps)
        for first in range(first_step, self.steps_per_epoch, most):
            stream = self._stream_at(seed, epoch, first)
            rows = self._orders[epoch][first : first + most]
            chunk = self._chunks.take(stream, rows)
            after = first + len(rows)
            is_end = after == self.steps_per_epoch
            self._place = (seed, epoch + 1, 0) if is_end else (seed, epoch, after)
            yield chunk

    def _stream_at(self, seed: int, epoch: int, step: int) -> ImageStream:
        """Goes on with the stream of the step before; or begins one, for several epochs."""
        if self._stream is not None:
            if self._place == (seed, epoch, step) and epoch in self._orders:
                return self._stream
            self._stream.close()
        most = max(1, _ORDER_BYTES // self._rows.nbytes)
        epochs = range(epoch, min(epoch + most, max(epoch, self._num_epochs) + 1))
        orders, crops = {one: self._order(seed, one) for one in epochs}, None
        own = np.s_[:, self._placement.own_shards]
        self._orders = {one: order[own] for one, order in orders.items()}
        if self._smallest_crop is not None:
            seeds = [frame_seeds(order, seed, one)[own] for one, order in orders.items()]
            crops = Crops(np.concatenate(seeds)[step:], self._smallest_crop)
        rows = np.concatenate(list(self._orders.values()))[step:]
        self._stream, self._place = self._chunks.begin(rows, crops=crops), (seed, epoch, step)
        return self._stream

    def _order(self, seed: int, epoch: int) -> np.ndarray:
        """The rows of an epoch, int32 [steps, shards, rows of a shard]."""
        order = jax.jit(order_of_epoch, static_argnums=(3, 4))(
            self._rows, np.uint32(seed), np.int32(epoch), self.num_examples, self._repeats
        )
        return np.asarray(order)

    def batch(self, resident: Any, data: Batch, index: jax.Array) -> Batch:
        return _step_of(data, index, self._image_shape)


class StreamedEvaluationFeed:
    """A streamed set in its own order, in chunks that all runs share; see `EvaluationFeed`."""

    resident = ()

    def __init__(
        self, placement: Placement, examples: StreamedSet, batch_size: int, workers: int
    ) -> None:
        rows = rows_in_order(len(examples), batch_size, placement.num_shards)
        self._rows = rows[:, placement.own_shards]
        self._image_shape = examples.image_shape
        self._chunks = _Chunks(placement, examples, rows.shape[-1], len(rows), workers)
        self._stream: ImageStream | None = None

    def example_chunk(self) -> Chunk:
        return self._chunks.example()

    def chunks(self) -> Iterator[Chunk]:
        # One stream for all times that the set is measured: what comes next is decoded by then.
        stream, self._stream = self._stream, None
        stream = stream or self._chunks.begin(self._rows, repeats=True)
        most = self._chunks.steps
        for first in range(0, len(self._rows), most):
            yield self._chunks.take(stream, self._rows[first : first + most])
        self._stream = stream

    def batch(self, resident: Any, data: Batch, index: jax.Array) -> Batch:
        return _step_of(data, index, self._image_shape)


def _step_of(data: Batch, index: jax.Array, image_shape: tuple[int, int, int]) -> Batch:
    one = jax.tree.map(lambda leaf: leaf[index], data)
    return Batch(one.images.reshape(-1, *image_shape), one.labels, one.mask)
