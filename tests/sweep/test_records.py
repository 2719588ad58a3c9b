"""Damaged files of a sweep: one message names the file, and to do what it says is enough."""

import json
import shutil

import pytest

from mlpvis_jax.sweep.folder import SweepFolder
from tests import soak

RATE = "optimizer.learning_rate"
DEEP = '{"a":' * 100_000 + "1" + "}" * 100_000


def record(epoch, **changes):
    measured = {"validation_loss": 0.5, "validation_accuracy": 0.5, **changes}
    return json.dumps({"epoch": epoch, **measured})


@pytest.fixture(scope="module")
def settings(tiny_npz):
    rates = [0.01, 0.02, 0.03]
    return [
        *soak.settings(tiny_npz),
        *("--config.duration=2", f"--sweep.{RATE}={rates}", "--sweep.trials_per_program=2"),
    ]


@pytest.fixture(scope="module")
def finished(launch_main, settings, tmp_path_factory):
    path = tmp_path_factory.mktemp("sweeps") / "finished"
    assert launch_main(*settings, f"--workdir={path}") == 0
    return path


@pytest.fixture
def sweep(finished, tmp_path):
    """A copy of a finished sweep of three trials, in a group of two and another of one."""
    return shutil.copytree(finished, tmp_path / "sweep")


def losses(path):
    folder = SweepFolder(path)
    return [[one["validation_loss"] for one in folder.read_history(n)] for n in range(3)]


DAMAGES = {
    **{
        f"{file}: {what}": (file, content)
        for file in ("trials/0001/trial.json", "groups/0001/group.json")
        for what, content in {
            **{"empty": "", "half": '{"trial": 1, "trials": [', "deep": DEEP, "a list": "[]"},
            **{"no keys": "{}", "bytes": b"\xff\xfe\x00"},
            "wrong types": '{"state": 3, "epochs": "2", "values": [], "trials": {"trial": 2}}',
        }.items()
    },
    "a state": ("trials/0001/trial.json", '{"state": "odd", "epochs": 2, "values": {}}'),
    "a loss": (
        "trials/0001/trial.json",
        '{"state": "finished", "epochs": 2, "values": {}, "validation_loss": "low"}',
    ),
    "another key": (
        "groups/0001/group.json",
        '{"trials": [{"trial": 2, "point": 2, "values": {"batch_size": 8, "seed": 0}}]}',
    ),
    "no epochs": ("trials/0001/metrics.jsonl", ""),
    "an epoch less": ("trials/0001/metrics.jsonl", record(1) + "\n"),
    "half an epoch": ("trials/0001/metrics.jsonl", record(1) + "\n" + record(2)[:-4]),
    "an epoch twice": ("trials/0001/metrics.jsonl", 2 * (record(1) + "\n")),
    "a deep line": ("trials/0001/metrics.jsonl", record(1) + "\n" + DEEP + "\n"),
    "no object": ("trials/0001/metrics.jsonl", record(1) + "\n3\n"),
    "no number": ("trials/0001/metrics.jsonl", record(1, validation_loss="low") + "\n"),
    "null": ("trials/0001/metrics.jsonl", record(1, validation_accuracy=None) + "\n"),
    "bytes in a line": ("trials/0001/metrics.jsonl", b"\xff\xfe\n\x00\n"),
    "a folder": ("trials/0001/metrics.jsonl", None),
}


@pytest.mark.slow
@pytest.mark.parametrize(("file", "content"), DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_file_is_named_with_what_to_do(launch_main, sweep, capsys, file, content):
    (sweep / file).unlink()
    if content is None:
        (sweep / file).mkdir()
    else:
        (sweep / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    assert launch_main(f"--workdir={sweep}") == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and len(err) < 1000
    assert f"{sweep / file} is damaged (" in err
    assert f"remove the folder {(sweep / file).parent} and give the same command again" in err


@pytest.mark.slow
@pytest.mark.parametrize("removed", ["trials/0001", "groups/0000", "groups/0001"])
def test_what_was_removed_is_trained_anew(launch_main, finished, sweep, capsys, removed):
    kept = {path: path.stat().st_mtime_ns for path in sweep.glob("trials/*/trial.json")}
    shutil.rmtree(sweep / removed)
    assert launch_main(f"--workdir={sweep}") == 0
    assert "Ranked by" in capsys.readouterr().out
    assert losses(sweep) == losses(finished)
    for path, when in kept.items():  # what has ended is not trained again
        assert removed in str(path) or path.stat().st_mtime_ns == when


@pytest.mark.parametrize(
    "content",
    [
        *("", "{}", "[]", DEEP, '{"config": 3, "sweep": 3}', '{"sweep": {"seed": [1]}}'),
        *(None, 3, "x", [], [1], {"": [1]}, {RATE: 3}, {RATE: {"a": 1}}, {RATE: [[1]]}),
        *({RATE: [1], "num_trials": "x"}, {RATE: [1], "strategy": ["grid"]}),
    ],
)
def test_a_damaged_definition_is_named(launch_main, sweep, capsys, content):
    file = sweep / "sweep.json"
    if not isinstance(content, str) or content == "x":
        content = json.dumps(json.loads(file.read_text()) | {"sweep": content})
    file.write_text(content)
    assert launch_main(f"--workdir={sweep}") == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and len(err) < 1500
    assert f"{file} holds no sweep (" in err and "Put back a copy" in err


@pytest.mark.slow
def test_a_trial_that_goes_on_needs_no_whole_history(launch_main, settings, sweep):
    """Its checkpoint has it, from which the file is written anew."""
    wanted = losses(sweep)
    shutil.rmtree(sweep / "trials/0002/checkpoints")
    (sweep / "trials/0002/trial.json").unlink()
    (sweep / "trials/0002/metrics.jsonl").write_bytes(b"\xff" + DEEP.encode() + b"\n")
    assert SweepFolder(sweep).read_history(2) == []
    assert launch_main(f"--workdir={sweep}") == 0
    assert losses(sweep) == wanted


def test_epochs_that_a_run_has_added_are_not_the_sweeps(sweep):
    with (sweep / "trials/0001/metrics.jsonl").open("a") as file:
        file.write(record(3) + "\n" + '{"epoch": 4')
    assert len(SweepFolder(sweep).read_history(1)) == 2
