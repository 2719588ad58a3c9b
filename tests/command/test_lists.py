"""--help, --list and --print_config: what a person finds before anything runs."""

import dataclasses
import json
import re
import sys
from types import SimpleNamespace

import pytest

from configs import mixer
from mlpvis_jax.command.lists import LISTS
from mlpvis_jax.models import PRESETS
from mlpvis_jax.settings.config import closed_settings
from tests import tiny


@pytest.fixture
def run(launch_main, capfd, monkeypatch):
    """A function: what a command line prints, which must end well."""

    def call(*arguments):
        assert launch_main(*arguments) == 0
        return capfd.readouterr().out

    return call


@pytest.mark.parametrize("topic", [topic for topic in LISTS if topic != "models"])
def test_every_table_is_printed(run, topic):
    head, rule, *rows = run(f"--list={topic}").splitlines()
    assert set(rule.strip()) == {"─"} and len(rows) > 2
    assert head.split()[0] in rows[-1].lower() or topic == "settings"  # how to use one


def test_models_have_their_published_sizes(run, monkeypatch):
    some = ("mixer_keras", "mixer_s32", "gmlp_ti16")
    monkeypatch.setattr("mlpvis_jax.models.presets.PRESETS", {key: PRESETS[key] for key in some})
    rows = [line.split() for line in run("--list=models").splitlines()[2:5]]
    assert [row[:2] for row in rows] == [
        ["mixer_keras", "242,788"],
        ["mixer_s32", "19,104,624"],  # the Mixer paper, table 1: 19 million
        ["gmlp_ti16", "5,867,328"],  # the gMLP paper, table 1: 6 million
    ]
    # The papers' billions of multiplications, each with its addition: two operations.
    assert [float(row[2]) for row in rows[1:]] == pytest.approx([2 * 1.0, 2 * 1.4], rel=0.06)
    assert [row[4:6] for row in rows] == [["64", "64"], ["224", "49"], ["224", "196"]]


def test_variants_and_sweeps_are_those_of_configs(run):
    names = re.findall(r"^(\S+) ", run("--list=variants"), re.MULTILINE)
    assert {"mixer", "mixer:paper", "fnet:digits", "gmlp", "imagenet/gmlp_s16"} <= set(names)
    assert {"lr_wd", "lr_wd_dropout"} <= set(
        re.findall(r"^(\S+) ", run("--list=sweeps"), re.MULTILINE)
    )


@dataclasses.dataclass
class Published:
    parameters: int
    source: str
    sha256: str = dataclasses.field(default="-", repr=False)


def test_published_weights_are_those_of_their_table(run, monkeypatch):
    table = {"one": Published(1200, "here"), "other": Published(34, "there")}
    weights = SimpleNamespace(PRETRAINED=table)
    monkeypatch.setitem(sys.modules, "mlpvis_jax.weights", weights)
    head, _, one, other, *_ = [line.split() for line in run("--list=weights").splitlines()]
    assert head == ["name", "parameters", "source"]
    assert (one, other) == (["one", "1,200", "here"], ["other", "34", "there"])


def test_settings_are_all_there(run):
    printed = run("--list=settings")
    assert all(f"config.{key} " in printed for key in closed_settings())


def test_help_has_examples_that_are_flags(run):
    text = run("--help")
    for flag in ("--list", "--print_config", "--mode", "--sweep"):
        assert flag in text
    assert "mlpvis --config=mixer:digits" in text


@pytest.mark.slow
def test_print_config_is_what_a_run_would_have_and_runs_nothing(run, tiny_npz, tmp_path):
    folder = tmp_path / "run"
    arguments = tiny.settings(tiny_npz, duration=2)
    printed = run(*arguments, "--print_config", f"--workdir={folder}")
    assert not folder.exists()
    run(*arguments, f"--workdir={folder}")
    assert json.loads(printed) == json.loads((folder / "config.json").read_text())
    assert run(f"--workdir={folder}", "--print_config") == printed


def test_print_config_of_a_sweep(run, tmp_path):
    told = json.loads(run("--config=mixer", "--sweep.seed=seeds(2)", "--sweep.model.width=[8, 16]",
                          f"--workdir={tmp_path / 'sweep'}", "--print_config"))  # fmt: skip
    assert told["sweep"]["model.width"] == [8, 16] and told["sweep"]["seed"] == [0, 1]
    assert told["config"]["model"]["name"] == mixer.get_config().model.name
    assert not (tmp_path / "sweep").exists()


def test_a_setting_that_is_given_and_swept_is_named(launch_main, capsys):
    given = "--config.optimizer.learning_rate=0.3"
    rates = "--sweep.optimizer.learning_rate=[0.1, 0.2]"
    assert launch_main("--config=mixer", given, rates, "--print_config") == 0
    named = "config.optimizer.learning_rate is swept, so 0.3 is not used.\n"
    assert capsys.readouterr().err == named
    # Seeds are counted on from the one that is given.
    seeds = ("--config.seed=3", "--sweep.seed=seeds(2)")
    assert launch_main("--config=mixer", *seeds, "--print_config") == 0
    assert capsys.readouterr().err == ""
