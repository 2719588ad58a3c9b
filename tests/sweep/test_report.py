"""What a person looks at: the live table, the ranking, the pictures, and files that can be used."""

import csv
import io
import json
import math
import sys

import numpy as np
import pytest
import rich.console

from configs import mixer
from mlpvis_jax.sweep import culling, importance, marks, ranking, report, tpe
from mlpvis_jax.sweep import live as live_table
from mlpvis_jax.sweep.definition import Sweep
from mlpvis_jax.sweep.folder import SweepFolder
from mlpvis_jax.sweep.store import Store
from tests import soak

RATE, DROPOUT = "optimizer.learning_rate", "model.dropout_rate"


def record(epoch, loss, accuracy=0.5):
    return {
        **{"epoch": epoch, "validation_loss": loss, "validation_accuracy": accuracy},
        **{"validation_top5_accuracy": 0.9, "train_loss": loss, "train_accuracy": accuracy},
    }


def row(number, point, state, losses, **values):
    history = [record(epoch, loss, 1 - loss / 10) for epoch, loss in enumerate(losses, start=1)]
    best = min(history, key=lambda one: one["validation_loss"]) if history else {}
    measured = {
        "validation_loss": best.get("validation_loss"),
        "validation_accuracy": best.get("validation_accuracy"),
        "test_accuracy": 0.25 if state == "finished" else None,
    }
    known = {"trial": number, "point": point, "state": state, "epochs": len(history)}
    return {**known, **measured, "values": {"seed": 0, **values}, "history": history}


def test_points_are_ranked_by_the_mean_over_their_seeds():
    rows = [
        row(0, 0, "finished", [3.0, 1.0]),
        row(1, 0, "finished", [3.0, 2.0]),
        row(2, 1, "finished", [1.4, 1.5]),
        row(3, 1, "stopped early", [1.4]),
        row(4, 2, "culled", [0.9]),
        row(5, 2, "culled", [0.9]),
        row(6, 3, "diverged", [0.1]),
        row(7, 3, "finished", [2.0]),
        row(8, 4, "finished", [0.8]),
        row(9, 4, "diverged", [0.1]),
        row(10, 5, "diverged", [0.1]),
        row(11, 5, "diverged", [0.1]),
    ]
    ranked = ranking.rank(rows, "validation_loss")
    # The culled come after those that ended, and before those of which a seed diverged.
    assert [one.rows[0]["point"] for one in ranked] == [1, 0, 2, 4, 3, 5]
    assert [one.score for one in ranked] == pytest.approx([1.4, 1.5, 0.9, 0.8, 2.0, math.inf])
    assert ranked[0].states == "1 finished, 1 stopped early"
    assert ranked[4].states == "1 diverged at 1, 1 finished"
    assert ranked[4].measured("validation_loss") == [2.0]
    assert ranking.best_trial(ranked, "validation_loss")["trial"] == 2
    assert ranking.best_trial(ranked[3:], "validation_loss")["trial"] == 8
    assert ranking.best_trial(ranked[5:], "validation_loss") is None
    assert ranking.best_trial([], "validation_loss") is None
    assert ranking.rank(rows, "validation_accuracy")[0].score == pytest.approx(-0.86)


def test_a_point_with_a_diverged_seed_is_a_bad_one_for_tpe():
    sweep = Sweep.read(mixer.get_config().to_dict(), {RATE: [0.1], "seed": [1, 2]})
    rows = [row(0, 0, "finished", [1.0]), row(1, 0, "finished", [2.0])]
    assert tpe.score_of_point(sweep, rows) == 1.5
    assert tpe.score_of_point(sweep, [rows[0], row(1, 0, "diverged", [2.0])]) == math.inf


@pytest.mark.parametrize("objective", ["validation_loss", "validation_accuracy"])
def test_tpe_suggests_near_what_was_best(objective):
    pytest.importorskip("optuna")
    written = {RATE: "uniform(0.1, 0.9)", "strategy": "tpe", "objective": objective}
    sweep = Sweep.read(mixer.get_config().to_dict(), {**written, "num_trials": 50})
    drawn = [sweep.space.random_point(index, 0)[RATE] for index in range(30)]
    # `row` makes an accuracy that is the higher, the lower its loss.
    rows = [
        row(number, number, "finished", [abs(rate - 0.3)], **{RATE: rate})
        for number, rate in enumerate(drawn)
    ]
    suggested = [point[RATE] for point in tpe.suggest(sweep, 20, rows)]
    assert np.median(np.abs(np.array(suggested) - 0.3)) < 0.5 * np.median(
        np.abs(np.array(drawn) - 0.3)
    )


def test_trials_of_another_process_that_go_on_are_left_out_of_the_report(tmp_path, capsys):
    """One that was started with fewer trials ends, while another trains what it has added."""
    written = {RATE: [0.1, 0.2, 0.3], "cull_epochs": "1"}
    sweep = Sweep.read({**mixer.get_config().to_dict(), "duration": 2}, written)
    folder = SweepFolder(tmp_path / "sweep")
    rates = [{RATE: rate} for rate in (0.1, 0.2, 0.3)]
    rows = [
        {**row(0, 0, "finished", [2.0], **rates[0]), "best_epoch": 1},
        row(1, 1, "culled", [3.0], **rates[1]),
        row(2, 2, "running", [0.1], **rates[2]),
    ]
    del rows[2]["epochs"], rows[2]["validation_accuracy"]
    folder.write(sweep)
    assert report.finish(folder, sweep, rows)["trial"] == 0
    assert "running" not in folder.table.read_text()


def test_tpe_with_seeds_alone_has_one_point(tmp_path):
    pytest.importorskip("optuna")
    written = {"strategy": "tpe", "seed": "seeds(4)", "num_trials": 4}
    sweep = Sweep.read(mixer.get_config().to_dict(), written)
    folder = SweepFolder(tmp_path / "sweep")
    folder.write(sweep)
    _, trials = Store(folder, sweep).claim(lambda _: 4)
    assert [trial.values for trial in trials] == [{"seed": seed} for seed in range(4)]


def test_the_confidence_interval_is_that_of_student():
    # Of 1, 2, 3: standard error 1 / sqrt(3), and t is 4.302653 with two degrees of freedom.
    assert ranking.mean_and_interval([1, 2, 3]) == pytest.approx((2.0, 4.302653 / math.sqrt(3)))
    assert math.isnan(ranking.mean_and_interval([1.0])[1])
    assert ranking.percent([0.1, 0.2, 0.3]) == "20.00 ± 24.84"
    assert ranking.percent([0.5]) == "50.00" and ranking.percent([]) == ""


def trial_of(sweep, number):
    point, place = divmod(number, len(sweep.space.seeds))
    return sweep.trials(point, sweep.point(point))[place]


def test_the_live_table():
    written = {RATE: [0.1, 0.2, 0.3, 0.4], "cull_epochs": "1"}
    sweep = Sweep.read({**mixer.get_config().to_dict(), "duration": 2}, written)
    seconds, stream = [0.0], io.StringIO()
    live = live_table.LiveTable(sweep, [], 100, 2, stream, clock=lambda: seconds[0])
    trials = [trial_of(sweep, number) for number in range(2)]
    with live:
        live.group_begins(trials)
        live.compiling()
        seconds[0] = 60.0
        assert live._summary() == "2 waiting, 2 running | no best yet | compiling, 60 s"
        live.compiled()
        live.advance(200)
        seconds[0] = 64.0
        live.epoch_done(trials[0], [record(1, 2.0, 0.3)])
        live.epoch_done(trials[1], [record(1, 1.0, 0.4)])
        live.trial_done(trials[0], {"state": "culled", "epochs": 1}, [record(1, 2.0, 0.3)])
        live.group_epoch_done(1)
    # One epoch of a running trial is left; of two waiting ones an epoch each, and one more of the
    # half that is not culled after it: four epochs of 100 images, at 50 images a second.
    assert stream.getvalue() == (
        "epoch 1/2 of trials 0 to 1: 2 waiting, 1 running, 1 culled | "
        "best: trial 1, 40.0% (loss 1.000) | 50 images/s | 00:08 left\n"
    )
    console = rich.console.Console(file=io.StringIO(), width=120)
    console.print(live._render())
    table = console.file.getvalue().splitlines()
    (running,) = [line.split() for line in table if "running" in line and "waiting" not in line]
    assert running == ["1", "running", "0.2", "1", "1.000", "40.0%"]
    (gone,) = [line.split() for line in table if "culled at" in line]
    assert gone == ["0", "culled", "at", "1", "0.1", "1", "2.000", "30.0%"]
    assert table.index(next(line for line in table if "culled at" in line)) > table.index(
        next(line for line in table if line.split()[:2] == ["1", "running"])
    )
    # What another process has done counts, and what is known here is not forgotten.
    live.merge_rows([row(2, 2, "finished", [3.0, 0.5], **{RATE: 0.3}), row(1, 1, "running", [])])
    assert "1 running, 1 finished, 1 culled | best: trial 2" in live._summary()
    live.trial_done(trials[1], {"state": "diverged", "epochs": 2}, [record(1, 0.1), record(2, 0.1)])
    assert "best: trial 2" in live._summary()


PICTURES = ("dimensions", "parallel_coordinates", "heat_map", "learning_curves")


@pytest.mark.parametrize(
    ("states", "best", "said"),
    [
        (["diverged"] * 4, None, "Every trial diverged"),
        (["finished", "diverged", "diverged", "diverged"], 0, "At every point a seed diverged"),
        (["finished", "diverged", "culled", "culled"], 2, "Ranked by validation_loss"),
    ],
)
def test_what_diverged_is_never_best_and_all_is_reported(tmp_path, capsys, states, best, said):
    written = {RATE: [0.1, 0.2], DROPOUT: [0.3, 0.4], "seed": "seeds(2)", "cull_epochs": "1"}
    sweep = Sweep.read(mixer.get_config("digits").to_dict(), written)
    losses = {"finished": [2.0, 1.0], "culled": [3.0], "diverged": [0.5]}
    points = {RATE: 0.1, DROPOUT: 0.3}, {RATE: 0.2, DROPOUT: 0.4}
    values = [{**point, "seed": seed} for point in points for seed in (0, 1)]
    rows = [
        row(number, number // 2, state, losses[state], **its)
        for number, (state, its) in enumerate(zip(states, values, strict=True))
    ]
    folder = SweepFolder(tmp_path)
    folder.best_config.write_text("{}")  # of an older report
    found = report.finish(folder, sweep, rows)
    printed = capsys.readouterr().out
    assert said in printed and f"table        {folder.table}" in printed
    assert ("Every trial diverged" in printed) == (best is None)
    assert (found and found["trial"]) == best
    assert folder.best_config.exists() == ("best again" in printed) == (best is not None)
    if best is not None:
        assert (
            json.loads(folder.best_config.read_text())["optimizer"]["learning_rate"]
            == (values[best][RATE])
        )
    drawn = {path.name for path in tmp_path.glob("*.png")}
    assert drawn == {f"{name}.png" for name in PICTURES}
    assert len(list(folder.events.iterdir())) == 4
    assert ("1.000 (1 of 2)" in printed) == ("finished" in states)


@pytest.fixture(scope="module")
def sweep(launch_main, tiny_npz, tmp_path_factory):
    """The folder of a sweep with two seeds, and what it printed."""
    path = tmp_path_factory.mktemp("sweep") / "sweep"
    arguments = [
        *soak.settings(tiny_npz),
        "--config.duration=3",
        f"--sweep.{RATE}=[0.003, 1e-5, 1e30]",
        "--sweep.model.dropout_rate=[0.1, 0.2]",
        "--sweep.seed=seeds(2)",
        "--sweep.cull_epochs=1",
        f"--workdir={path}",
    ]
    assert launch_main(*arguments) == 0
    return SweepFolder(path)


@pytest.mark.slow
def test_the_csv_holds_every_trial(sweep):
    with sweep.table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["trial"]) for row in rows] == list(range(12))
    assert {row["state"] for row in rows} == {"finished", "culled", "diverged"}
    for row in rows:
        outcome = sweep.read_outcome(int(row["trial"]))
        assert (row["state"], int(row["epochs"])) == (outcome["state"], outcome["epochs"])
        assert float(row[RATE]) == outcome["values"][RATE] and int(row["seed"]) in (0, 1)
        if row["state"] == "finished":
            assert float(row["test_accuracy"]) == outcome["test_accuracy"]
        if row["state"] == "diverged":
            assert "Training diverged" in row["message"] and row["test_accuracy"] == ""


@pytest.mark.slow
def test_every_trial_is_a_run_folder(sweep):
    for number in range(12):
        folder, outcome = sweep.run_folder(number), sweep.read_outcome(number)
        assert folder.read_config().optimizer.learning_rate == outcome["values"][RATE]
        assert len(sweep.read_history(number)) == outcome["epochs"]
        ended = outcome["state"] != "diverged"
        assert folder.last_weights.exists() == ended
        assert any(folder.path.glob("checkpoints/[0-9]*/arrays")) == ended
        assert folder.results.exists() == (outcome["state"] == "finished")
    assert not list(sweep.groups.glob("*/checkpoints"))  # which the trials' own have replaced


@pytest.mark.slow
def test_the_pictures_show_what_was_measured(sweep, launch_main, figures):
    assert launch_main(f"--workdir={sweep.path}") == 0
    outcomes = [sweep.read_outcome(number) for number in range(12)]
    accuracies = sorted(
        outcome["validation_accuracy"]
        for outcome in outcomes
        if outcome.get("validation_accuracy") is not None
    )
    assert len(accuracies) == 8  # the others diverged in their first epoch

    panels = figures["dimensions.png"].axes
    assert [axes.get_xlabel() for axes in panels] == [RATE, "model.dropout_rate"]
    for axes in panels:
        *drawn, ring = [points.get_offsets()[:, 1] for points in axes.collections]
        assert sorted(np.concatenate(drawn)) == pytest.approx(accuracies)
        assert len(ring) == 1 and ring[0] in accuracies

    axes = figures["parallel_coordinates.png"].axes[0]
    ends = [
        line.get_ydata()[-1] for line in axes.lines if (line.get_gid() or "").startswith("trial")
    ]
    low, high = accuracies[0], accuracies[-1]
    assert sorted(ends) == pytest.approx([(y - low) / (high - low) for y in accuracies])

    cells = figures["heat_map.png"].axes[0]
    told = {text.get_position(): text.get_text() for text in cells.texts}
    for column, dropout_rate in enumerate((0.1, 0.2)):
        for line, rate in enumerate((0.003, 1e-5, 1e30)):
            here = [
                outcome["validation_accuracy"]
                for outcome in outcomes
                if outcome["values"][RATE] == rate
                and outcome["values"]["model.dropout_rate"] == dropout_rate
                and outcome.get("validation_accuracy") is not None
                and outcome["state"] == "finished"
            ]
            if here:
                assert told[(column, line)] == f"{np.mean(here):.1%}"

    panels = figures["learning_curves.png"].axes
    for axes, name in zip(panels, ("validation_loss", "validation_accuracy"), strict=True):
        curves = [list(line.get_ydata()) for line in axes.lines]
        for number in range(12):
            history = [record[name] for record in sweep.read_history(number)]
            assert not history or history in curves


def grid_rows(function):
    """Sixteen trials on a grid, whose loss is a function of their two values."""
    values = [(one, other) for one in (0.1, 0.2, 0.3, 0.4) for other in (0.0, 0.1, 0.2, 0.3)]
    return [
        row(number, number, "finished", [function(one, other)], **{RATE: one, DROPOUT: other})
        for number, (one, other) in enumerate(values)
    ]


def test_importance_is_that_of_the_dimension_that_decides():
    pytest.importorskip("optuna")
    written = {RATE: [0.1, 0.2, 0.3, 0.4], DROPOUT: [0.0, 0.1, 0.2, 0.3]}
    sweep = Sweep.read(mixer.get_config().to_dict(), written)
    found = importance.importances(sweep, grid_rows(lambda one, _: 1 + one))
    assert found[RATE] == pytest.approx(1.0, abs=0.01)
    assert found[DROPOUT] == pytest.approx(0.0, abs=0.01)
    both = importance.importances(sweep, grid_rows(lambda one, other: 1 + one + other))
    assert both[RATE] == pytest.approx(0.5, abs=0.1)  # of an even forest, but for its randomness
    assert importance.importances(sweep, grid_rows(lambda *_: 1.0)) == {}
    diverged = row(16, 16, "diverged", [9.0], **{RATE: 0.1, DROPOUT: 0.0})
    rows = [*grid_rows(lambda one, _: 1 + one), diverged]
    assert importance.importances(sweep, rows) == importance.importances(sweep, rows[:-1])
    found, said = importance.described(sweep, grid_rows(lambda one, _: 1 + one))
    assert said == f"Importance, by fANOVA: {RATE} 100%, {DROPOUT} 0%"


def test_importance_weighs_a_logarithmic_range_as_it_is_drawn():
    """A loss that steps in the middle of a logarithmic range, and little beside it."""
    pytest.importorskip("optuna")
    written = {RATE: "log_uniform(1e-5, 1e-1)", DROPOUT: "uniform(0.0, 0.4)"}
    sweep = Sweep.read(
        mixer.get_config().to_dict(), {**written, "strategy": "random", "num_trials": 64}
    )
    rows = [
        row(number, number, "finished", [1 + (point[RATE] > 1e-3) + point[DROPOUT]], **point)
        for number, point in enumerate(map(sweep.point, range(64)))
    ]
    found = importance.importances(sweep, rows)
    # Of independent parts: 1/4 is the variance of the step, and 0.4 squared / 12 that of the rest.
    assert found[RATE] == pytest.approx(0.25 / (0.25 + 0.4**2 / 12), abs=0.05)
    # Neither explains anything by itself, but the two together do; trees see a part of it.
    signs = grid_rows(lambda one, other: 2 + (1 if (one > 0.2) == (other > 0.1) else -1))
    written = {RATE: [0.1, 0.2, 0.3, 0.4], DROPOUT: [0.0, 0.1, 0.2, 0.3]}
    found = importance.importances(Sweep.read(mixer.get_config().to_dict(), written), signs)
    assert sum(found.values()) < 0.7


def test_importance_without_optuna_is_left_out_and_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    written = {RATE: [0.1, 0.2, 0.3, 0.4], DROPOUT: [0.0, 0.1, 0.2, 0.3]}
    sweep = Sweep.read(mixer.get_config().to_dict(), written)
    found, said = importance.described(sweep, grid_rows(lambda one, _: 1 + one))
    assert found == {} and "pip install 'mlpvis_jax[sweep]'" in said


def test_points_in_one_place_are_told_apart():
    points = {0: (1.0, 5.0), 1: (1.0, 5.0), 2: (1.0, 5.01), 3: (1.0, 6.0), 4: (2.0, 5.0)}
    moved = marks.spread(points, radius=(0.1, 0.1), most=0.4)
    assert moved == pytest.approx({0: 1.0, 1: 1.2, 2: 0.8, 3: 1.0, 4: 2.0})
    many = marks.spread(dict.fromkeys(range(41), (0.0, 0.0)), radius=(0.1, 0.1), most=0.4)
    assert max(map(abs, many.values())) == pytest.approx(0.4)
    assert len(set(many.values())) == 41


def test_the_epochs_that_a_trial_will_have():
    # Sixteen trials, halved after epochs 2 and 4 of 10: 16 x 2, 8 x 2, 4 x 6 epochs.
    assert culling.expected_epochs(0, 10, (2, 4), 2) * 16 == 32 + 16 + 24
    assert culling.expected_epochs(2, 10, (2, 4), 2) * 8 == 16 + 24
    assert culling.expected_epochs(7, 10, (2, 4), 2) == 3
    assert culling.expected_epochs(3, 10, (), 2) == 7


@pytest.mark.slow
def test_no_picture_ends_a_sweep(sweep, launch_main, monkeypatch, capfd):
    def fail(*arguments, **options):
        raise ValueError("Key backend: no valid value")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", fail)
    assert launch_main(f"--workdir={sweep.path}") == 0  # it is over, and reports once more
    out, err = capfd.readouterr()
    assert f"table        {sweep.table}" in out and "pictures     none" in out
    lines = [line for line in err.splitlines() if "is left out (ValueError: Key backend" in line]
    drawn = {line.partition(" is left")[0].rpartition("/")[2] for line in lines}
    assert {"dimensions.png", "heat_map.png", "learning_curves.png"} <= drawn


@pytest.mark.slow
def test_tensorboard_is_told_the_hyperparameters(sweep):
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

    found = {}
    for path in sweep.events.glob("*/events.*"):
        data, offset = path.read_bytes(), 0
        while offset < len(data):  # TFRecord: length, its checksum, the event, its checksum
            length = int.from_bytes(data[offset : offset + 8], "little")
            event = Event.FromString(data[offset + 12 : offset + 12 + length])
            offset += length + 16
            for value in event.summary.value:
                run = found.setdefault(path.parent.name, {})
                content = value.metadata.plugin_data.content
                started = HParamsPluginData.FromString(content).session_start_info.hparams
                run.update({key: told.number_value for key, told in started.items()})
                if not content:
                    run[value.tag] = value.simple_value
    assert len(found) == 8  # all but those that diverged before an epoch's end
    for name, told in found.items():
        outcome = sweep.read_outcome(int(name.removeprefix("trial ")))
        assert told[RATE] == pytest.approx(outcome["values"][RATE])
        assert told["best/validation_loss"] == pytest.approx(outcome["validation_loss"])


@pytest.mark.slow
def test_the_best_config_runs_as_it_is_and_gives_the_trial_again(sweep, launch_main, tmp_path):
    best = json.loads(sweep.best_config.read_text())
    assert launch_main(f"--config={sweep.best_config}", f"--workdir={tmp_path / 'again'}") == 0
    rows = [(number, sweep.read_outcome(number)) for number in range(12)]
    found = next(
        number
        for number, outcome in rows
        if outcome["values"]["seed"] == best["seed"]
        and outcome["values"][RATE] == best["optimizer"]["learning_rate"]
        and outcome["values"]["model.dropout_rate"] == best["model"]["dropout_rate"]
    )
    assert sweep.read_outcome(found)["state"] == "finished"
    again = [
        json.loads(line) for line in (tmp_path / "again/metrics.jsonl").read_text().splitlines()
    ]
    assert [one["validation_loss"] for one in again] == pytest.approx(
        [one["validation_loss"] for one in sweep.read_history(found)], rel=1e-4
    )


@pytest.mark.slow
def test_a_finished_sweep_only_reports(sweep, launch_main, capsys):
    before = {path: path.stat().st_mtime_ns for path in sweep.trials.rglob("*")}
    table = sweep.table.read_text()
    assert launch_main(f"--workdir={sweep.path}") == 0
    printed = capsys.readouterr().out
    assert "goes on" in printed and "after 12 trials" in printed and "Ranked by" in printed
    assert {path: path.stat().st_mtime_ns for path in sweep.trials.rglob("*")} == before
    assert sweep.table.read_text() == table


@pytest.mark.slow
def test_more_trials_go_on_from_the_old_ones(sweep, launch_main, tiny_npz, tmp_path):
    arguments = [
        *soak.settings(tiny_npz),
        *("--config.duration=1", f"--sweep.{RATE}=uniform(0.001, 0.01)"),
        *("--sweep.strategy=random", f"--workdir={tmp_path / 'sweep'}"),
    ]
    assert launch_main(*arguments, "--sweep.num_trials=2") == 0
    folder = SweepFolder(tmp_path / "sweep")
    before = [folder.read_outcome(number) for number in range(2)]
    assert launch_main(*arguments, "--sweep.num_trials=3") == 0
    assert [folder.read_outcome(number) for number in range(2)] == before
    assert folder.read_outcome(2)["state"] == "finished"


@pytest.mark.slow
def test_tpe_learns_from_what_was_trained(launch_main, tiny_npz, tmp_path):
    pytest.importorskip("optuna")
    arguments = [
        *soak.settings(tiny_npz),
        *("--config.duration=1", f"--sweep.{RATE}=log_uniform(1e-5, 1e-1)"),
        *("--sweep.model.dropout_rate=[0.1, 0.2]", "--sweep.strategy=tpe"),
        *("--sweep.num_trials=6", "--sweep.trials_per_program=2"),
    ]
    found = []
    for name in ("first", "second"):
        assert launch_main(*arguments, f"--workdir={tmp_path / name}") == 0
        folder = SweepFolder(tmp_path / name)
        found.append([folder.read_outcome(number)["values"] for number in range(6)])
    assert found[0] == found[1]  # the same results, the same suggestions
    assert len({values[RATE] for values in found[0]}) == 6
    assert all(1e-5 <= values[RATE] <= 1e-1 for values in found[0])
    assert len(list((tmp_path / "first/groups").glob("*"))) >= 3
