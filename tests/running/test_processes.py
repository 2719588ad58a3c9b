"""One run over several processes, for real: they meet at a port of this machine."""

import dataclasses
import json
import os
import signal
import subprocess
import time
import types
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from mlpvis_jax.errors import InputError
from mlpvis_jax.files.recipe import recipe
from mlpvis_jax.running import processes, solo
from mlpvis_jax.running.choices import completed
from mlpvis_jax.running.cluster import Cluster, find_cluster
from mlpvis_jax.running.native_output import passed_on
from mlpvis_jax.running.placement import DataParallel
from mlpvis_jax.running.task import Task
from mlpvis_jax.settings.config import RunConfig
from mlpvis_jax.weights.initial import InitialWeights
from tests import soak, tiny, together

ROOT = Path(__file__).parents[2]
NO_FLAGS = {"coordinator": None, "processes": None, "process": None}
EPOCHS = 16  # so many that a signal after the second comes before the last


@pytest.fixture(scope="module")
def start(tiny_npz, compiled_quickly, started):
    """A function: starts that many processes of a run, each with so many devices."""

    def call(folder, number, *more, devices=1):
        environment = {**os.environ, **compiled_quickly, "JAX_PLATFORMS": "cpu"}
        environment["JAX_NUM_CPU_DEVICES"] = str(devices)
        # JAX warns of a program that another process is writing at that moment.
        environment["JAX_ENABLE_COMPILATION_CACHE"] = "false"
        arguments = [f"--workdir={folder}", *soak.settings(tiny_npz), *more]
        group = together.start(arguments, number, environment)
        started.extend(group)
        return group

    return call


def end(group):
    """The exit status of each process, and what each has printed to standard error."""
    errors = [process.communicate(timeout=600)[1] for process in group]
    return [process.returncode for process in group], errors


def wait_for_epochs(process, number):
    while number:
        line = process.stdout.readline()
        assert line, process.stderr.read()
        number -= line.startswith("epoch")


@pytest.fixture(scope="module")
def undisturbed(start, tmp_path_factory):
    """The folder of a run that two processes have trained, with a device each."""
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    statuses, errors = end(start(folder, 2, f"--config.duration={EPOCHS}"))
    assert statuses == [0, 0] and errors == ["", ""]
    return folder


@pytest.mark.first
@pytest.mark.slow
def test_two_processes_train_what_one_does(undisturbed, start, tmp_path):
    statuses, _ = end(start(tmp_path / "run", 1, f"--config.duration={EPOCHS}", devices=2))
    assert statuses == [0]
    alone, together = tiny.history(tmp_path / "run"), tiny.history(undisturbed)
    assert len(alone) == len(together) == EPOCHS
    for one, other in zip(alone, together, strict=True):
        assert one.keys() == other.keys()
        np.testing.assert_allclose(list(other.values()), list(one.values()), 1e-4)
    weights = load_file(tmp_path / "run/last.safetensors")
    for name, other in load_file(undisturbed / "last.safetensors").items():
        np.testing.assert_allclose(other, weights[name], 1e-3, 1e-4)
    # Each file is written once: the first process alone writes.
    names = {path.name for path in undisturbed.iterdir()}
    assert names == {path.name for path in (tmp_path / "run").iterdir()}


@pytest.mark.first
@pytest.mark.slow
def test_a_run_that_was_stopped_and_killed_ends_with_the_same_bits(undisturbed, start, tmp_path):
    folder, duration = tmp_path / "run", f"--config.duration={EPOCHS}"
    # A signal to the one that does not write saves in all.
    group = start(folder, 2, duration)
    wait_for_epochs(group[0], 1)
    group[1].send_signal(signal.SIGTERM)
    statuses, (of_first, of_other) = end(group)
    assert statuses == [128 + signal.SIGTERM] * 2
    assert of_other == "SIGTERM: saving ...\n"
    assert of_first.count("\n") == 1 and "SIGTERM: stopped after step" in of_first
    steps = [int(path.name) for path in (folder / "checkpoints").iterdir()]
    assert f"after step {max(steps)}, and saved" in of_first

    # The death of the first ends the other at once, with one message.
    group = start(folder, 2, duration)
    wait_for_epochs(group[0], 1)
    group[0].kill()
    begin = time.monotonic()
    statuses, errors = end(group)
    assert time.monotonic() - begin < 60
    assert statuses[0] == -signal.SIGKILL and statuses[1] not in (0, None)
    assert errors[1].count("\n") == 1 and "process 0 has died" in errors[1]

    # As a power cut leaves it; the first reads the settings in the checkpoint by itself.
    (folder / "config.json").write_bytes(b"")
    statuses, errors = end(start(folder, 2, duration))
    assert statuses == [0, 0] and errors == ["", ""]
    assert soak.outcome(folder) == soak.outcome(undisturbed)


@pytest.mark.first
@pytest.mark.slow
def test_four_processes_stream_what_one_holds(start, launch_main, tiny_npz, tmp_path):
    more = ["--config.duration=1", "--config.model.dropout_rate=0"]
    statuses, errors = end(start(tmp_path / "four", 4, *more, "--config.data.feed=stream"))
    assert statuses == [0] * 4 and errors == [""] * 4
    assert launch_main(f"--workdir={tmp_path / 'one'}", *soak.settings(tiny_npz), *more) == 0
    (one,), (four,) = tiny.history(tmp_path / "one"), tiny.history(tmp_path / "four")
    np.testing.assert_allclose(list(four.values()), list(one.values()), 1e-3)


@pytest.mark.first
@pytest.mark.slow
@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("--config.seed=3", "the same config.seed: it is 0 in process 0, and 3 in process 1"),
        ("--config.mix.mixup.alpha=0.4", "the same order of config.mix: it is [] in process 0"),
    ],
)
def test_settings_that_differ_are_refused_once(setting, message, start, started, tmp_path):
    one, other = start(tmp_path / "run", 2)
    other.kill()
    third = subprocess.Popen([*other.args, setting], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    started.append(third)
    statuses, errors = end([one, third])
    assert statuses == [2, 2]
    assert message in errors[0]
    assert errors[0].count("\n") == 1 and errors[1] == ""
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ([{"a": 1}, {"a": 1, "b": 2}], "the same b: it is null in process 0, and 2 in process 1"),
        ([{"a": 1, "b": 2}, {"a": 1}], "the same b: it is 2 in process 0, and null in process 1"),
        ([{"a": [1, 2]}, {"a": [1, 2]}, {"a": [2, 1]}], r"a: it is \[1, 2\] .* in process 2"),
    ],
)
def test_a_fact_that_one_process_lacks_is_another_fact(facts, message, monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: len(facts))
    monkeypatch.setattr(processes, "exchange", lambda text: [json.dumps(one) for one in facts])
    with pytest.raises(InputError, match=message):
        processes.refuse_different(lambda: facts[0])


def test_processes_must_have_the_same_initial_weights_and_the_same_order(tmp_path):
    values = recipe("mixer:digits")
    values["augment"] = {"random_crop": {"padding": 1.0}, **values["augment"]}
    config = completed(RunConfig.from_mapping(values))
    task, placement = Task.read(config, tmp_path), DataParallel.all()
    weights = [InitialWeights({}, digest, "") for digest in ("a", "b")]
    one, other = (solo._facts(config, placement, (task, initial)) for initial in weights)
    assert {name for name in one if one[name] != other[name]} == {"content of config.init_from"}
    reordered = dataclasses.replace(config, augment=dict(reversed(config.augment.items())))
    facts = [solo._facts(each, placement, None) for each in (config, reordered)]
    differing = {name for name in facts[0] if facts[0][name] != facts[1][name]}
    assert differing == {"order of config.augment"}


def test_a_process_watches_the_others_however_long_the_run_is(monkeypatch):
    answers = [RuntimeError("DEADLINE_EXCEEDED: timed out"), "null"]

    def wait(*_):
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    client = types.SimpleNamespace(blocking_key_value_get=wait)
    monkeypatch.setattr(processes, "_client", lambda: client)
    processes._watch()
    assert answers == []


def test_a_death_at_the_very_end_is_no_traceback(monkeypatch):
    """JAX aborts a process when another has died; until it does, a wait for that one fails."""

    class Client:
        def wait_at_barrier(self, *_):
            raise RuntimeError("UNAVAILABLE: Failed to send RPC\nSocket closed")

    told = []
    monkeypatch.setattr(processes.jax.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(processes, "_client", Client)
    monkeypatch.setattr(processes, "_publish", lambda *failure: told.append(failure[1:]))
    monkeypatch.setattr(processes, "_leave", lambda *failure: told.append(failure))
    assert processes.end("launch.py") == 1
    assert told == [("RuntimeError: UNAVAILABLE: Failed to send RPC Socket closed", 1)] * 2


def test_one_process_exchanges_with_itself():
    assert processes.exchange("words") == ["words"]
    assert processes.largest(3, False) == [3, 0]
    with processes.in_turn():
        pass


OPEN_MPI = {
    "OMPI_COMM_WORLD_SIZE": "4",
    "OMPI_COMM_WORLD_RANK": "2",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
}
SLURM = {
    "SLURM_JOB_ID": "7",
    "SLURM_STEP_NODELIST": "node[1-2]",
    "SLURM_NTASKS": "4",
    "SLURM_PROCID": "2",
    "SLURM_LOCALID": "0",
}


@pytest.mark.parametrize(
    ("environment", "flags", "expected"),
    [
        ({}, {}, None),
        ({}, {"coordinator": "a:1", "processes": "2", "process": "1"}, Cluster("a:1", 2, 1)),
        (
            {},
            {"coordinator": "[::1]:1", "processes": "2", "process": "0"},
            Cluster("[::1]:1", 2, 0),
        ),
        ({}, {"coordinator": "a:1", "processes": "1", "process": "0"}, None),
        (SLURM, {}, Cluster()),
        ({**SLURM, "MLPVIS_PATIENCE": "100"}, {}, Cluster(patience=100)),
        ({**SLURM, "MLPVIS_PATIENCE": "0"}, {}, "MLPVIS_PATIENCE=0 must be a whole number of sec"),
        ({"MLPVIS_PATIENCE": "100"}, {}, None),
        (SLURM, {"processes": "1"}, None),
        ({**SLURM, "SLURM_NTASKS": "1"}, {}, None),
        # A shell in an allocation, with no step of its own.
        ({key: value for key, value in SLURM.items() if "STEP" not in key}, {}, None),
        ({**OPEN_MPI, "OMPI_MCA_orte_hnp_uri": "1.0;tcp://a:1"}, {}, Cluster()),
        (OPEN_MPI, {"coordinator": "a:1"}, Cluster("a:1", 4, 2, [1])),
        ({**OPEN_MPI, "JAX_LOCAL_DEVICE_IDS": "0,1"}, {"coordinator": "a:1"}, Cluster("a:1", 4, 2)),
        ({"PMI_SIZE": "2", "PMI_RANK": "1"}, {"coordinator": "a:1"}, Cluster("a:1", 2, 1)),
        ({"PMI_SIZE": "1", "PMI_RANK": "0"}, {}, None),
        (OPEN_MPI, {}, "has started 4 processes"),
    ],
)
def test_processes_are_found(environment, flags, expected, monkeypatch):
    for name in (
        *SLURM,
        *OPEN_MPI,
        "PMI_SIZE",
        "PMI_RANK",
        "JAX_LOCAL_DEVICE_IDS",
        "MLPVIS_PATIENCE",
    ):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    if isinstance(expected, str):
        with pytest.raises(InputError, match=expected):
            find_cluster({**NO_FLAGS, **flags})
    else:
        assert find_cluster({**NO_FLAGS, **flags}) == expected


# As JAX 0.10 prints it, shortened.
DEATH = """\
E1126 21:33:55.994110   22721 coordination_service.cc:1549] [30] Use error polling to propagate \
the following error to all tasks: UNAVAILABLE: The following tasks are unhealthy (stopped sending \
heartbeats):
3
The tasks have crashed. Check the task logs for an earlier error, or scheduler events to debug.
F1126 21:33:55.996195   22732 client.h:80] Terminating process because the JAX distributed service \
detected fatal errors. absl::Status: UNAVAILABLE: The following tasks are unhealthy (stopped \
sending heartbeats):
3
The tasks have crashed. Check the task logs for an earlier error.

RPC: /xla.coordination.CoordinationService/PollForError
*** Check failure stack trace: ***
    @     0x7f8997e40634  absl::lts_20260107::log_internal::LogMessage::SendToLog()
"""
DEATH_OF_FIRST = """\
E1126 21:34:16.985429   22840 coordination_service_agent.cc:289] Polled an error from it.
F1126 21:34:16.985458   22840 client.h:80] Terminating process because the JAX distributed service \
detected fatal errors. absl::Status: UNAVAILABLE: Failed to send RPC to coordination service. \
Either the leader task was preempted/died/restarted unexpectedly
Additional GRPC error information from remote target coordination_service
*** Check failure stack trace: ***
"""


@pytest.mark.parametrize(
    ("told", "report", "expected"),
    [
        ("\0" + "0{who} died\n", DEATH, ["process 3 died\n"]),
        ("\0" + "0{who} died\n", DEATH_OF_FIRST, ["process 0 died\n"]),
        ("\0" + "1{who} died\n", DEATH, []),  # the first one says it
        ("\0" + "1{who} died\n", DEATH_OF_FIRST, ["process 0 died\n"]),
        ("", DEATH, []),
    ],
)
def test_reports_of_a_death_become_one_line(told, report, expected):
    lines = [
        "a warning\n",
        *([told] if told else []),
        "[Gloo] Rank 0 is connected to 1 peer ranks. Expected number of connected peer ranks: 1\n",
        "2026 words of a library\n",
        *report.splitlines(keepends=True),
    ]
    assert list(passed_on(lines)) == ["a warning\n", "2026 words of a library\n", *expected]
