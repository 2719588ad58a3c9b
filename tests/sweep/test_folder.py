"""A sweep's folder hands every trial to one process, and those of a dead one to another."""

import multiprocessing
import os
import signal
import threading

import pytest

from configs import mixer
from mlpvis_jax.sweep.definition import Sweep
from mlpvis_jax.sweep.folder import Store, SweepFolder

RATE = "optimizer.learning_rate"


def sweep_of(**written):
    base = mixer.get_config("digits").to_dict()
    return Sweep.read(base, {RATE: [0.1 * number for number in range(1, 9)], **written})


@pytest.fixture
def folder(tmp_path):
    folder = SweepFolder(tmp_path / "sweep")
    folder.write(sweep_of())
    return folder


def end(folder, trials):
    """As if they had been trained."""
    for trial in trials:
        folder.run_folder(trial.number).path.mkdir(parents=True, exist_ok=True)
        folder.write_outcome(trial, {"state": "finished"})


def numbers(trials):
    return [trial.number for trial in trials]


def test_groups_hold_trials_of_one_shape_and_all_seeds_of_a_point(folder):
    written = {"model.num_blocks": [1, 2], RATE: [1, 2, 3], "seed": [3, 4]}
    store = Store(folder, sweep_of(**written))
    found = []
    while claimed := store.claim(lambda trial: 5):
        group, trials = claimed
        assert len({trial.config.model.num_blocks for trial in trials}) == 1
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


def claim_and_wait(path, claimed):
    folder = SweepFolder(path)
    held = Store(folder, sweep_of()).claim(lambda _: 3)
    end(folder, held[1][:1])
    claimed.set()
    signal.pause()


def test_what_a_dead_process_had_is_taken_up_by_another(folder):
    context = multiprocessing.get_context("spawn")
    claimed = context.Event()
    process = context.Process(target=claim_and_wait, args=(folder.path, claimed))
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
    run.metrics.write_text('{"epoch": 1}\n{"epoch": 2')
    assert folder.read_history(0) == [{"epoch": 1}]
