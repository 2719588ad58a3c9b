"""Arguments, config files and config.json that are none."""

import os

from configs import mixer
from tests.bad_input.table import NO_WORKDIR, bad, bare, file, folder, run, with_key

DIGITS = mixer.get_config("digits").to_dict()


def config(text):
    return file("mine.py", text)


def get_config(body):
    return file("mine.py", f"from configs import mixer\ndef get_config(variant):\n    {body}\n")


def changed(key, value):
    return file("config.json", with_key(DIGITS, key, value))


def config_dict(values):
    return get_config(f"from ml_collections import ConfigDict; return ConfigDict({values})")


def link(name, to):
    return lambda here: (here / name).symlink_to(here / to)


def pipe(name):  # to open it would be to wait
    return lambda here: os.mkfifo(here / name)


NO_FILES = {
    "dangling.py": link("dangling.py", "nowhere.py"),
    "loop.json": link("loop.json", "loop.json"),
    "pipe.py": pipe("pipe.py"),
    "pipe.json": pipe("pipe.json"),
}
NESTED_LIST = ("config.json", "[" * 100_000)
NESTED_GROUP = ("config.json", '{"seed":' * 100_000)
MINE = "--config={here}/mine.py"
JSON = "--config={here}/config.json"
TOGETHER = "--coordinator=localhost:1 --processes=2"

ROWS = [
    bad("--processes=2", "belong together", "--coordinator and --process are missing"),
    bad(TOGETHER, "belong together", "--process is missing"),
    bad("--coordinator=localhost --processes=2 --process=1", "must be HOST:PORT of process 0"),
    bad("--coordinator=localhost:65536 --processes=2 --process=1", "must be HOST:PORT"),
    bad(f"{TOGETHER} --process=2", "--process=2 must be below --processes=2"),
    bad(f"{TOGETHER} --process=-1", "--process=-1 must be a whole number from 0"),
    bad("--processes=0", "--processes=0 must be a whole number from 1"),
    bad(f"{TOGETHER} --process=0 --sweep=lr_wd", "are of one run", "docs/sweeps.md"),
    bad("--mode=evaluate --process=1", "--process is a flag of --mode=train"),
    bare(f"--mode=train {NO_WORKDIR}", "--mode=train needs --config=FILE", "configs/mixer.py"),
    bare("--workdir={here}/none", "--mode=train needs --config=FILE", "--workdir that holds a run"),
    bare("--workdir={here}/empty", "needs --config=FILE", folder("empty")),
    bare(f"--mode=evaluate {NO_WORKDIR}", "--workdir"),
    bare(
        "--mode=evaluate --workdir={here}/none",
        "--mode=evaluate needs --config=FILE", "a run; {here}/none holds none.",
    ),
    bare(
        "--mode=evaluate --workdir={here}/run --config.seed=9 --config.optimizer.learning_rate=7",
        "--mode=evaluate does not read config.seed, config.optimizer.learning_rate, which would",
        run(),
    ),
    bare("--mode=evaluate --workdir={here}/run --config.batchsize=8", "config.batch_size?", run()),
    bare(
        "--mode=evaluate --workdir={here}/run --config.data.reduced_jpeg=False",
        "There are no weights",
        run(),
    ),
    bare(
        "--mode=evaluate --workdir={here}/run --config.loss.label_smoothing=0.1 "
        "--config.data.normalization=half_range --config.microbatch_size=8",
        "read config.loss.label_smoothing, config.data.normalization, which would change nothing",
        run(),
    ),
    bare(
        "--mode=predict --images=*.png --workdir={here}/run --config.data.framing=centre",
        "--mode=predict does not read config.data.framing, which would change nothing;",
        run(),
    ),
    bad(f"--mode=evaluate {NO_WORKDIR}", "--mode=evaluate needs --workdir"),
    bad("--mode=test", "--mode=test is unknown", "train, evaluate"),
    bad("--mode=predict", "--mode=predict needs --images=IMAGES: files, folders or patterns"),
    bad("--images=*.png", "--images is a flag of --mode=predict, and the mode is train"),
    bad("--mode=evaluate --images=a.png", "--images is a flag of --mode=predict", "is evaluate"),
    bad(f"--mode=predict --images=*.png {NO_WORKDIR}", "--mode=predict needs --workdir"),
    bad(f"--mode=mixing {NO_WORKDIR}", "--mode=mixing needs --workdir"),
    bare("--mode=predict --images=*.png", "--mode=predict needs --config=FILE"),
    bad("--mode=predict --images=*.png --sweep.seed=[0,1]", "--mode=predict is of one run"),
    bad("--corruptions=all", "--corruptions is a flag of --mode=evaluate, and the mode is train"),
    bad(
        "--mode=mixing --output=x",
        "--output is a flag of --mode=evaluate and --mode=predict and --mode=compare, and the mode",
    ),
    bare("--mode=compare", "--mode=compare needs --workdirs=PATTERNS"),
    bare("--mode=compare --workdirs={here}/* --workdir={here}/run", "--workdir is of one run"),
    bare("--mode=compare --workdirs={here}/* --config.seed=1", "--config.seed is of one run"),
    bad("--mode=compare --workdirs={here}/*", "--config is of one run"),
    bad(f"--mode=export {NO_WORKDIR}", "--mode=export needs --workdir"),
    bad("--format=onnx", "--format is a flag of --mode=export, and the mode is train"),
    bad("--mode=predict --images=a --image_size=any", "--image_size is a flag of --mode=export"),
    bad("--mode=", "--mode is empty"),
    bad("--workdir=", "--workdir is empty; give it a value, or leave it out."),
    bad("--list=", "--list is empty"),
    bad("--help=setings", "--help=setings is unknown"),
    bad("--mode=predict --image=a.png", "Unknown argument '--image' (did you mean --images?)"),
    bad("--mode=Train", "--mode=Train is unknown"),
    bad("--mode=train,evaluate", "is unknown"),
    bare("--list=model", "--list=model is unknown; there are models, sources"),
    bare("--list", "expected one argument"),
    bare("--print_config", "needs --config=FILE"),
    bad("--print_config --config.duration=0", "config.duration must be"),
    bad("--print_config --config.model.name=mixer_b17", "mixer_b17"),
    bad("--print_config --sweep.seed=[]", "sweep.seed has no values"),
    bare("--confg=a", "'--confg'", "--config"),
    bad("extra", "'extra'", "--workdir"),
    bad("-x", "'-x'", "there are --config"),
    bad("-- --config.seed=1", "Unknown argument '--'"),
    bad("config.seed=1", "Unknown argument 'config.seed'"),
    bad("--seed=1", "Unknown argument '--seed'", "--config.KEY=VALUE"),
    bad("--configs.seed=1", "Unknown argument '--configs.seed'"),
    bad("--config.seed", "--config.seed needs a value: --config.seed=VALUE"),
    bad("--config.seed 1", "--config.seed needs a value"),
    bad("--config.model=mixer_s16", "config.model is a group", "name", "image_size"),
    bad("--config.model={}", "config.model is a group"),
    bad("--config.seed.x=1", "config.seed is one setting"),
    bad("--config.model.width.x=1", "config.model.width is one setting"),
    bad("--config.duratio=1", "There is no config.duratio;", "config.duration?"),
    bad("--config.optimizer.learning_rte=1", "config.optimizer.learning_rate?"),
    bad("--config.optimiser.b1=0", "There is no config.optimiser;", "config.optimizer?"),
    bad("--config.learning_rate=0.1", "There is no config.learning_rate"),
    bad("--config.xyzzy=1", "There is no config.xyzzy", "duration", "batch_size"),
    bad("--config.model.xyzzy=1", "There is no config.model.xyzzy; config.model has name"),
    bad("--config.=1", "There is no config."),
    bad("--config..seed=1", "There is no config."),
    bad("--config.model.=1", "There is no config.model."),
    bad("--config.SEED=1", "There is no config.SEED"),
    bad("--config.batch-size=1", "There is no config.batch-size", "config.batch_size?"),
    bad("--storage=postgresql://a/b", "--storage is for a sweep"),
    bare("--config=configs/mixr.py", "configs/mixr.py is no file", "configs/mixer.py"),
    bare("--config=configs", "--config=configs is no file"),
    bare("--config=README.md", "README.md is neither a .py file nor a run's config.json"),
    bare("--config={here}/mine", "is neither a .py", file("mine", "")),
    bare("--config=configs/recipe.py", "recipe.py must define get_config(variant)"),
    bare("--config=none.json", "none.json is no file"),
    bare("--config=", "--config is empty"),
    bare(f"--config={'long/' * 2000}.py", "is no file; there are"),
    bare(f"--config={'long' * 200}.py", "is no file; there are"),
    bare("--config=README.md/mine.py", "README.md/mine.py is no file"),
    bare("--config=~nosuchuser/mine.py", "~nosuchuser/mine.py is no file"),
    bare("--config=a\0b.py", "is no file"),
    bad(f"--sweep={'long' * 200}.py", "is no file; there are"),
    *(
        row
        for name, make in NO_FILES.items()
        for row in (
            bare(f"--config={{here}}/{name}", f"{name} is no file; there are configs/", make),
            bad(f"--sweep={{here}}/{name}", f"{name} is no file; there are configs/", make),
        )
    ),
    bare("--config=:digits", "is no file"),
    bare("--config=configs/fnet.py:papr", "there is no variant 'papr'", "digits, fast and best"),
    bare("--config=configs/gmlp.py:tune", "there is no variant 'tune'", "best and finetune"),
    bare("--config=configs/fnet.py:digits:paper", "there is no variant 'digits:paper'"),
    bare(MINE, "mine.py must define get_config(variant)", config("")),
    bare(MINE, "ConfigDict; it returns [1].", config("def get_config(_): return [1]")),
    bare(MINE, "config.seed is missing", config("def get_config(_): return {'batch_size': 3}")),
    bare(MINE, "config.seed is missing", get_config("return {}")),
    bare(MINE, "ConfigDict", get_config("return None")),
    bare(MINE, "mine.py, line 3: ZeroDivisionError", get_config("return 1 / 0")),
    bare(MINE, "line 3: KeyError", get_config("return {}['a']")),
    bare(MINE, "AttributeError", "learning", get_config("return mixer.learning")),
    bare(MINE, "mine.py: no such thing", get_config("raise ValueError('no such thing.')")),
    bare(MINE, "mine.py: SyntaxError", config("def get_config(:\n")),
    bare(MINE, "mine.py, line 1: ModuleNotFoundError", "torchh", config("import torchh\n")),
    bare(MINE, "TypeError", "positional", config("def get_config():\n    pass\n")),
    bare(MINE, "TypeError", config("get_config = 3\n")),
    bare(MINE, "mine.py", config("from ml_collections import ConfigDict as get_config\n")),
    bare(MINE, "RecursionError", config("def get_config(variant): return get_config(variant)\n")),
    bare(MINE, "mine.py", config("\0")),
    bare(MINE, "mine.py, line 3: SystemExit.", get_config("import sys; sys.exit()")),
    bare(MINE, "line 3: SystemExit: enough.", get_config("raise SystemExit('enough')")),
    bare(MINE, "mine.py, line 3: KeyboardInterrupt.", get_config("raise KeyboardInterrupt")),
    bare(MINE, "line 3: TypeError: two lines.", get_config("raise TypeError('two\\nlines')")),
    bare(MINE, "mine.py, line 3: RecursionError", get_config("return get_config(variant)")),
    bare(MINE, "config has", "key", "1", config_dict("{1: 2}")),
    bare(MINE, "mine.py, line 3: TypeError: ", config_dict("{None: 2}")),
    bare(
        MINE,
        "There is no config.optimizer.learning_rat; did you mean config.optimizer.learning_rate?",
        get_config("c = mixer.get_config(); c.optimizer.learning_rat = 1; return c"),
    ),
    bare(JSON, "config.json cannot be read as JSON", file("config.json", "{")),
    bare(JSON, "config.json cannot be read as JSON", file("config.json", "")),
    bare(JSON, "config.json cannot be read as JSON", file("config.json", b"\xff\xfe")),
    bare(JSON, "config.json cannot be read as JSON", file("config.json", "seed: 1")),
    bare(JSON, "must hold a JSON object, not list", file("config.json", "[]")),
    bare(JSON, "must hold a JSON object, not NoneType", file("config.json", "null")),
    bare(JSON, "must hold a JSON object, not str", file("config.json", '"seed"')),
    bare(JSON, "config.duration is missing", file("config.json", '{"seed": 1}')),
    bare(JSON, "config.seed?", file("config.json", '{"sed": 1}')),
    bare(JSON, "cannot be read as JSON (it is nested too deeply)", file(*NESTED_LIST)),
    bare(JSON, "cannot be read as JSON (it is nested too deeply)", file(*NESTED_GROUP)),
    bare(
        JSON, "config.json", "the key 'seed' is there twice",
        file("config.json", '{"seed": 1, "batch_size": 8, "seed": 2}'),
    ),
    bare(
        JSON, "config.json", "the key 'name' is there twice",
        file("config.json", '{"model": {"name": "a", "name": "a"}}'),
    ),
    bare(JSON, "cannot be read as JSON", file("config.json", f'{{"seed": {"9" * 5000}}}')),
    bare(f"{JSON}:paper", "config.json:paper", "has no variants", changed("seed", 1)),
    bare(JSON, "config.model must be a group of settings, not 3", changed("model", 3)),
    bare(JSON, "config.model must be a group of settings, not None", changed("model", None)),
    bare(JSON, "config.optimizer must be a group of settings, not []", changed("optimizer", [])),
    bare(JSON, "config.optimizer is missing", changed("optimizer", ...)),
    bare(JSON, "config.model.name is missing", changed("model.name", ...)),
    bare(JSON, "config.model.widht; did you mean config.model.width?", changed("model.widht", 8)),
    bare(JSON, "config.seed must be a whole number, not '0'", changed("seed", "0")),
    bare(JSON, "config.seed must be a whole number, not True", changed("seed", True)),
    bare(JSON, "config.batch_size must be a whole number, not 8.0", changed("batch_size", 8.0)),
    bare(JSON, "config.duration must be a duration such as", "not [2]", changed("duration", [2])),
    bare(JSON, "config.num_epochs is an older name of config.duration", changed("num_epochs", 2)),
    bare(
        JSON,
        "config.augment.flip_zoom.zoom must be a finite number",
        changed("augment.flip_zoom.zoom", 1e999),
    ),
    bare(JSON, "config.model.remat must be True or False", changed("model.remat", "false")),
    bare(JSON, "config.data.source must be a word, not None", changed("data.source", None)),
    bare(JSON, "config.model.dtype must be a word, not 32", changed("model.dtype", 32)),
]  # fmt: skip
