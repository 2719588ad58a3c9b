"""Workers on several machines share a sweep through a real PostgreSQL, which is started here."""

import contextlib
import getpass
import glob
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import pytest

from configs import mixer
from mlpvis_jax.errors import InputError, StorageError
from mlpvis_jax.sweep import database
from mlpvis_jax.sweep.database_url import DatabaseUrl
from mlpvis_jax.sweep.definition import Sweep
from mlpvis_jax.sweep.folder import SweepFolder
from tests import soak

optuna = pytest.importorskip("optuna")
pytest.importorskip("psycopg")

ROOT = Path(__file__).parents[2]
RATE = "optimizer.learning_rate"


def program(name):
    """PostgreSQL's, which Debian keeps out of PATH."""
    found = [shutil.which(name), *sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{name}"))]
    if not any(found):
        pytest.skip(f"there is no {name} here; Debian's package is postgresql")
    return [path for path in found if path][-1]


@pytest.fixture(scope="module")
def server():
    """The URL of a server, without the name of a database, whose user has the password "secret"."""
    initdb, postgres = program("initdb"), program("postgres")
    # It refuses to work as root, and whoever it works as must reach its folder.
    user = "nobody" if os.getuid() == 0 else getpass.getuser()
    folder = Path(tempfile.mkdtemp(prefix="postgres", dir="/tmp"))
    shutil.chown(folder, user)
    identity = {"user": pwd.getpwnam(user).pw_uid, "group": pwd.getpwnam(user).pw_gid}
    (folder / "password").write_text("secret")
    shutil.chown(folder / "password", user)
    if os.getuid() != 0:
        identity = {}
    subprocess.run(
        [
            *(initdb, "-D", folder / "data", "-U", "sweeper", "--auth=scram-sha-256", "--no-sync"),
            f"--pwfile={folder / 'password'}",
        ],
        check=True, capture_output=True, cwd="/", **identity,
    )  # fmt: skip
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [postgres, "-D", folder / "data", "-p", str(port), "-k", folder, "-F"],
        stderr=subprocess.DEVNULL, cwd="/", **identity,
    )  # fmt: skip
    url = f"postgresql://sweeper:secret@127.0.0.1:{port}"
    for _ in range(600):
        with contextlib.suppress(Exception):
            execute(f"{url}/postgres", "SELECT 1")
            break
        time.sleep(0.1)
    else:
        pytest.fail("PostgreSQL does not start")
    yield url
    process.send_signal(signal.SIGQUIT)  # at once: nothing of it is needed
    process.wait(timeout=30)
    shutil.rmtree(folder)


def execute(url, statement):
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement)


@pytest.fixture
def url(server, request):
    """That of an empty database."""
    name = f"test{abs(hash(request.node.name))}"
    execute(f"{server}/postgres", f"CREATE DATABASE {name}")
    return f"{server}/{name}"


@pytest.fixture
def worker(url, tmp_path):
    """A function: the store of a machine of that name, for a sweep of these dimensions."""
    from mlpvis_jax.sweep.database import DatabaseStore

    def start(machine, beat_seconds=30, **written):
        written = {RATE: [0.1 * number for number in range(1, 9)], "seed": "seeds(2)", **written}
        sweep = Sweep.read(mixer.get_config("digits").to_dict(), written)
        folder = SweepFolder(tmp_path / machine / "sweep")
        store = DatabaseStore(folder, sweep, DatabaseUrl.parse(url), beat_seconds)
        store.begin()
        folder.write(sweep, DatabaseUrl.parse(url).shown)
        return store

    return start


def history_of(trial):
    loss = abs(trial.values[RATE] - 0.3)
    names = ("train_loss", "train_accuracy", "validation_accuracy", "validation_top5_accuracy")
    rest = {**dict.fromkeys(names, 0.5), "learning_rate": 0.1, "seconds": 1.0}
    return [{"epoch": 1, "validation_loss": loss, **rest}]


def end(store, trials, state="finished"):
    """As if they had been trained."""
    for trial in trials:
        store.folder.run_folder(trial.number).path.mkdir(parents=True, exist_ok=True)
        store.epoch_done(trial, history_of(trial))
        store.trial_done(trial, {"state": state, "epochs": 1}, history_of(trial))


def numbers(trials):
    return [trial.number for trial in trials]


@pytest.mark.slow
def test_every_trial_goes_to_one_worker(worker):
    stores = [worker("a"), worker("b")]
    taken = [[], []]
    for turn in range(4):
        group, trials = stores[turn % 2].claim(lambda _: 4)
        taken[turn % 2] += numbers(trials)
        end(stores[turn % 2], trials)
        stores[turn % 2].done(group)
    assert sorted(taken[0] + taken[1]) == list(range(16))
    for store in stores:
        assert store.claim(lambda _: 4) is None
        rows = store.rows()
        assert [row["trial"] for row in rows] == list(range(16))
        assert {row["state"] for row in rows} == {"finished"}
        wanted = [abs(row["values"][RATE] - 0.3) for row in rows]
        assert [row["history"][0]["validation_loss"] for row in rows] == pytest.approx(wanted)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["grid", "tpe"])
def test_workers_that_ask_at_the_same_moment_share_without_overlap(worker, strategy):
    written = {"strategy": strategy}
    if strategy == "tpe":
        written |= {RATE: "uniform(0.1, 0.9)", "num_trials": 16}
    stores = [worker(name, **written) for name in ("a", "b", "c")]
    taken, start = [], threading.Barrier(3)

    def work(store):
        start.wait()
        while claimed := store.claim(lambda _: 2):
            taken.extend(numbers(claimed[1]))
            end(store, claimed[1])
            store.done(claimed[0])

    threads = [threading.Thread(target=work, args=[store]) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = stores[0].rows()
    assert len(taken) == len(set(taken)) == 16 and sorted(taken) == [row["trial"] for row in rows]
    assert len({row["values"][RATE] for row in rows}) == 8  # points of two seeds


@pytest.mark.slow
def test_a_dead_workers_trials_are_taken_up_again(worker):
    dead, living = worker("dead", beat_seconds=1), worker("living", beat_seconds=1)
    with living:  # says that it is alive; the other has never entered
        held, own = living.claim(lambda _: 4)
        _, lost = dead.claim(lambda _: 4)
        end(dead, lost[:2])
        assert numbers(own) == [0, 1, 2, 3] and numbers(lost) == [4, 5, 6, 7]
        time.sleep(6)
        found = []
        while claimed := living.claim(lambda _: 4):
            found += numbers(claimed[1])
            end(living, claimed[1])
            living.done(claimed[0])
        # What is under way is not handed out, what was done is not done again.
        assert sorted(found) == list(range(6, 16))
        end(living, own)
        living.done(held)
        assert {row["state"] for row in living.rows()} == {"finished"}
        # Should the dead one come back, it leaves to the other what is no longer its own.
        assert worker("dead", beat_seconds=1).claim(lambda _: 4) is None
        end(dead, lost)
        assert len(living.rows()) == 16


def test_a_worker_that_comes_back_in_time_goes_on_with_its_own(worker):
    before = worker("a")
    group, trials = before.claim(lambda _: 4)
    end(before, trials[:1])
    group.release()  # as the end of its process would
    again = worker("a")
    group, found = again.claim(lambda _: 4)
    assert numbers(found) == numbers(trials)
    assert again.folder.read_outcome(0) and not again.folder.read_outcome(1)
    end(again, found[1:])
    assert [row["state"] for row in again.rows()] == ["finished"] * 4


@pytest.mark.slow
def test_a_worker_that_comes_back_late_goes_on_with_what_nobody_has_taken(worker):
    group, trials = worker("a", beat_seconds=1).claim(lambda _: 4)
    group.release()
    time.sleep(6)  # longer than others would wait for it
    with worker("a", beat_seconds=1) as again:  # which says that it is alive
        group, found = again.claim(lambda _: 4)
        assert numbers(found) == numbers(trials) and group.path.name == "0000"
        _, others = worker("b", beat_seconds=1).claim(lambda _: 4)
        assert not set(numbers(others)) & set(numbers(found))


def test_a_group_of_which_a_point_has_ended_goes_on(worker):
    before = worker("a")
    group, trials = before.claim(lambda _: 4)
    end(before, trials[:2])  # both seeds of the first point
    group.release()
    again = worker("a")
    group, found = again.claim(lambda _: 4)
    assert numbers(found) == numbers(trials) and group.path.name == "0000"
    assert again._held.identity(trials[0].point) is None
    assert again._held.identity(trials[2].point) is not None


@pytest.mark.parametrize("ended", [2, 4])
def test_trials_of_which_only_the_database_knows_the_end_go_on(worker, ended):
    before = worker("a")
    group, trials = before.claim(lambda _: 4)
    end(before, trials[:ended])
    group.release()
    for trial in trials[:ended]:
        (before.folder.run_folder(trial.number).path / "trial.json").unlink()
    again = worker("a")
    group, found = again.claim(lambda _: 4)
    assert numbers(found) == numbers(trials) and group.path.name == "0000"
    end(again, found)
    assert [row["state"] for row in again.rows()] == ["finished"] * 4


def test_points_of_a_group_that_another_process_has_are_not_held(worker):
    first, second = worker("a"), worker("a")
    _, trials = first.claim(lambda _: 4)
    _, others = second.claim(lambda _: 4)
    assert numbers(others) == [4, 5, 6, 7]
    assert all(second._held.identity(trial.point) is None for trial in trials)
    assert all(second._held.identity(trial.point) is not None for trial in others)


def test_a_trial_of_a_worker_that_died_as_it_drew_is_given_up_after_a_while(worker, monkeypatch):
    store = worker("a", **{RATE: "uniform(0.1, 0.9)", "strategy": "random", "num_trials": 4})
    dead = store._study.ask(store._kinds)
    seconds = [1000.0]
    monkeypatch.setattr(database.time, "monotonic", lambda: seconds[0])
    store._fail_the_silent()
    state = store._study.get_trials(deepcopy=False)[dead.number].state
    assert state == optuna.trial.TrialState.RUNNING
    seconds[0] += 8 * store.beat_seconds + 1
    store._fail_the_silent()
    state = store._study.get_trials(deepcopy=False)[dead.number].state
    assert state == optuna.trial.TrialState.FAIL


def forget(store):
    """What becomes of the points of a worker that was silent for too long."""
    for one in store._living():
        if one.state == optuna.trial.TrialState.RUNNING:
            store._study.tell(one.number, state=optuna.trial.TrialState.FAIL)


@pytest.mark.parametrize("trials_per_program", [1, 4])
def test_what_has_ended_here_is_not_trained_again_after_a_silence(worker, trials_per_program):
    before = worker("a", **{RATE: [0.1, 0.2]})
    group, trials = before.claim(lambda _: 4)
    end(before, trials[:1])
    for trial in trials[2:]:  # the end of a point is known here alone, for the network failed
        before.folder.run_folder(trial.number).path.mkdir(parents=True)
        before.folder.run_folder(trial.number).append_metrics(history_of(trial)[0])
        before.folder.write_outcome(trial, {"state": "finished", "epochs": 1})
    before.folder.run_folder(0).append_metrics(history_of(trials[0])[0])
    group.release()
    forget(before)
    again = worker("a", **{RATE: [0.1, 0.2]})
    with again:  # says that it is alive
        group, found = again.claim(lambda _: trials_per_program)
        left = [one for one in found if again.folder.read_outcome(one.number) is None]
        assert numbers(left) == [1]
        # The older group has the same points.
        assert again.claim(lambda _: trials_per_program) is None
        end(again, left)
    assert [row["state"] for row in again.rows()] == ["finished"] * 4
    ended = [one for one in again._living() if one.state == optuna.trial.TrialState.COMPLETE]
    assert len(ended) == 2 and not again._held._identities


def test_points_that_were_drawn_before_the_database_failed_are_kept(worker, monkeypatch):
    store = worker("a")
    take_point, calls = store._take_point, []

    def fail_at_the_second():
        calls.append(None)
        if len(calls) == 2:
            raise optuna.exceptions.StorageInternalError("connection refused")
        return take_point()

    monkeypatch.setattr(store, "_take_point", fail_at_the_second)
    _, trials = store.claim(lambda _: 4)
    assert numbers(trials) == [0, 1, 2, 3] and len(calls) == 3


@pytest.mark.slow
def test_tpe_is_told_what_every_worker_found(worker, monkeypatch):
    # The same draws each time, and others for each worker.
    monkeypatch.setattr(database.zlib, "crc32", lambda text: b"/a/" in text)
    monkeypatch.setattr(database.os, "getpid", lambda: 1)
    written = {RATE: "uniform(0.1, 0.9)", "strategy": "tpe", "num_trials": 40, "seed": [0]}
    stores = [worker(name, **written) for name in ("a", "b")]
    for _ in range(20):
        for store in stores:
            _, trials = store.claim(lambda _: 1)
            end(store, trials)
            assert len(trials) == 1
    assert stores[0].claim(lambda _: 1) is None
    rates = [row["values"][RATE] for row in stores[0].rows()]
    assert len(rates) == 40
    # The loss is least at 0.3, and both come to know it.
    late = [abs(rate - 0.3) for rate in rates[20:]]
    assert sorted(late)[10] < 0.15


def test_a_database_that_is_away_for_a_while_is_waited_for(worker, monkeypatch):
    store = worker("a", beat_seconds=1)
    _, trials = store.claim(lambda _: 4)
    get_trials, failures = store._study.get_trials, [None] * 3

    def fail_at_first(**arguments):
        if failures:
            failures.pop()
            raise optuna.exceptions.StorageInternalError("connection refused")
        return get_trials(**arguments)

    monkeypatch.setattr(store._study, "get_trials", fail_at_first)
    end(store, trials)
    assert len(store.rows()) == 4 and not failures
    store.beat_seconds = 0  # no patience
    failures.append(None)
    with pytest.raises(StorageError, match="can no longer be reached") as caught:
        store.rows()
    assert "connection refused" in str(caught.value) and "secret" not in str(caught.value)


def test_another_sweep_of_the_name_is_refused(worker):
    worker("a")
    with pytest.raises(InputError, match="holds another sweep") as caught:
        worker("b", **{RATE: [0.1]})
    assert f"sweep.{RATE}" in str(caught.value) and "secret" not in str(caught.value)


def test_another_programs_study_is_refused(worker, url):
    storage = optuna.storages.RDBStorage(url.replace("postgresql:", "postgresql+psycopg:"))
    study = optuna.create_study(study_name="sweep", storage=storage)
    study.tell(study.ask(), 1.0)
    with pytest.raises(InputError, match="of another program"):
        worker("a")


def command_of(tiny_npz, folder, url):
    return [
        *soak.settings(tiny_npz),
        "--config.duration=2",
        f"--sweep.{RATE}=[0.001, 0.002, 0.003, 0.004, 0.005]",
        "--sweep.trials_per_program=1",
        f"--workdir={folder}",
        f"--storage={url}",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["grid", "tpe"])
def test_two_processes_as_on_two_machines(tiny_npz, url, start_python, tmp_path, strategy):
    folders = [tmp_path / machine / "rates" for machine in ("a", "b")]
    drawn = [f"--sweep.{RATE}=uniform(0.001, 0.01)", "--sweep.num_trials=5"]
    more = [*drawn, f"--sweep.strategy={strategy}"] if strategy != "grid" else []
    workers = [
        start_python("launch.py", *command_of(tiny_npz, folder, url), *more) for folder in folders
    ]
    for process in workers:
        out, err = process.communicate(timeout=600)
        assert process.returncode == 0, err
        assert "5 finished" in out.splitlines()[-1] or "Ranked by" in out
    trained = [sorted(path.name for path in folder.glob("trials/*")) for folder in folders]
    assert sorted(trained[0] + trained[1]) == [f"{number:04}" for number in range(5)]
    tables = [(folder / "sweep.csv").read_text() for folder in folders]
    assert tables[0] == tables[1] and tables[0].count("finished") == 5
    assert (folders[0] / "best.json").read_text() == (folders[1] / "best.json").read_text()


@pytest.mark.slow
def test_a_sweep_stays_shared_or_alone_and_keeps_its_password(
    launch_main, tiny_npz, server, url, tmp_path, capsys
):
    execute(url, """CREATE ROLE other SUPERUSER LOGIN PASSWORD 'p@ss%word/'""")
    _, place = url.split("@")
    in_front = f"--storage=postgresql://other:p%40ss%25word%2F@{place}"
    behind = f"--storage=postgresql://other@{place}?password=p%40ss%25word%2F"
    workdir = f"--workdir={tmp_path / 'rates'}"
    command = command_of(tiny_npz, tmp_path / "rates", "")[:-1]
    assert launch_main(*command, in_front) == 0
    printed = "".join(capsys.readouterr())
    assert launch_main(*command) == 2
    err = capsys.readouterr().err
    assert "shared through a database" in err and f"other:***@{place}" in err
    assert launch_main(workdir, behind) == 0
    assert launch_main(workdir, behind.replace("/test", "/another")) == 2
    elsewhere = capsys.readouterr().err
    assert "is another database" in elsewhere and elsewhere.count("\n") == 1
    content = (tmp_path / "rates/sweep.json").read_text()
    assert json.loads(content)["storage"] == f"postgresql://other@{place}"
    files = [path.read_bytes() for path in (tmp_path / "rates").rglob("*") if path.is_file()]
    for text in (printed.encode(), err.encode(), elsewhere.encode(), *files):
        assert b"p@ss" not in text and b"p%40ss" not in text

    alone = {**json.loads(content), "storage": None}
    (tmp_path / "rates/sweep.json").write_text(json.dumps(alone))
    capsys.readouterr()
    assert launch_main(*command, in_front) == 2
    assert "of this machine alone" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("storage", "part"),
    [
        ("postgresql://sweeper:secret@127.0.0.1:1/name", "127.0.0.1:1/name cannot be used"),
        ("mysql://sweeper:secret@127.0.0.1:1/name", "127.0.0.1:1/name cannot be used"),
        ("postgresql://sweeper:secret@127.0.0.1:1:2/name", "no URL of a database"),
        ("postgresql://sweeper:a@secret@127.0.0.1:1/name", "no URL of a database"),
        ("postgresql://127.0.0.1:1/name?password=secret", "127.0.0.1:1/name cannot be used"),
        ("postgresql://127.0.0.1:1/name?secret=secret", 'option "***"'),
        ("sqlite:///sweep.db", "need PostgreSQL or MySQL"),
        ("name", "no URL of a database"),
    ],
)
def test_databases_that_cannot_be_used(launch_main, tiny_npz, tmp_path, capsys, storage, part):
    assert launch_main(*command_of(tiny_npz, tmp_path / "sweep", storage)) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and err.startswith("launch.py: --storage")
    assert part in err and "secret" not in err
    assert not (tmp_path / "sweep").exists()


def test_a_wrong_password_or_name_is_refused(launch_main, tiny_npz, server, tmp_path, capsys):
    for storage in (server.replace("secret", "guess") + "/postgres", f"{server}/no_such"):
        assert launch_main(*command_of(tiny_npz, tmp_path / "sweep", storage)) == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1 and "cannot be used" in err and "guess@" not in err
        assert not (tmp_path / "sweep").exists()
