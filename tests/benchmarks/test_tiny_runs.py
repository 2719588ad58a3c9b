"""Each benchmark, as small as it gets: what it measures has the shape that it promises."""

import json

import numpy as np
import pytest

from benchmarks import (
    ablation,
    breakdown,
    checkpointing,
    population,
    scaling,
    stream,
    sweep,
    throughput,
)
from mlpvis_jax.files.recipe import recipe

pytestmark = pytest.mark.first

TINY = ("batch_size=8", "model.width=8", "model.num_blocks=1", "model.image_size=16")
SUMMARY = {"median", "least", "most", "rounds"}


@pytest.fixture(autouse=True)
def made_up_images(monkeypatch):
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)


@pytest.fixture
def run(tmp_path):
    """Runs a benchmark's command line; returns what it wrote."""

    def call(benchmark, *arguments):
        path = tmp_path / "result.json"
        results = benchmark.main([*arguments, "--seconds", "0", "--out", str(path)])
        record = json.loads(path.read_text())
        assert record["results"] == results
        name = benchmark.__name__.removeprefix("benchmarks.")
        assert record["benchmark"] == name
        assert record["command"].startswith(f"python -m benchmarks.{name} ")
        assert {"date", "git_revision", "hardware", "versions", "data", "settings"} <= set(record)
        assert {"cpu", "cores", "device"} == set(record["hardware"])
        return record["results"]

    return call


@pytest.mark.slow
def test_throughput(run):
    results = run(
        throughput,
        *("--models", "mixer", "--images", "16", "--rounds", "2", "--starts", "1"),
        *("--product-size", "16", "--set", *TINY),
    )
    measured = results["mixer"]
    assert set(measured["libraries"]) == {throughput.PROJECT}
    ours = measured["libraries"][throughput.PROJECT]
    assert set(ours["images_per_second"]) == SUMMARY
    assert len(ours["images_per_second"]["rounds"]) == 2
    assert ours["batch_size"] == 8
    assert 100e6 < ours["host_peak_bytes"] < 100e9  # a process with JAX: bytes, not kilobytes
    # 4 tokens of 192 values, width 8; hidden widths 64; 16 classes.
    forward = {"stem": 4 * 192 * 8, "block": 2 * 8 * 4 * 64 + 2 * 4 * 8 * 64, "head": 8 * 16}
    by_hand = 2 * (2 * forward["stem"] + 3 * (forward["block"] + forward["head"]))
    assert ours["flop_per_image"] == by_hand
    assert ours["gflop_per_step"] == pytest.approx(8 * by_hand / 1e9)
    assert ours["launch_to_first_step_seconds"]["source"] == "npz"
    assert ours["launch_to_first_step_seconds"]["cold"] > 0
    assert ours["launch_to_first_step_seconds"]["warm"] == []
    assert len(measured["matrix_product"]["gflop_per_second"]["rounds"]) == 2


def test_the_rows_of_an_ablation_lead_from_one_recipe_to_the_other():
    configs = list(ablation.configs_of_rows("mixer", "best").values())
    assert configs[0] == recipe("mixer")
    assert configs[-1] == {**recipe("mixer:best"), "duration": configs[0]["duration"]}
    assert list(configs[-1]["augment"]) == ["random_crop", "flip_zoom"]
    assert len(configs) == len(ablation.ROWS)
    of_fast = ablation.configs_of_rows("fnet", "fast")
    assert list(of_fast) == list(ablation.ROWS)[:-2]  # it crops and mixes nothing
    assert {**of_fast["Muon in place of AdamW"], "duration": "5 epochs"} == recipe("fnet:fast")
    for variant in ("digits", "paper"):
        with pytest.raises(ValueError, match=f"The rows do not lead to mixer:{variant}, which"):
            ablation.configs_of_rows("mixer", variant)


@pytest.mark.slow
def test_an_ablation_is_made_in_several_sittings(tmp_path, capfd):
    out = tmp_path / "result.json"
    few = ("data.source=digits", "model.width=8", "model.image_size=16", "data.limit=32")
    arguments = [
        *("--variant", "fast", "--duration", "2 epochs", "--folder", str(tmp_path / "runs")),
        *("--out", str(out), "--set", *few, "batch_size=8", "model.num_blocks=1"),
    ]
    first = ablation.main([*arguments, "--rows", "6"])
    assert list(first) == ["Muon in place of AdamW"]
    both = ablation.main([*arguments, "--rows", "0", "6"])
    assert list(both) == ["the example's recipe", "Muon in place of AdamW"]
    assert both["Muon in place of AdamW"] == first["Muon in place of AdamW"]
    assert json.loads(out.read_text())["results"] == both
    assert "measured before" in capfd.readouterr().err
    for one in both.values():
        assert len(one["validation_accuracy"]) == len(one["seconds"]) == 2
    with pytest.raises(ValueError, match="rows of --seeds 2, not 3"):
        ablation.main([*arguments, "--seeds", "3"])


def test_peers_are_of_the_three_models_only():
    with pytest.raises(SystemExit):
        throughput.main(["--peers", "--models", "mixer_b16"])


@pytest.mark.slow
def test_breakdown(run):
    results = run(breakdown, "--models", "fnet", "--images", "16", "--rounds", "1", "--set", *TINY)
    parts = results["fnet"]["part_seconds"]
    names = ["input", "augmentation", "forward", "backward", "random", "optimiser", "dispatch"]
    assert list(parts) == names
    programs = results["fnet"]["program_seconds"]
    assert all(set(summary) == SUMMARY for summary in programs.values())
    of_a_step = sum(parts.values()) - parts["dispatch"]
    assert of_a_step == pytest.approx(programs["full"]["median"])


@pytest.mark.slow
def test_checkpointing(run):
    arguments = ("--models", "gmlp", "--images", "16", "--rounds", "2", "--set", *TINY)
    measured = run(checkpointing, *arguments)["gmlp"]
    assert set(measured["with"]) == set(measured["without"]) == set(measured["cost_seconds"])
    differences = zip(measured["with"]["rounds"], measured["without"]["rounds"], strict=True)
    costs = [one - other for one, other in differences]
    assert measured["cost_seconds"]["rounds"] == costs
    epoch = measured["without"]["median"] * 45_000 / 16
    share = measured["cost_seconds"]["median"] / min(epoch, 600)
    assert measured["share_at_defaults"] == pytest.approx(share)


@pytest.mark.slow
def test_scaling(run, monkeypatch):
    monkeypatch.setattr(scaling, "BASE", {"tokens": 16, "width": 8, "depth": 1, "batch": 2})
    monkeypatch.setitem(scaling.AXES, "tokens", (16, 36))
    results = run(scaling, "--axes", "tokens", "--rounds", "1", "--models", "mixer", "gmlp", "vit")
    assert set(results["tokens"]["points"]) == {"mixer", "gmlp", "vit"}
    for points in results["tokens"]["points"].values():
        assert [point["size"] for point in points] == [16, 36]
        assert all(point["bytes"] > 0 for point in points)
        assert all(set(point["step_seconds"]) == SUMMARY for point in points)
    exponents = results["tokens"]["exponents"]["gmlp"]
    assert set(exponents) == {"time", "memory"}
    assert set(exponents["time"]["all"]) == SUMMARY
    memory = [point["bytes"] for point in results["tokens"]["points"]["gmlp"]]
    expected = np.log(memory[1] / memory[0]) / np.log(36 / 16)
    assert exponents["memory"]["largest_two"] == pytest.approx(expected)


@pytest.mark.parametrize("model", ["mixer", "fnet", "gmlp", "vit"])
def test_a_point_keeps_the_presets_proportions(model):
    sizes = {"tokens": 36, "width": 512, "depth": 3, "batch": 7}
    config = scaling.point_config(model, sizes, ["model.dtype=bfloat16"])
    options = config.model.options
    assert (config.model.image_size // options["patch_size"]) ** 2 == 36
    assert (options["width"], options["num_blocks"], config.batch_size) == (512, 3, 7)
    hidden = {"mixer": 2 * 64, "fnet": 2 * 256, "gmlp": 2 * 512, "vit": 2 * 256}[model]
    assert options.get("num_heads") == (8 if model == "vit" else None)  # of 64 channels
    assert hidden in (options.get("channels_hidden_dim"), options.get("hidden_dim"))
    assert "tokens_hidden_dim" not in options  # as the preset has it
    assert options["dtype"] == "bfloat16"


def test_every_grid_divides_the_image():
    for tokens in scaling.AXES["tokens"]:
        grid = round(tokens**0.5)
        assert grid**2 == tokens
        assert scaling.IMAGE_SIZE % grid == 0


@pytest.mark.slow
def test_population(run):
    arguments = ("--models", "mixer", "--images", "16", "--rounds", "2", "--numbers", "1", "3")
    measured = run(population, *arguments, "--set", *TINY)["mixer"]
    assert set(measured["populations"]) == {"1", "3"} and measured["out_of_memory"] is None
    assert measured["trials_that_fit"] >= 1
    for one in measured["populations"].values():
        rates, solo = one["images_per_second"]["rounds"], one["solo_images_per_second"]["rounds"]
        ratios = [rate / other for rate, other in zip(rates, solo, strict=True)]
        assert one["times_solo"]["rounds"] == ratios and len(ratios) == 2


@pytest.mark.slow
def test_sweep(tmp_path):
    path = tmp_path / "result.json"
    arguments = ["--trials", "2", "--images", "36", "--set", *TINY, "--out", str(path)]
    results = sweep.main(arguments)
    assert json.loads(path.read_text())["results"] == results
    measured = results["mixer"]
    assert len(measured["solo_seconds"]) == 2
    assert measured["ratio"] == measured["sweep_seconds"] / sum(measured["solo_seconds"])
    assert 0 < measured["pure_training_seconds"] < sum(measured["solo_seconds"])


@pytest.mark.slow
def test_stream(run):
    pytest.importorskip("grain", reason="Grain, which streams are read with, is not installed")
    results = run(
        stream,
        *("--images", "80", "--shape", "30", "40", "--size", "16", "--rounds", "2"),
        *("--cores", "1", "--sets", "300", "--set-size", "16", "--batch", "100"),
    )
    libraries = results["decoding"]["1"]["libraries"]
    assert {"mlpvis_jax, threads", "mlpvis_jax, processes"} <= set(libraries)
    for found in libraries.values():
        assert set(found["images_per_second"]) == SUMMARY
        assert len(found["images_per_core_second"]["rounds"]) == 2
    epoch = results["epochs"]["300"]
    assert 0 < epoch["seconds_to_first_batch"] <= epoch["seconds_of_epoch"]
    assert 50e6 < epoch["memory_bytes"]["most"] < 100e9
