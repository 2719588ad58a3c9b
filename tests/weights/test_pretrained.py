"""Published weights by name: fetched once, resumed, checked; and files by their path."""

import base64
import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

import mlpvis_jax
from mlpvis_jax import weights
from mlpvis_jax.errors import InputError
from mlpvis_jax.files.weights import save_weights
from mlpvis_jax.models import create_model
from mlpvis_jax.weights import PRETRAINED, Published, load_pretrained
from mlpvis_jax.weights.architecture import shapes_of

FOLDER = Path(__file__).parents[1] / "parity" / "published"
AUTHORS, TIMM = FOLDER / "mixer_authors.npz", FOLDER / "gmlp_timm.safetensors"
CLASSES = 7
REVISION = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    """The folder of this test that weights are kept in."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "mlpvis_jax" / "weights"


def md5(content):
    return base64.b64encode(hashlib.md5(content).digest()).decode()


def row(monkeypatch, path, source, **changes):
    """Makes a file of FOLDER the published weights "small"."""
    params = weights.read(path).params
    number = sum(leaf.size for leaf in jax.tree.leaves(params))
    values = {"classes": CLASSES, "parameters": number, **changes}
    published = Published(
        model="mixer_s16", trained_on="-", accuracy="-", licence="-", source=source, **values
    )
    monkeypatch.setitem(PRETRAINED, "small", published)


@pytest.fixture
def small(server, monkeypatch):
    """Published weights, on a server that answers as Google's storage does."""
    server.content = AUTHORS.read_bytes()
    server.headers = {"x-goog-hash": f"crc32c=AAAAAA==,md5={md5(server.content)}"}
    row(monkeypatch, AUTHORS, f"{server.url}/mixer_models/Mixer-B_16.npz")
    return server


def same(loaded):
    expected = weights.read(AUTHORS).params
    assert jax.tree.all(jax.tree.map(np.array_equal, loaded.parameters, expected))


def test_fetched_once_and_kept(small, cache):
    model, parameters, scaling = mlpvis_jax.load_pretrained("small")
    assert model.num_classes == CLASSES and model.num_blocks == 2
    images = np.random.default_rng(0).integers(0, 256, (2, 30, 20, 3), np.uint8)
    seen = scaling(images)
    assert seen.shape == (2, 12, 12, 3)
    assert model.apply({"params": parameters}, seen).shape == (2, CLASSES)
    np.testing.assert_array_equal(
        scaling.normalization(np.uint8([[0, 255, 51]])), np.float32([[-1, 1, -0.6]])
    )
    assert [path.name for path in cache.iterdir()] == ["small.npz"]
    assert (cache / "small.npz").read_bytes() == small.content
    small.shutdown()
    same(load_pretrained("small"))
    assert small.ranges == [None]


def test_another_folder(small, cache, tmp_path):
    same(load_pretrained("small", cache_dir=tmp_path / "elsewhere"))
    assert not cache.exists()
    assert (tmp_path / "elsewhere" / "small.npz").exists()


def test_cut_off_and_resumed(small, cache):
    small.cut_off_after = 5000
    with pytest.raises(InputError, match=f"broke off after 5000 of {len(small.content)} bytes"):
        load_pretrained("small")
    assert (cache / "small.npz.part").read_bytes() == small.content[:5000]
    same(load_pretrained("small"))
    assert small.ranges == [None, "bytes=5000-"]
    assert [path.name for path in cache.iterdir()] == ["small.npz"]


def test_a_wrong_checksum_is_refused_and_not_kept(small, cache):
    right = small.content
    small.content = right[:4000] + bytes([right[4000] ^ 1]) + right[4001:]
    with pytest.raises(InputError, match=r"small.npz has the MD5 \w+ and must have .*; it was rem"):
        load_pretrained("small")
    assert not list(cache.iterdir())
    small.content = right
    same(load_pretrained("small"))


def test_a_known_hash_counts_for_more_than_the_hosts(small, monkeypatch, cache):
    row(monkeypatch, AUTHORS, f"{small.url}/x.npz", sha256="0" * 64)
    with pytest.raises(InputError, match=r"has the SHA-256 \w+ and must have 0{64};"):
        load_pretrained("small")
    assert not list(cache.iterdir())


def test_without_a_checksum_the_file_has_its_own(small, cache):
    small.headers = {}
    small.content = small.content[:300] + b"!!" + small.content[302:]
    with pytest.raises(InputError, match="is damaged or no .npz file of numbers .*remove it"):
        load_pretrained("small")


@pytest.mark.parametrize(
    "headers, message", [({"x-goog-hash": "md5=!!"}, "it tells of the MD5 '!!'"), ({}, None)]
)
def test_what_a_host_tells(small, headers, message):
    small.headers = headers
    if message is None:
        same(load_pretrained("small"))
        return
    with pytest.raises(InputError, match=message):
        load_pretrained("small")


def test_a_host_that_cannot_be_reached(small, cache, monkeypatch):
    small.status = 404
    with pytest.raises(InputError) as raised:
        load_pretrained("small")
    assert str(raised.value) == (
        "The weights small could not be downloaded from 127.0.0.1 (it answered 404 Not Found). Put "
        f"{small.url}/mixer_models/Mixer-B_16.npz at {cache / 'small.npz'} by hand, or give the "
        "path of the file instead of the name."
    )
    row(monkeypatch, AUTHORS, "http://127.0.0.1:9/x.npz")
    with pytest.raises(InputError, match="Connection refused"):
        load_pretrained("small")
    (cache / "small.npz").write_bytes(AUTHORS.read_bytes())  # by hand
    same(load_pretrained("small"))


def test_a_folder_that_cannot_be_written(small, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file/x cannot be written to .*; set cache_dir."):
        load_pretrained("small", cache_dir=tmp_path / "file" / "x")


@pytest.mark.parametrize("changes", [{"classes": 8}, {"parameters": 12}])
def test_another_file_than_the_tables(small, monkeypatch, changes):
    row(monkeypatch, AUTHORS, f"{small.url}/x.npz", **changes)
    with pytest.raises(InputError, match="has 7 classes and 3,469 parameters, and small has"):
        load_pretrained("small")


@pytest.fixture
def hub(server, monkeypatch, tmp_path):
    """A hub with one repository, which huggingface_hub takes for the real one."""
    constants = pytest.importorskip("huggingface_hub.constants")
    config = {"num_classes": CLASSES, "input_size": [3, 12, 12], "mean": [0.5] * 3, "std": [1] * 3}
    contents = {
        "config.json": json.dumps({"pretrained_cfg": config}).encode(),
        "model.safetensors": TIMM.read_bytes(),
    }
    server.files = {
        f"/timm/small/resolve/{revision}/{name}": content
        for name, content in contents.items()
        for revision in ("main", REVISION)
    }
    server.headers = {"X-Repo-Commit": REVISION}
    server.etags = {  # as the hub has them, of what it stores
        path: f'"{hashlib.sha256(content).hexdigest()}"' for path, content in server.files.items()
    }
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, server.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    return server


@pytest.mark.parametrize("revision", [None, REVISION])
def test_from_the_hub(hub, monkeypatch, tmp_path, revision):
    sha256 = hashlib.sha256(TIMM.read_bytes()).hexdigest()
    row(monkeypatch, TIMM, "hub:timm/small", revision=revision, sha256=sha256)
    model, parameters, scaling = load_pretrained("small", cache_dir=tmp_path / "kept")
    expected = load_file(TIMM)["head.weight"].T
    np.testing.assert_array_equal(parameters["head"]["kernel"], expected)
    assert scaling.normalization.mean.tolist() == [127.5] * 3
    asked = [*hub.heads, *hub.ranges]
    assert load_pretrained("small", cache_dir=tmp_path / "kept").model == model
    assert [*hub.heads, *hub.ranges] == asked != []  # the files are kept


@pytest.mark.slow  # huggingface_hub waits for a second
def test_a_file_of_the_hub_that_is_cut_off_is_fetched_again(hub, monkeypatch):
    row(monkeypatch, TIMM, "hub:timm/small")
    hub.cut_off_after = 40  # of config.json, which is fetched first
    assert load_pretrained("small").scaling.image_size == 12
    assert len(hub.ranges) == 3


def test_the_hub_has_another_file(hub, monkeypatch):
    row(monkeypatch, TIMM, "hub:timm/small", sha256="0" * 64)
    with pytest.raises(InputError, match=r"has the SHA-256 \w+ and must have 0{64}; remove it"):
        load_pretrained("small")


def test_a_damaged_file_of_the_hub_is_the_one_to_remove(hub, monkeypatch, tmp_path):
    sha256 = hashlib.sha256(TIMM.read_bytes()).hexdigest()
    row(monkeypatch, TIMM, "hub:timm/small", sha256=sha256)
    load_pretrained("small")
    (blob,) = {path.resolve() for path in (tmp_path / "hub").rglob("model.safetensors")}
    blob.write_bytes(b"damaged")
    with pytest.raises(InputError, match="remove it and try again") as caught:
        load_pretrained("small")
    named = str(caught.value).split()[0]
    assert named == str(blob)
    Path(named).unlink()
    assert load_pretrained("small").scaling.image_size == 12


def test_a_file_that_was_put_there_by_hand_has_the_known_hash(small, cache, monkeypatch):
    row(monkeypatch, AUTHORS, f"{small.url}/x.npz", sha256=hashlib.sha256(b"right").hexdigest())
    cache.mkdir(parents=True)
    (cache / "small.npz").write_bytes(AUTHORS.read_bytes())
    with pytest.raises(InputError, match=r"small.npz has the SHA-256 \w+ and must have"):
        load_pretrained("small")


def test_the_hub_does_not_have_it(hub, monkeypatch):
    row(monkeypatch, TIMM, "hub:timm/small")
    hub.status = 404
    with pytest.raises(InputError, match=r"The weights small could not be fetched from the Huggi"):
        load_pretrained("small")


def test_without_huggingface_hub(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    row(monkeypatch, TIMM, "hub:timm/small")
    with pytest.raises(InputError, match=re.escape("pip install 'mlpvis_jax[hub]'")):
        load_pretrained("small")


@pytest.mark.parametrize("path", [AUTHORS, str(TIMM)])
def test_a_path_needs_no_network(path, monkeypatch):
    monkeypatch.setattr("urllib.request.urlopen", None)
    model, _, scaling = load_pretrained(path)
    assert model.num_classes == CLASSES
    assert (scaling is None) == (path == str(TIMM))  # there is no config.json beside it


def own(path, model=None, **description):
    """A file of this project's, of a small Mixer for images of 6 x 6 pixels."""
    options = {"patch_size": 2, "num_blocks": 1, "width": 4, "tokens_hidden_dim": 3}
    shapes = shapes_of(create_model("mixer_keras", 2, **options), 6, 1)
    params: dict = {}
    for name, shape in shapes.items():
        *modules, leaf = name.split("/")
        inner = params
        for module in modules:
            inner = inner.setdefault(module, {})
        inner[leaf] = np.ones(shape, np.float32)
    if model is None:
        model = {"name": "mixer_keras", "image_size": 6, "dtype": None, **options}
    save_weights(path, params, {"model": model, **description})
    return path


def test_weights_of_a_run(tmp_path):
    statistics = {"normalization_mean": [3.0], "normalization_deviation": [2.0]}
    model, parameters, scaling = load_pretrained(own(tmp_path / "x", **statistics))
    images = scaling(np.full((1, 6, 6, 1), 7, np.uint8))
    np.testing.assert_array_equal(images, np.full((1, 6, 6, 1), 2.0))
    assert model.apply({"params": parameters}, images).shape == (1, 2)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"model": {"name": "mixer_keras"}}, "does not say of which model its weights are."),
        ({"model": 3}, "does not say of which model its weights are."),
        (
            {"model": {"name": "mixer_keras", "image_size": 64}},
            "holds weights of another model than mixer_keras: it lacks MixerBlock_*/LayerNorm_0/",
        ),
        (
            {"model": {"name": "mixer_keras", "image_size": 6, "patch_size": 2, "num_blocks": 1}},
            "than mixer_keras: MixerBlock_0/LayerNorm_0/bias is [4], and should be [256], ",
        ),
        ({"normalization_mean": [1, 2], "normalization_deviation": [1, 1]}, "are for 1 channels"),
        ({"model": {"name": "mixr", "image_size": 6}}, "has no 'mixr'"),
    ],
)
def test_files_that_do_not_fit_their_description(tmp_path, arguments, message):
    with pytest.raises(InputError, match=re.escape(message)):
        load_pretrained(own(tmp_path / "x", **arguments))


def test_no_classifier(tmp_path):
    model = {"name": "mixer_keras", "image_size": 6}
    save_weights(tmp_path / "x", {"a": {"b": np.zeros(3)}}, {"model": model})
    with pytest.raises(InputError, match="x holds no classifier: it lacks stem/kernel"):
        load_pretrained(tmp_path / "x")


@pytest.mark.parametrize(
    "name, message",
    [
        ("mixer_b16_imagenet", "named 'mixer_b16_imagenet'; did you mean mixer_b16_imagenet1k?"),
        (
            "nothing/like/it",
            "No file and no published weights are named 'nothing/like/it'; there are mixer",
        ),
        ("", "are named ''; there are mixer_b16_imagenet21k, "),
        ("~nosuchuser/x", "which is no path"),
    ],
)
def test_neither_a_name_nor_a_path(name, message):
    with pytest.raises(InputError, match=re.escape(message)):
        load_pretrained(name)


def test_the_table_is_right():
    for name, one in PRETRAINED.items():
        assert name.startswith(one.model) and one.licence and one.accuracy
        is_hub = re.fullmatch(r"hub:timm/(mixer|gmlp|resmlp)_\w+_224\.\w+", one.source)
        is_url = re.fullmatch(
            r"https://storage\.googleapis\.com/mixer_models/\w+/.*\.npz", one.source
        )
        assert is_hub or is_url


@pytest.mark.slow
def test_the_table_counts_as_the_models_do():
    for one in PRETRAINED.values():
        shapes = shapes_of(create_model(one.model, one.classes), 224, 3)
        assert sum(int(np.prod(shape)) for shape in shapes.values()) == one.parameters


def test_importing_the_package_imports_no_weights():
    script = "import sys, mlpvis_jax; assert not {'mlpvis_jax.weights', 'jax'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)
    assert "load_pretrained" in dir(mlpvis_jax)
