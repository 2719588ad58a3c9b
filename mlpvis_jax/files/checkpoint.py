"""All of a run's state on disk, through Orbax: written beside, committed whole, proved when read.

Orbax writes in the background and makes a checkpoint visible only when it is complete. What it
does not notice is content that changed afterwards; so a checkpoint carries a digest of itself.
"""

import contextlib
import copy
import hashlib
import json
import math
import os
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

import jax
import numpy as np
import orbax.checkpoint as ocp

from mlpvis_jax.errors import InputError, StorageError, first_line
from mlpvis_jax.files import orbax_messages
from mlpvis_jax.files.atomic import sync
from mlpvis_jax.files.place import describe_free_space

FORMAT_VERSION = 2  # 2: a group of runs, the identity of their data, a digest of the values
_KEPT = 2  # the newest, and one more in case it gets damaged


class Snapshot(NamedTuple):
    """What is saved: a nested dict of NumPy arrays, and JSON values about them."""

    arrays: Any
    values: dict[str, Any]


class Checkpoints:
    """The checkpoints of one run, in a folder of their own; a context manager.

    Of the processes of a run the first writes what all have, and each reads it by itself.

    Args:
      folder: made if need be; may be relative.
      every_minutes, every_steps: when the next one is due after the last; None: never.
      advice: what to do where none can be used.

    Attributes:
      folder: an absolute path.
      last_step: of the checkpoint that was written or read last; 0 if none was.
    """

    def __init__(
        self,
        folder: Path,
        every_minutes: float | None = None,
        every_steps: int | None = None,
        advice: str = "Begin anew in another folder.",
    ) -> None:
        orbax_messages.withhold()
        self.folder = folder.absolute()  # Orbax takes no relative paths
        self._writes = jax.process_index() == 0
        self._manager = _manager(self.folder, self._writes)
        self._advice = advice
        self._bytes = 0  # of the newest snapshot
        self._every_seconds = math.inf if every_minutes is None else 60 * every_minutes
        self._every_steps = math.inf if every_steps is None else every_steps
        self._last_time = time.monotonic()
        self.last_step = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self.wait()
        finally:
            with contextlib.suppress(Exception):  # what went wrong is known by now
                self._manager.close()

    def is_due(self, step: int) -> bool:
        """Tells whether enough steps, or enough time, have gone by since the last checkpoint."""
        return (
            step - self.last_step >= self._every_steps
            or time.monotonic() - self._last_time >= self._every_seconds
        )

    def save(self, step: int, snapshot: Snapshot) -> None:
        """Begins to write; waits for the one before, if that is not finished yet.

        Raises:
          StorageError: this or the one before cannot be written.
        """
        self._last_time, self.last_step = time.monotonic(), step
        if not self._writes:
            return
        self._bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(snapshot.arrays))
        # Copied: it is written in the background, while a run's history grows.
        values = copy.deepcopy({"format_version": FORMAT_VERSION, **snapshot.values})
        digest = _digest(snapshot.arrays, values)
        values |= {"values_digest": _digest({}, values), "digest": digest}
        arguments = ocp.args.Composite(
            arrays=ocp.args.StandardSave(snapshot.arrays), values=ocp.args.JsonSave(values)
        )
        try:
            self._manager.save(step, args=arguments, force=True)
        except Exception as error:  # Orbax and TensorStore raise many kinds
            raise self._storage_error(error) from error

    def wait(self) -> None:
        """Returns when all is on disk.

        Raises:
          StorageError: it cannot be written.
        """
        try:
            self._manager.wait_until_finished()
        except Exception as error:
            raise self._storage_error(error) from error

    def has(self, step: int) -> bool:
        """Tells whether a checkpoint of the step is on disk."""
        return (self.folder / str(step)).exists()

    def newest(self, like: Any) -> Snapshot | None:
        """Reads the newest checkpoint that is whole; None if there is none at all.

        A damaged one is reported on standard error and put aside as `STEP.damaged`.

        Args:
          like: nested dict of arrays or ShapeDtypeStructs; what is read has these shapes. Or a
            function that gives it for the checkpoint's values, or refuses them by an InputError.

        Raises:
          InputError: there are checkpoints, but not one that can be used.
        """
        damaged: dict[int, str] = {}
        for step in sorted(self._steps_on_disk(), reverse=True):
            try:
                snapshot = self._read(step, like)
            except InputError:
                raise
            except Exception as error:  # whatever damage makes the readers raise
                damaged[step] = first_line(error)
                continue
            for other, reason in damaged.items() if self._writes else ():
                self._put_aside(other, reason)
            self._manager.reload()
            self.last_step = step
            return snapshot
        if damaged:
            reasons = "; ".join(f"that of step {step}: {why}" for step, why in damaged.items())
            raise InputError(
                f"No checkpoint in {self.folder} can be used ({reasons}). {self._advice}"
            )
        return None

    def _read(self, step: int, like: Any) -> Snapshot:
        folder = self.folder / str(step)
        if not (folder / "values").is_dir() or not (folder / "arrays").is_dir():
            raise ValueError("files are missing")
        values = self._manager.restore(step, args=ocp.args.Composite(values=ocp.args.JsonRestore()))
        values = dict(values["values"])
        digest, version = values.pop("digest", None), values.get("format_version")
        values_digest = values.pop("values_digest", None)
        if version != FORMAT_VERSION:
            raise ValueError(f"its format is version {version}, and {FORMAT_VERSION} is needed")
        if _digest({}, values) != values_digest:  # `like` may judge by them
            raise ValueError("its values are not what was written")
        like = like(values) if callable(like) else like
        # Shapes are compared before memory is taken.
        found = self._manager.item_metadata(step)["arrays"]
        described = jax.tree.map(lambda leaf: (tuple(leaf.shape), np.dtype(leaf.dtype)), found.tree)
        wanted = jax.tree.map(lambda leaf: (tuple(leaf.shape), np.dtype(leaf.dtype)), like)
        if described != wanted:
            raise ValueError("its arrays are not those of this run")
        shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), like)
        arguments = ocp.args.Composite(arrays=ocp.args.StandardRestore(shapes))
        arrays = self._manager.restore(step, args=arguments)["arrays"]
        arrays = jax.tree.map(np.asarray, arrays)
        if _digest(arrays, values) != digest:
            raise ValueError("its content is not what was written")
        del values["format_version"]
        return Snapshot(arrays, values)

    def _steps_on_disk(self) -> list[int]:
        return [int(path.name) for path in self.folder.iterdir() if path.name.isdecimal()]

    def _put_aside(self, step: int, reason: str) -> None:
        damaged = self.folder / f"{step}.damaged"
        if damaged.exists():
            shutil.rmtree(damaged)
        os.replace(self.folder / str(step), damaged)
        sync(self.folder)
        print(
            f"The checkpoint of step {step} cannot be used ({reason}); it is now {damaged}.",
            file=sys.stderr,
        )

    def _storage_error(self, error: Exception) -> StorageError:
        before = " The one before it is whole." if self._steps_on_disk() else ""
        return StorageError(
            f"The checkpoint, {self._bytes / 1e6:,.1f} MB, cannot be written to {self.folder}, "
            f"where {describe_free_space(self.folder)} "
            f"({first_line(error)}).{before}"
        )


def _manager(folder: Path, writes: bool) -> ocp.CheckpointManager:
    """Makes Orbax's manager of a folder.

    Of several processes each has one that waits for none of the others: what they save is the same
    in all of them. Where all take part and one fails to write, Orbax's barriers hold the others for
    ten minutes.
    """
    of_process = _of_process()
    folder.mkdir(parents=True, exist_ok=True)
    return ocp.CheckpointManager(
        folder,
        options=ocp.CheckpointManagerOptions(
            max_to_keep=_KEPT,
            cleanup_tmp_directories=writes,
            create=False,
            multiprocessing_options=of_process,
        ),
        item_handlers={
            "arrays": ocp.StandardCheckpointHandler(multiprocessing_options=of_process),
            "values": ocp.JsonCheckpointHandler(multiprocessing_options=of_process),
        },
    )


def _of_process() -> ocp.options.MultiprocessingOptions:
    """Has Orbax read and write as if this process were the only one."""
    if jax.process_count() == 1:
        return ocp.options.MultiprocessingOptions()
    own = jax.process_index()
    return ocp.options.MultiprocessingOptions(own, {own}, f"process-{own}")


def read_values(folder: Path, step: int) -> dict[str, Any]:
    """Reads the values of one checkpoint alone, which only together with its arrays can be proved.

    Args:
      folder: of the checkpoints.
      step: of one of them.

    Raises:
      InputError: they cannot be read.
    """
    of_process = _of_process()
    try:
        handler = ocp.JsonCheckpointHandler(multiprocessing_options=of_process)
        reader = ocp.Checkpointer(handler, multiprocessing_options=of_process)
        return dict(reader.restore(folder.absolute() / str(step) / "values"))
    except Exception as error:  # whatever damage makes the reader raise
        raise InputError(f"{folder / str(step)} cannot be read ({first_line(error)}).") from error


def _digest(arrays: Any, values: Mapping[str, Any]) -> str:
    digest = hashlib.blake2b(json.dumps(values, sort_keys=True).encode(), digest_size=16)
    for path, leaf in jax.tree.leaves_with_path(arrays):
        digest.update(f"{jax.tree_util.keystr(path)} {leaf.dtype} {leaf.shape}".encode())
        digest.update(leaf.tobytes())
    return digest.hexdigest()
