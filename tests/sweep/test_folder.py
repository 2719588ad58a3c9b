"""A sweep's folder hands every trial to one process, and those of a dead one to another."""

import collections
import json
import multiprocessing
import os
import signal
import threading

import pytest

from configs import mixer
from mlpvis_jax.errors import InputError
from mlpvis_jax.sweep import definition, records
from mlpvis_jax.sweep import folder as sweep_folder
from mlpvis_jax.sweep.definition import Sweep
from mlpvis_jax.sweep.folder import SweepFolder
from mlpvis_jax.sweep.store import Store
from mlpvis_jax.sweep.strategies import Tpe

RATE = "optimizer.learning_rate"


def sweep_of(**written):
    base = mixer.get_config("digits").to_dict()
    return Sweep.read(base, {RATE: [0.1 * number for number in range(1, 9)], **written})


@pytest.fixture
def folder(tmp_path):
    folder = SweepFolder(tmp_path / "sweep")
    folder.write(sweep_of())
    return folder


def record(epoch):
    return {"epoch": epoch, "validation_loss": 1 / epoch, "validation_accuracy": 0.5}


def end(folder, trials):
    """As if they had been trained."""
    for trial in trials:
        folder.run_folder(trial.number).path.mkdir(parents=True, exist_ok=True)
        folder.run_folder(trial.number).write_metrics([record(1)])
        folder.write_outcome(trial, {"state": "finished", "epochs": 1})


def numbers(trials):
    return [trial.number for trial in trials]


def test_groups_hold_trials_of_one_shape_and_all_seeds_of_a_point(folder):
    written = {"model.num_blocks": [1, 2], RATE: [1, 2, 3], "seed": [3, 4]}
    store = Store(folder, sweep_of(**written))
    found = []
    while claimed := store.claim(lambda trial: 5):
        group, trials = claimed
        assert len({trial.config.model.options["num_blocks"] for trial in trials}) == 1
        found.append([trial.point for trial in trials])
        end(folder, trials)
        store.done(group)
    # Of five that would fit, the two seeds of two points.
    assert sorted(found) == [[0, 0, 2, 2], [1, 1, 3, 3], [4, 4], [5, 5]]


def test_processes_that_ask_at_the_same_moment_share_without_overlap(folder):
    taken, start = [], threading.Barrier(4)

    def work():
        store = Store(folder, sweep_of())
        start.wait()
        while claimed := store.claim(lambda _: 1):
            group, trials = claimed
            taken.extend(numbers(trials))
            end(folder, trials)
            store.done(group)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == list(range(8))


def test_a_group_that_has_ended_meanwhile_is_let_go(folder):
    group, _ = Store(folder, sweep_of()).claim(lambda _: 4)
    group.release()
    answers = [True, False]  # before it is taken, and after
    assert not group.take_if(lambda: answers.pop(0)) and not answers
    assert group.take()


def test_tpe_suggests_while_other_trials_are_trained(folder):
    """The second process of a sweep asks for points when the first has no result yet."""
    written = {RATE: "uniform(0.1, 0.9)", "strategy": "tpe", "num_trials": 8}
    sweep = sweep_of(**written)
    stores = [Store(folder, sweep) for _ in range(3)]
    claimed = [store.claim(lambda _: 2) for store in stores]
    found = [numbers(trials) for _, trials in claimed]
    assert found == [[0, 1], [2, 3], [4, 5]]
    end(folder, claimed[1][1])
    assert numbers(stores[1].claim(lambda _: 2)[1]) == [6, 7]
    assert len({row["values"][RATE] for row in stores[0].rows()}) == 8


@pytest.mark.parametrize(
    ("suggested", "part"),
    [
        ([], "was asked for 2 new points, and suggests none"),
        ([{RATE: 0.1}, {}], "suggests {}; a point must be a dict with a value of each"),
        ([{RATE: 0.1, "seed": 3}], f"with a value of each dimension: {RATE}"),
        (["0.1"], "suggests '0.1'"),
    ],
)
def test_a_strategy_that_suggests_no_points_is_refused(folder, monkeypatch, suggested, part):
    sweep = sweep_of(**{RATE: "uniform(0.1, 0.9)", "strategy": "tpe", "num_trials": 8})
    monkeypatch.setattr(Tpe, "suggest", lambda *_: suggested)
    with pytest.raises(InputError) as caught:
        Store(folder, sweep).claim(lambda _: 2)
    assert str(caught.value).startswith("sweep.strategy=tpe") and part in str(caught.value)
    monkeypatch.setattr(Tpe, "suggest", lambda *_: [{RATE: 0.1}])  # fewer are good
    assert numbers(Store(folder, sweep).claim(lambda _: 2)[1]) == [0]


def claim_and_wait(path, claimed):
    folder = SweepFolder(path)
    held = Store(folder, sweep_of()).claim(lambda _: 3)
    end(folder, held[1][:1])
    claimed.set()
    signal.pause()


def test_what_a_dead_process_had_is_taken_up_by_another(folder):
    context = multiprocessing.get_context("spawn")
    claimed = context.Event()
    process = context.Process(target=claim_and_wait, args=(folder.path, claimed), daemon=True)
    process.start()
    assert claimed.wait(timeout=60)
    store = Store(folder, sweep_of())
    group, trials = store.claim(lambda _: 3)
    assert numbers(trials) == [3, 4, 5]  # the other's are its own while it lives
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    again, lost = store.claim(lambda _: 3)
    assert numbers(lost) == [0, 1, 2] and again.path != group.path
    assert folder.read_outcome(0) is not None  # which is not trained again
    end(folder, [*trials, *lost])
    store.done(group)
    store.done(again)
    assert numbers(store.claim(lambda _: 3)[1]) == [6, 7]
    assert [row["state"] for row in store.rows()] == ["finished"] * 6 + ["running"] * 2


def test_half_a_line_of_a_history_is_none(folder):
    run = folder.run_folder(0)
    run.path.mkdir(parents=True)
    run.metrics.write_text(f'{json.dumps(record(1))}\n{{"epoch": 2')
    assert folder.read_history(0) == [record(1)]


def test_seeds_of_a_point_that_do_not_fit_one_program_are_all_trained(folder):
    store = Store(folder, sweep_of(**{RATE: [0.1, 0.2], "seed": "seeds(3)"}))
    found = []
    while claimed := store.claim(lambda _: 2):
        found.append(numbers(claimed[1]))
        end(folder, claimed[1])
        store.done(claimed[0])
    assert found == [[0, 1], [2], [3, 4], [5]]


@pytest.mark.parametrize("shapes", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_a_claim_looks_at_its_own_trials_only(folder, monkeypatch, shapes):
    written = {RATE: "uniform(0.1, 1)", "strategy": "random", "num_trials": 1000}
    store = Store(folder, sweep_of(**written, **{"model.num_blocks": list(range(1, shapes + 1))}))
    work = collections.Counter()

    def count(module, name):
        function = getattr(module, name)

        def call(*arguments):
            work[name] += 1
            return function(*arguments)

        monkeypatch.setattr(module, name, call)

    for module in (definition, sweep_folder):
        count(module, "config_of")
    count(records, "read_json")
    for _ in range(30):
        work.clear()
        _, trials = store.claim(lambda _: 4)
        end(folder, trials)
        store.rows()
        # Its own four, once more than is needed; those that a group names, and how four ended.
        assert work["config_of"] <= 9 and work["read_json"] <= 5


@pytest.mark.parametrize(
    "name",
    ["tensorboard/events", "groups/notes", "best.json", "sweep.csv", "dimensions.png", "lock"],
)
def test_what_a_sweep_would_write_over_or_remove_is_refused(tmp_path, name):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine")
    taken = path.relative_to(tmp_path).parts[0]
    with pytest.raises(InputError, match=rf"something else than a sweep \({taken}\)"):
        SweepFolder(tmp_path).check(sweep_of())


def test_a_sweep_that_was_killed_before_its_definition_can_begin_again(tmp_path):
    folder = SweepFolder(tmp_path)
    with folder.locked():
        folder.check(sweep_of())
    folder.check(sweep_of())
