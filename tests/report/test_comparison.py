"""The comparison of runs: groups of seeds, a table, curves, and paired tests of predictions."""

import csv
import dataclasses
import json
import shutil
import statistics
import types

import numpy as np
import pytest

from mlpvis_jax.errors import InputError
from mlpvis_jax.files.run_folder import RunFolder, read_json
from mlpvis_jax.pictures import mcnemar
from mlpvis_jax.report import comparison
from mlpvis_jax.report import runs as runs_module
from mlpvis_jax.report.paired import compare_with_best
from mlpvis_jax.report.runs import find_runs, group_by_settings
from tests import tiny
from tests.report.parsed import ParsedPage

pytestmark = pytest.mark.slow  # three runs are trained

RANDOM = np.random.default_rng(1)
LABELS = np.arange(100) % 2
IMAGES = RANDOM.integers(0, 200, (100, 8, 8, 3)) + 8 * LABELS[:, None, None, None]
RUNS = {"a/0": {"seed": 0}, "a/1": {"seed": 1}, "b": {"model.width": 4}}


@pytest.fixture(scope="module")
def runs(launch_main, write_npz, tmp_path_factory):
    """Three runs, of which two differ in the seed alone; one has a report."""
    source = write_npz(IMAGES, LABELS, training=40)
    root = tmp_path_factory.mktemp("compared")
    for name, changes in RUNS.items():
        arguments = tiny.settings(source, duration=2, **changes)
        assert launch_main(*arguments, f"--workdir={root / name}") == 0
    assert launch_main("--mode=evaluate", f"--workdir={root / 'b'}") == 0
    return root


def compared(launch_main, root, output):
    patterns = f"{root}/a/*,{root}/b"
    return launch_main("--mode=compare", f"--workdirs={patterns}", f"--output={output}")


def test_seeds_are_one_group(runs):
    groups, keys = group_by_settings(find_runs(f"{runs}/a/*,{runs}/b"))
    assert keys == ["model.width"]
    assert [group.name for group in groups] == ["a/0 (2 runs)", "b"]
    assert [group.values for group in groups] == [{"model.width": 8}, {"model.width": 4}]


def test_of_runs_of_one_seed_a_mean_counts_one(runs):
    first, second = find_runs(f"{runs}/a/*")
    begun = dataclasses.replace(first, name="a/2", results={})
    ((group,), _) = group_by_settings([begun, first, dataclasses.replace(first), second])
    assert group.name == "a/2 (4 runs, 2 seeds)"
    assert [run.config.seed for run in group.one_of_each_seed] == [0, 1]
    assert group.one_of_each_seed[0].results
    # With one seed there is nothing that a deviation could be of.
    ((group,), _) = group_by_settings([first, dataclasses.replace(first)])
    _, ((name, accuracy, *_),) = comparison._table_of_groups([group], [])
    assert name == "0 (2 runs, 1 seed)" and "±" not in accuracy


def test_settings_of_the_machine_count_for_nothing(runs):
    first, second = find_runs(f"{runs}/a/*")
    model = first.config.model
    options = {**model.options, "remat": True}
    changed = dataclasses.replace(first.config, model=dataclasses.replace(model, options=options))
    groups, keys = group_by_settings([dataclasses.replace(first, config=changed), second])
    assert keys == []
    assert len(groups) == 1


def test_runs_whose_transforms_have_another_order_are_no_seeds_of_one_setting(runs):
    first, second = find_runs(f"{runs}/a/*")
    transforms = {"flip": {"probability": 0.5}, "random_crop": {"padding": 1.0}}
    found = []
    for run, items in ((first, transforms.items()), (second, reversed(transforms.items()))):
        config = dataclasses.replace(run.config, augment=dict(items))
        found.append(dataclasses.replace(run, config=config))
    groups, keys = group_by_settings(found)
    assert keys == ["augment"]
    assert [group.values["augment"] for group in groups] == [
        "flip, random_crop",
        "random_crop, flip",
    ]


def test_the_comparison(runs, launch_main, capsys, tmp_path):
    capsys.readouterr()
    assert compared(launch_main, runs, tmp_path / "out") == 0
    out = capsys.readouterr().out
    # The predictions of b are in its report.
    assert "Predicting with a/0 ..." in out and "Predicting with b ..." not in out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *("comparison.csv", "learning_curves.png", "learning_curves_by_time.png"),
        *("report.html", "report.json"),
    ]
    results = {name: read_json(runs / name / "results.json") for name in RUNS}
    rows = list(csv.DictReader((tmp_path / "out" / "comparison.csv").open(newline="")))
    assert [row["run"] for row in rows] == list(RUNS)
    assert [row["model.width"] for row in rows] == ["8", "8", "4"]
    accuracies = [results[name]["test_accuracy"] for name in RUNS]
    assert [float(row["test_accuracy"]) for row in rows] == accuracies
    parsed = ParsedPage((tmp_path / "out" / "report.html").read_text())
    parsed.check_self_contained()
    (group,) = [row for row in parsed.rows if row[0] == "a/0 (2 runs)"]
    of_seeds = [100 * one for one in accuracies[:2]]
    mean, deviation = statistics.fmean(of_seeds), statistics.stdev(of_seeds)
    assert f"{mean:.2f} ± {deviation:.2f}%" in group
    assert "The runs differ in model.width." in parsed.text


def test_paired_tests_are_of_the_very_images(runs):
    found = find_runs(f"{runs}/a/*,{runs}/b")
    right = {name: right_by_hand(runs / name) for name in RUNS}
    tests = compare_with_best(found)
    best = max(RUNS, key=lambda name: right[name].sum())
    assert {one.best for one in tests} == {best}
    assert {one.other for one in tests} == set(RUNS) - {best}
    for one in tests:
        assert one.test == mcnemar(right[best], right[one.other])
    smaller, larger = sorted(tests, key=lambda one: one.test.p_value)
    assert smaller.adjusted == pytest.approx(min(1, 2 * smaller.test.p_value))
    assert larger.adjusted == pytest.approx(max(smaller.adjusted, larger.test.p_value))


def right_by_hand(path):
    import mlpvis_jax

    predictions = mlpvis_jax.load(path).predict(IMAGES[40:].astype(np.uint8))
    return predictions.probabilities.argmax(axis=-1) == LABELS[40:]


def test_predictions_of_other_weights_are_not_believed(runs, capsys, tmp_path):
    shutil.copytree(runs, tmp_path / "runs")
    shutil.copy(runs / "a/0/best.safetensors", tmp_path / "runs/a/1/best.safetensors")
    shutil.copytree(runs / "b/report", tmp_path / "runs/a/1/report")
    found = find_runs(f"{tmp_path}/runs/a/*")
    (test,) = compare_with_best(found)
    assert "Predicting with 1 ..." in capsys.readouterr().out
    assert (test.test.only_first, test.test.only_second, test.test.p_value) == (0, 0, 1)


def test_predictions_with_other_settings_are_not_believed(runs, launch_main, capsys, tmp_path):
    """The report of a run's own settings is used, and one of averaged mirror images is not."""
    shutil.copytree(runs, tmp_path / "runs")
    arguments = ["--mode=evaluate", f"--workdir={tmp_path / 'runs/b'}"]
    found = find_runs(f"{tmp_path}/runs/b,{tmp_path}/runs/a/0")
    compare_with_best(found)
    assert "Predicting with b" not in capsys.readouterr().out
    assert launch_main(*arguments, "--config.average_flips=True") == 0
    compare_with_best(found)
    assert "Predicting with b" in capsys.readouterr().out


def test_a_run_that_has_not_ended_is_listed(runs, launch_main, capsys, tmp_path):
    shutil.copytree(runs, tmp_path / "runs")
    for name in ("results.json", "best.safetensors"):
        (tmp_path / "runs" / "b" / name).unlink()
    assert compared(launch_main, tmp_path / "runs", tmp_path / "out") == 0
    rows = ParsedPage((tmp_path / "out" / "report.html").read_text()).rows
    assert ["b", "0", "not ended", "-", "-", "2"] in [row[:6] for row in rows]
    assert "against" in capsys.readouterr().out


def test_a_figure_says_of_how_many_runs_it_is(runs, launch_main, capsys, tmp_path):
    shutil.copytree(runs, tmp_path / "runs")
    (tmp_path / "runs/a/1/results.json").unlink()
    assert compared(launch_main, tmp_path / "runs", tmp_path / "out") == 0
    accuracy = 100 * read_json(runs / "a/0/results.json")["test_accuracy"]
    assert f"{accuracy:.2f}% (1 of 2)" in capsys.readouterr().out


def test_a_run_without_weights_costs_a_line(runs, launch_main, capsys, tmp_path):
    shutil.copytree(runs, tmp_path / "runs")
    (tmp_path / "runs/a/1/best.safetensors").unlink()
    shutil.rmtree(tmp_path / "runs/a/1/checkpoints")  # which would restore them
    assert compared(launch_main, tmp_path / "runs", tmp_path / "out") == 0
    told = capsys.readouterr()
    assert "best.safetensors cannot be read (No such file or directory)" in told.err
    assert "against" in told.out


def test_runs_that_were_trained_on_other_images_are_no_group(runs, launch_main, tmp_path):
    found = find_runs(f"{runs}/a/*")
    others = {**found[1].data, "training": {**found[1].data["training"], "images": "0" * 32}}
    groups, keys = group_by_settings([found[0], dataclasses.replace(found[1], data=others)])
    assert keys == ["training images"]
    assert [group.values for group in groups] == [{"training images": 1}, {"training images": 2}]
    started = dataclasses.replace(found[1], initial_weights="0" * 32)
    assert group_by_settings([found[0], started])[1] == ["initial weights"]
    not_ended = dataclasses.replace(found[1], data={}, results={})
    assert group_by_settings([found[0], not_ended])[1] == []


def test_runs_of_other_test_images_are_not_compared(runs, launch_main, write_npz, tmp_path):
    other = write_npz(255 - IMAGES, LABELS, training=40)
    arguments = tiny.settings(other, duration=1)
    assert launch_main(*arguments, f"--workdir={tmp_path / 'run'}") == 0
    with pytest.raises(InputError, match=r"run were tested on different test sets .*60 images"):
        find_runs(f"{runs}/a/0,{tmp_path}/run")


def test_what_holds_no_run_is_passed_over_if_a_pattern_finds_it(runs, tmp_path):
    (runs / "a" / "notes").mkdir(exist_ok=True)
    assert [run.name for run in find_runs(f"{runs}/a/*")] == ["0", "1"]
    assert RunFolder(runs / "b").holds_run()
    with pytest.raises(InputError, match="notes holds no run"):
        find_runs(f"{runs}/a/0,{runs}/a/notes")


def test_results_of_a_run_that_goes_on_for_longer_count_for_nothing(runs, tmp_path):
    shutil.copytree(runs, tmp_path / "runs")
    path = tmp_path / "runs" / "b" / "config.json"
    config = json.loads(path.read_text())
    for duration, has_ended in (("2 epochs", True), ("4 epochs", False)):
        path.write_text(json.dumps({**config, "duration": duration}))
        first, second = find_runs(f"{tmp_path}/runs/a/0,{tmp_path}/runs/b")
        assert first.accuracy is not None and (second.accuracy is not None) == has_ended


def test_a_run_of_an_older_version_said_less_of_its_test_set():
    def run(name, image_size=8, **told):
        data = {"test": {"number": 3, **told}, "image_shape": [image_size, image_size, 3]}
        of_data = types.SimpleNamespace(source="digits", framing="centre")
        config = types.SimpleNamespace(data=of_data)
        return types.SimpleNamespace(name=name, config=config, data=data)

    old, new = run("old", images="a", labels="b"), run("new", images="a", labels="b", marks="c")
    runs_module._refuse_other_test_sets([old, new], "runs/*")
    other = run("other", images="d", labels="b", marks="c")
    with pytest.raises(InputError, match="old and other were tested on different test sets"):
        runs_module._refuse_other_test_sets([old, other], "runs/*")
    # The same files decoded to another size.
    larger = run("larger", image_size=16, images="d", labels="b", marks="c")
    runs_module._refuse_other_test_sets([new, larger], "runs/*")
    with pytest.raises(InputError, match="new and other were tested on different test sets"):
        runs_module._refuse_other_test_sets([new, other], "runs/*")
    with pytest.raises(InputError, match="old and larger were tested on different test sets"):
        runs_module._refuse_other_test_sets([old, larger], "runs/*")
