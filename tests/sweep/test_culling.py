"""Successive halving keeps the right trials, of one group and of several."""

import itertools
import json
import math
import shutil
import types

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs import mixer
from mlpvis_jax.errors import RunError
from mlpvis_jax.settings.config import RunConfig
from mlpvis_jax.sweep import loop
from mlpvis_jax.sweep.culling import culled, score_of
from mlpvis_jax.sweep.definition import Sweep, Trial
from mlpvis_jax.sweep.folder import SweepFolder
from mlpvis_jax.sweep.strategies import Tpe
from tests import soak

CONFIG = RunConfig.from_mapping(mixer.get_config().to_dict())


def trials_of(points):
    """Trials by number and point."""
    return [Trial(number, point, {}, CONFIG) for number, point in points.items()]


def record(loss, accuracy=0.5):
    return {"validation_loss": loss, "validation_accuracy": accuracy}


def test_a_trial_is_worth_its_best_epoch():
    row = {"state": "finished", "history": [record(2.0, 0.3), record(1.0, 0.4), record(1.5, 0.6)]}
    assert score_of(row, "validation_loss") == 1.0
    assert score_of(row, "validation_accuracy") == -0.4  # of the weights that are kept
    for history in ([], [record(math.nan)]):
        assert score_of({**row, "history": history}, "validation_loss") == math.inf
    # Its settings diverge, however good they looked before.
    assert score_of({**row, "state": "diverged"}, "validation_accuracy") == math.inf


@pytest.mark.parametrize("has_missed", [False, True])
@pytest.mark.parametrize("when", ["before", "after", "now"])
def test_the_seeds_of_a_point_that_diverges_do_not_go_on(when, has_missed):
    """One diverged before the cull's epoch, has since, or does in this very epoch.

    A database may have missed this epoch of the trials that train here.
    """
    rates = {"optimizer.learning_rate": [0.1, 0.2], "seed": [1, 2], "cull_epochs": "1"}
    sweep = Sweep.read(mixer.get_config("digits").to_dict(), rates)
    rows = [
        {"trial": number, "point": number // 2, "state": "running", "history": [record(loss)]}
        for number, loss in enumerate([0.1, 0.1, 0.8, 0.9])
    ]
    rows[1] |= {"state": "running" if when == "now" else "diverged"}
    rows[1] |= {"history": [record(0.1)] if when == "after" else []}
    histories = [row["history"] for row in rows]
    if has_missed:
        rows = [{**row, "history": []} for row in rows]
    store = types.SimpleNamespace(rows=lambda: rows)
    session = loop._Session(sweep, None, store, [], None, None, "")
    points = map(sweep.point, range(2))
    trials = [trial for index, point in enumerate(points) for trial in sweep.trials(index, point)]
    session._trials = {trial.number: trial for trial in trials}
    session._runs = [
        types.SimpleNamespace(
            number=number, divergence=None, progress=types.SimpleNamespace(history=history)
        )
        for number, history in enumerate(histories)
    ]
    session._runs[1].divergence = "the loss is no longer finite" if when == "now" else None
    going_on = [run for run in session._runs if run.number != 1]
    assert session.cull(1, going_on) == {0}


@pytest.mark.parametrize(
    ("factor", "kept"), [(2.0, {2, 0}), (4.0, {2}), (100.0, {2}), (1.5, {2, 0, 3})]
)
def test_one_in_so_many_goes_on(factor, kept):
    points = {0: 0, 1: 1, 2: 2, 3: 3, 4: 4}
    scores = {0: 0.2, 1: 0.9, 2: 0.1, 3: 0.3, 4: math.inf}
    assert {0, 1, 2, 3, 4} - culled(trials_of(points), scores, points, factor) == kept


def test_those_who_came_before_count_and_the_others_are_not_waited_for():
    points = {0: 0, 1: 1, 2: 2, 3: 3}
    first = {0: 0.5, 1: 0.6}
    assert culled(trials_of({0: 0, 1: 1}), first, {0: 0, 1: 1}, 2) == {1}
    # Two better ones come later; trial 0 has gone on, and is not called back.
    later = {**first, 2: 0.3, 3: 0.4}
    assert culled(trials_of({2: 2, 3: 3}), later, points, 2) == set()
    worse = {**first, 2: 0.7, 3: 0.8}
    assert culled(trials_of({2: 2, 3: 3}), worse, points, 2) == {2, 3}


def test_a_point_counts_by_the_mean_of_its_seeds():
    points = {0: 0, 1: 0, 2: 1, 3: 1}
    scores = {0: 0.1, 1: 0.9, 2: 0.4, 3: 0.4}  # the best trial is of the worse point
    assert culled(trials_of(points), scores, points, 2) == {0, 1}


def test_the_seeds_of_a_point_train_together_where_they_are_culled(monkeypatch):
    monkeypatch.setattr(loop, "trials_that_fit", lambda *_: 1)
    monkeypatch.setattr(loop._Session, "_task_of", lambda *_: None)
    base = mixer.get_config("digits").to_dict()
    found = []
    for cull_epochs, number in itertools.product(("", "1"), (None, 1, 5)):
        written = {"cull_epochs": cull_epochs, "trials_per_program": number, "seed": "seeds(3)"}
        sweep = Sweep.read(base, {"optimizer.learning_rate": [0.1, 0.2], **written})
        store = types.SimpleNamespace(rows=list)
        session = loop._Session(sweep, None, store, [], None, None, "")
        found.append(session._max_trials(sweep.trials(0, sweep.point(0))[0]))
    assert found == [1, 1, 5, 3, 3, 5]


@given(st.lists(st.floats(0, 10) | st.just(math.inf), min_size=1, max_size=30), st.floats(1.1, 9))
def test_someone_goes_on_and_no_one_culled_is_better_than_one_kept(values, factor):
    points = {number: number for number in range(len(values))}
    gone = culled(trials_of(points), dict(enumerate(values)), points, factor)
    kept = points.keys() - gone
    assert len(kept) == max(1, math.floor(len(values) / factor))
    assert all(values[a] >= values[b] for a in gone for b in kept)


@pytest.fixture(scope="module")
def settings(write_npz):
    random = np.random.default_rng(1)
    images, labels = random.integers(0, 256, (90, 8, 8, 3)), random.integers(0, 3, 90)
    return [*soak.settings(write_npz(images, labels, training=80)), "--config.duration=5"]


@pytest.fixture(scope="module")
def to_the_end(launch_main, settings, tmp_path_factory):
    """Validation losses of every trial, when none is culled."""
    path = tmp_path_factory.mktemp("sweep") / "all"
    assert launch_main(*settings, DIMENSION, f"--workdir={path}") == 0
    folder = SweepFolder(path)
    return [[one["validation_loss"] for one in folder.read_history(n)] for n in range(len(RATES))]


RATES = [0.0001, 0.03, 0.001, 0.1, 0.003, 0.01]
DIMENSION = f"--sweep.optimizer.learning_rate={RATES}"


@pytest.mark.slow
@pytest.mark.parametrize("trials_per_program", [6, 2])
def test_a_sweep_culls_the_worse_and_the_others_go_on_untouched(
    launch_main, settings, to_the_end, tmp_path, capsys, trials_per_program
):
    culling = ["--sweep.cull_epochs=1 3", f"--sweep.trials_per_program={trials_per_program}"]
    assert launch_main(*settings, DIMENSION, *culling, f"--workdir={tmp_path / 'sweep'}") == 0
    printed = capsys.readouterr().out
    some = SweepFolder(tmp_path / "sweep")

    # What should be left after each epoch, from the runs that were all trained to their end.
    alive, gone, came = set(range(6)), {}, {1: set(), 3: set()}
    for start in range(0, 6, trials_per_program):
        group = set(range(start, start + trials_per_program))
        for epoch in (1, 3):
            came[epoch] |= group
            ranked = sorted(came[epoch], key=lambda number: min(to_the_end[number][:epoch]))
            kept = set(ranked[: max(1, len(ranked) // 2)])
            gone |= dict.fromkeys(group - kept, epoch)
            group &= kept
        alive -= gone.keys()
    assert len(gone) > 2 and alive
    for number in range(6):
        outcome = some.read_outcome(number)
        assert outcome["state"] == ("culled" if number in gone else "finished")
        assert outcome["epochs"] == gone.get(number, 5)
        assert [r["validation_loss"] for r in some.read_history(number)] == pytest.approx(
            to_the_end[number][: outcome["epochs"]], rel=1e-5
        )
        assert some.run_folder(number).results.exists() == (number in alive)
        # Whoever was culled can be trained on as a run of its own.
        assert list(some.run_folder(number).checkpoints.glob("[0-9]*"))
    table = [line.split() for line in printed.partition("\nCulled\n")[2].splitlines()]
    for epoch in (1, 3):
        numbers = [number for number in sorted(gone) if gone[number] == epoch]
        listed = ", ".join(map(str, numbers)).split()
        if numbers:
            counts = [str(epoch), str(len(came[epoch])), str(len(numbers))]
            assert [*counts, *listed] in table
    best = json.loads((tmp_path / "sweep/best.json").read_text())
    assert best["optimizer"]["learning_rate"] in {RATES[number] for number in alive}


@pytest.mark.slow
def test_a_culled_trial_can_be_trained_on_as_a_run(launch_main, settings, tmp_path):
    dimension = "--sweep.optimizer.learning_rate=[0.01, 1e-9]"
    arguments = [*settings, dimension, "--sweep.cull_epochs=2", f"--workdir={tmp_path / 'sweep'}"]
    assert launch_main(*arguments) == 0
    folder = SweepFolder(tmp_path / "sweep")
    assert folder.read_outcome(1)["state"] == "culled"
    run = folder.run_folder(1)
    assert launch_main(f"--workdir={run.path}") == 0
    epochs = [json.loads(line)["epoch"] for line in run.metrics.read_text().splitlines()]
    assert epochs == [1, 2, 3, 4, 5]


def test_a_strategy_that_learns_is_asked_in_turns(monkeypatch):
    monkeypatch.setattr(loop, "trials_that_fit", lambda *_: 64)
    monkeypatch.setattr(loop._Session, "_task_of", lambda *_: None)
    base = mixer.get_config("digits").to_dict()

    def together(strategy, number, point=0, running=0):
        written = {"strategy": strategy, "num_trials": 32, "trials_per_program": number}
        sweep = Sweep.read(base, {"optimizer.learning_rate": "uniform(0.1, 0.2)", **written})
        states = ["finished"] * (point - running) + ["running"] * running + ["running"] * 3
        rows = [{"point": index, "state": state} for index, state in enumerate(states)]
        store = types.SimpleNamespace(rows=lambda: rows)
        session = loop._Session(sweep, None, store, [], None, None, "")
        (trial,) = sweep.trials(point, {"optimizer.learning_rate": 0.1})
        return session._max_trials(trial)

    assert together("random", None) == together("random", 32) == 32  # all at once
    assert together("tpe", 32) == 32
    assert together("tpe", None) == 10  # which are drawn at random, whatever is known
    assert together("tpe", None, point=10) == 8
    # Points that other workers train belong to the turn.
    assert together("tpe", None, point=10, running=10) == 1
    assert together("tpe", None, point=10, running=4) == 4
    assert together("tpe", None, point=4, running=4) == 6
    monkeypatch.setattr(Tpe, "first_points", 1)
    assert together("tpe", None) == 8


@pytest.mark.slow
def test_a_culled_trial_that_was_removed_is_trained_anew_when_its_group_goes_on(
    launch_main, settings, tmp_path, monkeypatch
):
    dimension = "--sweep.optimizer.learning_rate=[0.01, 0.003, 0.001, 1e-9]"
    path = tmp_path / "sweep"
    arguments = [*settings, dimension, "--sweep.cull_epochs=1 3", f"--workdir={path}"]

    def stop(_, epoch):
        if epoch == 2:
            raise RunError("stopped")

    with monkeypatch.context() as patched:
        patched.setattr(loop._Session, "group_epoch_done", stop)
        assert launch_main(*arguments) == 1
    folder = SweepFolder(path)
    gone = [number for number in range(4) if folder.read_outcome(number)]
    assert len(gone) == 2 and folder.read_outcome(gone[0])["state"] == "culled"
    shutil.rmtree(folder.run_folder(gone[0]).path)
    assert launch_main(*arguments) == 0
    again = SweepFolder(path)
    assert all(again.read_outcome(number) for number in range(4))
    # All of a group's trials that are left may be lost from its checkpoint.
    shutil.rmtree(again.run_folder(gone[1]).path)
    assert launch_main(*arguments) == 0
    assert SweepFolder(path).read_outcome(gone[1])
