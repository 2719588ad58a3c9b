"""The processes of one run: how they meet, what they agree on, and how they end together.

Each process has devices of its own, its share of every batch, and the same loop over the same
numbers; so all come to the same decisions, but for those that follow a clock, a signal or a broken
machine. These they exchange here, through the service by which JAX's processes find each other.
Process 0 alone writes and prints. Of a run of one process nothing here computes anything.
"""

import contextlib
import itertools
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax

from mlpvis_jax.errors import DivergenceError, InputError, InterruptedRunError, RunError, one_line
from mlpvis_jax.running import native_output
from mlpvis_jax.running.cluster import Cluster
from mlpvis_jax.show.output import print_while_somebody_reads

_SECONDS_TO_MEET = 300
# What is likely to be told by the death of another is told so much later than that is known.
_SECONDS_OF_DOUBT = 10
_SECONDS_TO_END = 5  # by itself, once another one has failed
_SECONDS_TO_HEAR = 3 * _SECONDS_TO_END  # of it, and to part
_SECONDS_FOR_A_DISK = 90  # to show one machine what another has written: NFS may take a minute
_FOREVER = 7 * 24 * 3600 * 1000  # milliseconds; a death ends every wait before
_FAILED = "mlpvis_jax/failed"
_HEARD = "mlpvis_jax/heard"

_program = "mlpvis"
_patience = 0  # seconds without a sign after which a process is taken for dead
_exchanges = itertools.count()
_ending = threading.Lock()  # taken by who ends the process, and never given back


def is_first() -> bool:
    """Tells whether this is process 0, which writes and prints."""
    return jax.process_index() == 0


def join(cluster: Cluster, program: str) -> None:
    """Meets the other processes of a run; to be called before JAX looks for devices.

    Args:
      cluster: where they are.
      program: what messages begin with.

    Raises:
      InputError: they cannot be found.
    """
    global _program, _patience
    _program, _patience = program, cluster.patience
    native_output.divert()
    print_while_somebody_reads()
    others = "others" if cluster.number is None else f"{cluster.number - 1:,} others"
    place = "" if cluster.coordinator is None else f" at {cluster.coordinator}"
    native_output.tell(
        f"{program}: This process has not met the {others} of its run{place}; it has waited for "
        f"{_SECONDS_TO_MEET} seconds. Each needs the same --coordinator and --processes, and a "
        "--process of its own."
    )
    # Its handler of SIGTERM would take the place of the run's own.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(
            cluster.coordinator,
            cluster.number,
            cluster.index,
            cluster.local_devices,
            None if cluster.number is None else "deactivate",
            initialization_timeout=_SECONDS_TO_MEET,
            heartbeat_timeout_seconds=_patience,
        )
    except Exception as error:  # of the library's many kinds
        if cluster.may_be_one and isinstance(error, ValueError):
            return
        alone = "; --processes=1 makes a run of this one alone" if cluster.may_be_one else ""
        raise InputError(
            f"The processes of the run cannot meet{place} ({one_line(error)}); "
            f"--coordinator=HOST:PORT names a free port on the machine of process 0{alone}."
        ) from error
    _refuse_other_flags(cluster)
    native_output.tell(
        f"{program}: Of the {jax.process_count()} processes of the run {{who}} has died, or its "
        "machine has, and so the run ends. The checkpoints are whole: to go on, give the same "
        "command, with the --workdir of the run, to all of them again.",
        is_only_for_first=not is_first(),
    )
    if not is_first():
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    _watcher.start()


def _refuse_other_flags(cluster: Cluster) -> None:
    """Raises InputError where process 0 was told another number of processes, or to wait longer."""
    from jax._src.distributed import global_state

    index, key = global_state.process_id, "mlpvis_jax/told"
    told = {"--processes": cluster.number, "MLPVIS_PATIENCE": cluster.patience}
    if index == 0:
        _client().key_value_set(key, json.dumps(told))
    for name, number in json.loads(_client().blocking_key_value_get(key, _FOREVER)).items():
        if number != told[name]:
            raise InputError(
                f"{name}={told[name]} of process {index} must be what process 0 has: {number}."
            )


def _client() -> Any:
    # The public functions of JAX exchange arrays, through the devices, and wait for those.
    from jax._src.distributed import global_state

    return global_state.client


def exchange(text: str) -> list[str]:
    """Gives each process what each has to say; all have to call it, in the same order."""
    if jax.process_count() == 1:
        return [text]
    client, number, own = _client(), next(_exchanges), f"{jax.process_index():06}"
    folder = f"mlpvis_jax/exchange/{number}/"
    client.key_value_set(f"{folder}{own}", text)
    client.wait_at_barrier(folder, _FOREVER)
    if number:  # all are here, so all have read what was said before
        client.key_value_delete(f"mlpvis_jax/exchange/{number - 1}/{own}")
    return [value for _, value in sorted(client.key_value_dir_get(folder))]


def largest(*values: int) -> list[int]:
    """Gives the largest of each value over all processes; all have to call it."""
    said = [json.loads(text) for text in exchange(json.dumps([int(one) for one in values]))]
    return [max(column) for column in zip(*said, strict=True)]


def wait_for_all() -> None:
    """Waits until every process has come here, for those that would else run out of patience."""
    exchange("")


@contextlib.contextmanager
def in_turn() -> Iterator[None]:
    """Lets process 0 do what is inside, and then all others: what it writes, they find."""
    if not is_first():
        wait_for_all()
    yield
    if is_first():
        wait_for_all()


def refuse_different(find: Callable[[], Mapping[str, Any]]) -> None:
    """Raises InputError, on all processes, where a fact is another on one of them.

    Args:
      find: finds the facts, by name.
    """
    if jax.process_count() == 1:
        return
    texts = exchange(json.dumps(find(), default=str))
    first, *others = (json.loads(text) for text in texts)
    for number, other in enumerate(others, 1):
        for name in {**first, **other}:
            if first.get(name) != other.get(name):
                raise InputError(
                    f"The processes of a run must have the same {name}: it is "
                    f"{_short(first.get(name))} in process 0, and {_short(other.get(name))} in "
                    f"process {number}. If each is to be a run of its own, give --processes=1."
                )


def refuse_unseen(read: Callable[[], str], message: str) -> None:
    """Raises InputError, on all processes, where one of them does not see what the first does.

    Args:
      read: reads it, from a disk that may be late.
      message: says what it is that all have to see.
    """
    if jax.process_count() == 1:
        return
    (expected, *_), end = exchange(read()), time.monotonic() + _SECONDS_FOR_A_DISK
    while (is_seen := read() == expected) is False and time.monotonic() < end:
        time.sleep(0.2)
    blind = [index for index, text in enumerate(exchange(str(is_seen))) if text == "False"]
    if blind:
        raise InputError(f"{message}: process {blind[0]} does not see what process 0 has written.")


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


@contextlib.contextmanager
def telling() -> Iterator[None]:
    """Tells the others what ends this process, before anything that waits for them is closed."""
    try:
        yield
    except Exception as error:
        if jax.process_count() > 1:
            threading.Thread(target=_publish, args=(error,), daemon=True).start()
        raise


def end(program: str, error: Exception | None = None, message: str = "", status: int = 0) -> int:
    """Ends the processes of a run together; returns the exit status of one that has succeeded.

    Args:
      program: what messages begin with.
      error: that ends this one; it does not return then, and process 0 prints the message.
      message: about the error.
      status: of the process.
    """
    if not jax.distributed.is_initialized():  # it has not met the others
        if error is not None:
            print(f"{program}: {message}", file=sys.stderr)
        return status
    if error is None:
        try:
            _client().wait_at_barrier("mlpvis_jax/end", _FOREVER)
        except Exception as of_a_death:  # JAX is about to abort this one, with the message for it
            error, message, status = of_a_death, one_line(of_a_death), 1
        else:
            native_output.tell("")
            if is_first():
                _client().key_value_set(_FAILED, "null")
            _watcher.join()  # in native code it would not outlive the interpreter in peace
            jax.distributed.shutdown()
            return status
    _publish(error, message, status)
    _leave(message, status)
    return status


def _publish(error: Exception, message: str = "", status: int = 1) -> None:
    """Tells the others that this process has failed; the first that does is believed.

    A death shows in the others as all kinds of errors. So what may come of one is told later than
    the death itself is noticed.
    """
    is_own = isinstance(error, InputError | DivergenceError | InterruptedRunError)
    if jax.process_count() > 1 and not is_own:
        time.sleep(_patience + _SECONDS_OF_DOUBT)
    if isinstance(error, RunError):
        message, status = message or str(error), error.exit_status
    said = {"process": jax.process_index(), "message": message or one_line(error), "status": status}
    with contextlib.suppress(Exception):  # another one was first, or process 0 is dead
        _client().key_value_set(_FAILED, json.dumps(said))


def _watch() -> None:
    """Ends this process soon after any has failed, whatever this one is waiting for."""
    while True:
        try:
            said = json.loads(_client().blocking_key_value_get(_FAILED, _FOREVER))
            break
        except Exception as error:
            if "DEADLINE_EXCEEDED" not in str(error):  # one has died: JAX ends this one then
                return
    if said is None:  # nothing has failed, and all is done
        return
    time.sleep(_SECONDS_TO_END)
    of = f"process {said['process']} of {jax.process_count()}"
    is_own = said["process"] == jax.process_index()
    _leave(said["message"] if is_own else f"{of}: {said['message']}", said["status"])


def _leave(message: str, status: int) -> None:
    """Ends this process together with the others; process 0 prints the message."""
    _ending.acquire()
    native_output.tell("")
    client = _client()
    try:
        if is_first():
            _print(message)
            client.key_value_set(_HEARD, "")
        else:
            client.blocking_key_value_get(_HEARD, 1000 * _SECONDS_TO_HEAR)
    except Exception:  # the first one has died, or cannot say it
        if not is_first():
            _print(message)
    # All part before any ends, for JAX takes one that is gone for dead, and aborts the others.
    parting = threading.Thread(target=client.shutdown, daemon=True)
    parting.start()
    parting.join(_SECONDS_TO_HEAR)
    sys.stdout.flush()
    os._exit(status)


def _print(message: str) -> None:
    print(f"{_program}: {message}", file=sys.stderr, flush=True)


_watcher = threading.Thread(target=_watch, daemon=True)
