"""The folder of a run: the place, what is in it already, its checkpoints and its weights."""

import json
import os
import struct

import numpy as np
from safetensors.numpy import save_file

from tests.bad_input.table import bad, bare, checkpoint, damaged, file, folder, images, run, weights

EVALUATE = "--mode=evaluate --workdir={here}/run"
MIXING = "--mode=mixing --workdir={here}/run"
COMPARE = "--mode=compare --workdirs={here}/run"
PREDICT = "--mode=predict --workdir={here}/run --images"
EXPORT = "--mode=export --workdir={here}/run"
WEIGHTS = "{here}/run/best.safetensors"
DAMAGED = "best.safetensors is damaged or no safetensors file"
UNSCALED = "does not say how its images, of 1 channels, were scaled"


def link(name, to):
    return lambda here: (here / name).symlink_to(here / to)


def results(**content):
    return file("run/results.json", json.dumps(content))


def header(**changes):
    """Weights whose header tells something else of the first array."""

    def change(data):
        (length,) = struct.unpack("<Q", data[:8])
        told = json.loads(data[8 : 8 + length])
        name = next(key for key in told if key != "__metadata__")
        told[name].update(changes)
        text = json.dumps(told).encode()
        return struct.pack("<Q", len(text)) + text + data[8 + length :]

    return damaged(change)


def described(content):
    """Weights with anything in place of their description."""
    told = {"description": json.dumps(content)}
    return lambda here: save_file({"a": np.zeros(1)}, here / "run/best.safetensors", told)


def scaled(mean, deviation):
    return weights({"normalization_mean": mean, "normalization_deviation": deviation})


USABLE = weights(
    {
        "class_names": list("0123456789"),
        "normalization_mean": [0.0],
        "normalization_deviation": [1.0],
        "data": {"image_shape": [8, 8, 1]},
    }
)
PICTURE = images("a.png", mode="L")
START = "--workdir={here}/new --config.init_from={here}"
FREEZE = "--config.optimizer.freeze"
RATE = "--config.optimizer.head_learning_rate=0.1"
NAMED = weights(
    {
        "normalization_mean": [0.0],
        "normalization_deviation": [1.0],
        "class_names": list("0123456789"),
    }
)
ROWS = [
    bad(f"{START}/none", "config.init_from={here}/none: there is nothing"),
    bad(f"{START}/empty", "is a folder without best.safetensors", folder("empty")),
    bad(f"{START}/run", "best.safetensors is damaged", weights(), damaged(lambda data: data[:99])),
    bad(f"{START}/run", "they have 3 blocks MixerBlock, and the model 2", weights(num_blocks=3)),
    bad(f"{START}/run", "LayerNorm_0/scale is [32], and the model's [64]", weights(width=32)),
    bad(
        f"{START}/run --config.model.image_size=24 --config.init_from_resolution=block_diagonal",
        "needs a multiple of the 8 x 8 tokens",
        weights(),
    ),
    bad(
        f"{START}/run --config.model.image_size=32 --config.init_from_resolution=block_diagonal",
        "set config.model.tokens_hidden_dim=256, not 64",
        weights(),
    ),
    bad("--config.init_from_resolution=crop", "config.init_from_resolution"),
    bad('--sweep.init_from="[\'{here}/none\']"', "The sweep's point init_from={here}/none"),
    bad(f"{FREEZE}=stom/*", "'stom/*' matches none of the parameters", "stem/*"),
    bad(f"{FREEZE}=*", "leaves nothing to train; '!head/*' trains the head alone"),
    bad(f"{FREEZE}=head/* {RATE}", "is of no use where", "freezes the head"),
    bad(f"{RATE} --config.optimizer.learning_rate=0", "is of no use with"),
    bad(
        f"--config.optimizer.layer_decay=0.7 {FREEZE}='!head/*'",
        "config.optimizer.layer_decay=0.7 is of no use where config.optimizer.freeze='!head/*'",
    ),
    bare(MIXING, "mixing must be a folder", USABLE, file("run/mixing", "")),
    bare(f"{PREDICT}={{here}}/none.png", "none.png names no image (.png, .jpg", USABLE),
    bare(f"{PREDICT}={{here}}/*.jpg", "{here}/*.jpg names no image", USABLE, PICTURE),
    bare(f"{PREDICT}='{{here}}/a.png *.jpg'", "*.jpg names no image", USABLE, PICTURE),
    bare(f"{PREDICT}={{here}}/empty", "empty names no image", USABLE, folder("empty")),
    bare(f"{PREDICT}=", "--images is empty", USABLE),
    bare(f"{PREDICT}=\\'", "cannot be read (No closing quotation)", USABLE),
    bare(f"{PREDICT}={{here}}/pics", "b.tif is of a kind", USABLE, file("pics/b.tif", "")),
    bare(f"{PREDICT}={{here}}/a.png", "is that of no picture", USABLE, file("a.png", "no")),
    bare(f"{PREDICT}={{here}}/a.png", "There are no weights at", run(), PICTURE),
    bare(f"{PREDICT}={{here}}/a.png", "does not say what its classes are", weights(), PICTURE),
    bare(f"{EVALUATE} --corruptions=fog", "'fog' is no corruption; all, or there are", USABLE),
    bare(f"{EVALUATE} --corruptions=contrst", "did you mean contrast?", USABLE),
    bare(f"{EVALUATE} --corruptions=", "--corruptions is empty", USABLE),
    bare(EVALUATE, "report holds my.txt, which no report", USABLE, file("run/report/my.txt", "")),
    bare(EVALUATE, "run/report must be a folder", USABLE, file("run/report", "")),
    bare(f"{EVALUATE} --output={{here}}/f", "--output={here}/f cannot", file("f", ""), run()),
    bare(COMPARE, "{here}/run finds one run, and a comparison needs two", run()),
    bare("--mode=compare --workdirs={here}/*", "finds no run, and a comparison needs two"),
    bare("--mode=compare --workdirs=", "--workdirs is empty"),
    bare(f"{COMPARE},{{here}}/none", "{here}/none holds no run", run()),
    bare(f"{COMPARE} --output={{here}}/f", "--output={here}/f cannot", file("f", ""), run()),
    bare(f"{COMPARE} --output={{here}}/my", "my holds a.txt, which", file("my/a.txt", "")),
    bad("--workdir={here}/file", "{here}/file cannot be a folder", file("file", "")),
    bad("--workdir={here}/file/run", "cannot be a folder: {here}/file is a file", file("file", "")),
    bad("--workdir={here}/a/b/c/d", "cannot be a folder: {here}/a/b is a file", file("a/b", "")),
    bad(
        "",
        "holds a run (metrics.jsonl) without its config.json",
        file("run/metrics.jsonl", "{}\n"),
    ),
    bad("", "holds a run (results.json)", file("run/results.json", "{}")),
    bad("", "holds a run (best.safetensors)", file("run/best.safetensors", "x")),
    bad("", "There is no {here}/run/config.json", folder("run/checkpoints/3")),
    bad("--workdir=~nosuchuser/run", "~nosuchuser/run", "nobody's home"),
    *(
        bad(f"--mode={mode} --workdir={{here}}/{name}", "{here}", reason, link("loop", "loop"))
        for mode in ("train", "evaluate")
        for name, reason in (("x" * 300, "too long"), ("loop", "symbolic links"))
    ),
    bad("--workdir={here}/dead", "is a symbolic link to nothing", link("dead", "nowhere")),
    # a folder for a file, and the reverse
    *(
        bad("", f"{{here}}/run/{name} must be a file, and something else", folder(f"run/{name}"))
        for name in ("lock", "config.json", "curves.png", "metrics.jsonl", "last.safetensors")
    ),
    bad("", "run/tensorboard must be a folder, and something else", file("run/tensorboard", "")),
    # settings of the run that is there
    bad("--config.seed=5", "other settings: config.seed was 0 and is now 5", run()),
    bad(
        "--config.duration=2",
        "config.duration was '60 epochs' and is now '2 epochs'; it may only grow",
        run(),
    ),
    bad(
        "--config.duration='90000 steps'",
        "config.duration was '60 epochs' and is now '90000 steps'; the duration of a run that "
        "ends with a whole epoch may grow, in epochs",
        run(),
    ),
    bad(
        "--config.schedule.warmup='9 steps'",
        "config.schedule.warmup was '0 epochs' and is now '9 steps'",
        run(),
    ),
    bare("--workdir={here}/run --config.model.width=7", "width was 64 and is now 7", run()),
    bad("--config.model.dtype=bfloat16", "model.dtype was None and is now 'bfloat16'", run()),
    bad("--config.batch_size=8", "config.batch_size was 32 and is now 8", run()),
    bad(
        "--config.augment.flip_zoom.zoom=0",
        "augment.flip_zoom.zoom was 0.2 and is now 0.0",
        run(),
    ),
    bad("--config.optimizer.b1=0", "config.optimizer.b1 was 0.9 and is now 0.0", run()),
    bad("", "config.seed was 3 and is now 0", run(seed=3)),
    bad("", "config.data.source was 'cifar10' and is now", run(**{"data.source": "cifar10"})),
    bare("--config=configs/gmlp.py:digits", "model.name was 'mixer_keras' and is now", run()),
    bad("--config.seed=5 --config.batch_size=8", "seed was 0", "batch_size was 32", run()),
    bad("", "run/config.json", "duration is missing", file("run/config.json", '{"seed": 0}')),
    bad("", "run/config.json cannot be read as JSON", file("run/config.json", '{"seed": 0')),
    bare("--workdir={here}/run", "run/config.json", "JSON object", file("run/config.json", "[1]")),
    bare("--workdir={here}/run", "There is no config.sed", file("run/config.json", '{"sed": 0}')),
    bare("--workdir={here}/run --config.duratio=90", "config.duration?", run()),
    # results and checkpoints
    bad(
        "", "what a run has written, but no checkpoint",
        run(), results(epochs=1, stopped_early=False), folder("run/checkpoints"),
    ),
    bad("", "what a run has written, but no checkpoint", run(), file("run/results.json", "{")),
    bad("", "what a run has written, but no checkpoint", run(), file("run/results.json", "[]")),
    bad("", "No checkpoint in {here}/run/checkpoints", "step 41", run(), checkpoint("41")),
    bad("", "step 82", "step 41", "another folder", run(), checkpoint("41"), checkpoint("82")),
    bad("", "step 7: files are missing", run(), folder("run/checkpoints/7")),
    bad("", "step 7: files are missing", run(), folder("run/checkpoints/7/values")),
    bad("", "step 7", run(), checkpoint("7"), file("run/checkpoints/7/values/metadata", "{")),
    # weights
    bare(EVALUATE, "There are no weights at " + WEIGHTS, run()),
    bare(EVALUATE, "There are no weights", run(), folder("run/best.safetensors")),
    bare(EVALUATE, DAMAGED, run(), file("run/best.safetensors", b"")),
    bare(EVALUATE, DAMAGED, run(), file("run/best.safetensors", b"\xff" * 50)),
    bare(EVALUATE, DAMAGED, run(), file("run/best.safetensors", os.urandom(200))),
    bare(EVALUATE, DAMAGED, run(), file("run/best.safetensors", "PK\3\4 something else")),
    bare(EVALUATE, DAMAGED, weights(), damaged(lambda data: data[:5])),
    bare(EVALUATE, DAMAGED, weights(), damaged(lambda data: data[:100])),
    bare(EVALUATE, DAMAGED, weights(), damaged(lambda data: data[:-1])),
    bare(EVALUATE, DAMAGED, weights(), damaged(lambda data: data + b"\0")),
    bare(EVALUATE, DAMAGED, weights(), damaged(lambda data: b"\xff" * 8 + data[8:])),
    bare(EVALUATE, DAMAGED, weights(), header(shape=[3, 3])),
    bare(EVALUATE, DAMAGED, weights(), header(data_offsets=[0, 1 << 40])),
    bare(EVALUATE, DAMAGED, weights(), header(dtype="F7")),
    bare(EVALUATE, "head/", "(11,)", "(10,)", weights(num_classes=11)),
    bare(EVALUATE, "of shape", "but the model's is", weights(width=32)),
    bare(EVALUATE, "of another model", "MixerBlock_2", weights(num_blocks=3)),
    bare(EVALUATE, "of another model", "missing MixerBlock_1", weights(num_blocks=1)),
    bare(EVALUATE, "is no JSON object", run(), described([1])),
    bare(EVALUATE, "is no JSON object", run(), described("scaled")),
    bare(EVALUATE, "not what was written", weights(), damaged(lambda data: data[:-1] + b"x")),
    bare(EVALUATE, UNSCALED, weights({})),
    bare(EVALUATE, UNSCALED, scaled([0], None)),
    bare(EVALUATE, UNSCALED, scaled([0, 0], [1, 1])),
    bare(EVALUATE, UNSCALED, scaled(0, 1)),
    bare(EVALUATE, UNSCALED, scaled(["a"], [1])),
    bare(EVALUATE, UNSCALED, scaled([[0]], [[1]])),
    bare(EVALUATE, UNSCALED, scaled([0, [1]], [1])),
    bare(EXPORT + " --format=onx", "--format=onx is unknown (did you mean 'onnx'?)", weights()),
    bare(EXPORT + " --format=", "--format is empty", weights()),
    bare(EXPORT + " --image_size=64", "--image_size=64 is no choice", "any", weights()),
    bare(EXPORT, "There are no weights at " + WEIGHTS, run()),
    bare(EXPORT, "does not say what its classes are", weights()),
    bare(EXPORT + " --image_size=any", "without weights over tokens", "64 tokens", NAMED),
    bare(EVALUATE + " --config.model.patch_size=3", "3, does not divide", weights()),
    bare(EVALUATE + " --config.data.source=x", "There is no data source 'x'", weights()),
]  # fmt: skip
