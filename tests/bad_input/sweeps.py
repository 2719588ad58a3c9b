"""Sweeps: dimensions, strategies, files and folders."""

import json

from configs import mixer
from mlpvis_jax.sweep.definition import Sweep
from tests.bad_input.table import bad, bare, file, run

RATE, DECAY = "--sweep.optimizer.learning_rate", "--sweep.optimizer.weight_decay"
TWO = f"{RATE}=[0.1,0.2]"
RANDOM = "--sweep.strategy=random --sweep.num_trials=2"
MINE = "--sweep={here}/mine.py"


def get_sweep(body):
    return file("mine.py", f"def get_sweep():\n    {body}\n")


def sweep(storage=None, **written):
    """{here}/run as a sweep leaves it that has just begun."""
    base = mixer.get_config("digits").to_dict()
    content = Sweep.read(base, {"optimizer.learning_rate": [0.1], **written}).to_json()
    return file("run/sweep.json", json.dumps({**content, "storage": storage}))


ROWS = [
    bad("--sweep.num_trials=4", "The sweep has no dimension"),
    bad("--sweep.optimizer.learning_rat=[1]", "sweep.optimizer.learning_rat", "did you mean"),
    bad("--sweep.learning_rate=[1]", "sweep.learning_rate is neither a setting of the sweep"),
    bad("--sweep.optimizer=[1]", "sweep.optimizer", "is a group of settings"),
    bad("--sweep.=[1]", "sweep. is neither"),
    bad(RATE, f"{RATE} needs a value"),
    bad(f"{RATE}=", "sweep.optimizer.learning_rate must be a list"),
    bad(f"{RATE}=0.1", "must be a list such as [4, 8], or uniform(LOW, HIGH)", "0.1"),
    bad(f"{RATE}=[]", "sweep.optimizer.learning_rate has no values"),
    bad(f"{RATE}=[0.1,0.1]", "has 0.1 twice"),
    bad(f"{RATE}=[1,1.0]", "has 1.0 twice"),
    bad(
        "--sweep.init_from_resolution=\"['interpolate','block_diagonal']\"",
        "sweep.init_from_resolution does nothing while config.init_from is None",
    ),
    bad(
        "--sweep.reduce_on_plateau.factor=[0.1,0.5] --config.reduce_on_plateau.patience=None",
        "sweep.reduce_on_plateau.factor does nothing while",
    ),
    bad("--sweep.batch_size=[32,4096]", "config.batch_size is 4,096, and there are"),
    bad(
        f"--sweep.model.patch_size='integers(2,4)' {RANDOM}",
        "The sweep's point model.patch_size=3: The patch_size of model 'mixer_keras', 3, does not",
    ),
    bad(
        f"{RATE}=[0.1,0.0] --sweep.optimizer.head_learning_rate='[None,0.01]'",
        "The sweep's point optimizer.learning_rate=0.0, optimizer.head_learning_rate=0.01",
    ),
    bad(f"{RATE}=[0.1,", "must be a list"),
    bad(f"{RATE}={{1:2}}", "must be a list"),
    bad(f"{RATE}=[\\'a\\']", "config.optimizer.learning_rate must be a number, not 'a'"),
    bad(f"{RATE}=[[1]]", "made of numbers and words; [1] is neither"),
    bad(f"{RATE}=[None]", "config.optimizer.learning_rate must be a number, not None"),
    bad(f"{RATE}=[-1]", "config.optimizer.learning_rate must be at least 0, not -1"),
    bad("--sweep.model.dropout_rate=[0.1,1.5]", "config.model.dropout_rate must be", "not 1.5"),
    bad(f"--sweep.model.dropout_rate='uniform(0, 1)' {RANDOM}", "dropout_rate", "below 1"),
    bad(f"--sweep.model.num_blocks='uniform(1, 4)' {RANDOM}", "num_blocks must be a whole number"),
    bad(f"--sweep.model.num_blocks='integers(0, 4)' {RANDOM}", "num_blocks must be at least 1"),
    bad(f"--sweep.model.num_blocks='integers(1, 4.5)' {RANDOM}", "both ends must be whole numbers"),
    bad(f"--sweep.model.name='uniform(0, 1)' {RANDOM}", "config.model.name has no"),
    bad(f"{RATE}='uniform(1, 0.1)' {RANDOM}", "sweep.optimizer.learning_rate", "upside down"),
    bad(f"{RATE}='uniform(1, 1)' {RANDOM}", "upside down"),
    bad(f"{RATE}='uniform(1)' {RANDOM}", "give two numbers, uniform(LOW, HIGH)"),
    bad(f"{RATE}='uniform(1, 2, 3)' {RANDOM}", "give two numbers"),
    bad(f"{RATE}='uniform(a, b)' {RANDOM}", "between the brackets must be numbers"),
    bad(f"{RATE}='uniform(True, 2)' {RANDOM}", "between the brackets must be numbers"),
    bad(f"{RATE}='uniform(0, 1e999)' {RANDOM}", "both ends must be finite"),
    bad(f"{RATE}='normal(0, 1)' {RANDOM}", "there are uniform, log_uniform", "no normal"),
    bad(f"{DECAY}='log_uniform(-1, 1)' {RANDOM}", "both ends are above 0"),
    bad(f"{DECAY}='log_uniform(0, 1)' {RANDOM}", "both ends are above 0"),
    bad(f"{RATE}='uniform(0.1, 1)'", "A grid is made of lists", "--sweep.strategy=random"),
    bad(f"{RATE}='uniform(0.1, 1)' --sweep.strategy=random", "needs --sweep.num_trials"),
    bad(f"{RATE}='seeds(3)'", "seeds(NUMBER) is for sweep.seed only"),
    bad("--sweep.seed='seeds(0)'", "give the number of seeds, from 1 to 1,000"),
    bad("--sweep.seed='seeds(2.5)'", "give the number of seeds, from 1 to 1,000"),
    bad("--sweep.seed='seeds(1, 2)'", "give the number of seeds, from 1 to 1,000"),
    bad(f"--sweep.seed='integers(1, 4)' {RANDOM}", "sweep.seed must be seeds(NUMBER) or a list"),
    bad(f"--sweep.seed=[-1] {TWO}", "config.seed must be at least 0", "-1"),
    bad(f"--sweep.seed=[0.5] {TWO}", "config.seed must be a whole number, not 0.5"),
    bad("--sweep.data.source=[3]", "data.source", "3"),
    bad("--sweep.model.name=\"['mixer_keras','mixr']\"", "The sweep's point", "mixr"),
    bad("--sweep.data.source=\"['digits','npz:/no']\"", "The sweep's point", "npz:/no"),
    bad("--sweep.model.patch_size=[2,3]", "The sweep's point", "patch_size=3"),
    bad("--sweep.data.cache_dir=[1]", "it is the same for all trials"),
    bad("--sweep.checkpoint.every_steps=[1,2]", "it is the same for all trials"),
    bad(f"{TWO} --sweep.num_trials=3", "sweep.num_trials is 3, but the grid has only 2 trials"),
    bad(f"{TWO} --sweep.num_trials=0", "sweep.num_trials must be at least 1 and at most "),
    bad(f"{TWO} --sweep.num_trials=x", "sweep.num_trials must be a whole number, not 'x'"),
    bad(f"{TWO} --sweep.seed='seeds(2)' --sweep.num_trials=3", "multiple of the 2 seeds"),
    bad(
        f"{TWO} --sweep.strategy=best",
        "sweep.strategy has no 'best'; there are grid, random, tpe",
    ),
    bad(f"{TWO} --sweep.strategy=json:loads", "strategy=json:loads cannot be used (TypeError"),
    bad(f"{TWO} --sweep.strategy=builtins:dict", "which lacks knows_points, max_points, check"),
    bad(f"{TWO} --storage=json:loads", "--storage=json:loads cannot be used (TypeError"),
    bad(f"{TWO} --storage=builtins:slice", "which lacks __enter__, begin, claim"),
    bad(f"{TWO} --sweep.objective=loss", "sweep.objective must be one of validation_loss"),
    bad(f"{TWO} --sweep.trials_per_program=0", "sweep.trials_per_program must be at least 1"),
    bad(f"{TWO} --sweep.side_by_side=1.5", "sweep.side_by_side must be a whole number"),
    bad(f"{TWO} --sweep.suggestion_seed=-1", "sweep.suggestion_seed must be at least 0"),
    bad(f"{TWO} --sweep.cull_epochs=60", "sweep.cull_epochs must lie between 1 and", "59"),
    bad("--sweep.duration=[2,3] --sweep.cull_epochs=3", "config.duration - 1, which is 2, not 3"),
    bad("--sweep.num_epochs=[2,3]", "has become config.duration", "give --sweep.duration."),
    bad(f"{TWO} --sweep.cull_epochs=0", "sweep.cull_epochs must lie between 1 and", "not 0"),
    bad(f"{TWO} --sweep.cull_epochs=-3", "sweep.cull_epochs must be epochs such as '5 10'"),
    bad(f"{TWO} --sweep.cull_epochs=a", "sweep.cull_epochs must be epochs", "'a'"),
    bad(f"{TWO} --sweep.cull_factor=1", "sweep.cull_factor must be above 1, not 1"),
    bad(f"{TWO} --sweep.cull_factor=half", "sweep.cull_factor must be a number, not 'half'"),
    bad(f"{TWO} --sweep.cull_factor=3", "sweep.cull_factor is 3.0", "without sweep.cull_epochs"),
    bad(f"{TWO} --sweep.suggestion_seed=3", "sweep.suggestion_seed is 3", "a grid draws nothing"),
    bad(
        f"{TWO} --sweep.seed='seeds(3)' --sweep.cull_epochs=5 --sweep.trials_per_program=2",
        "sweep.trials_per_program is 2", "the 3 seeds of a point train together",
    ),
    bad(f"{TWO} --sweep.strategy=random --print_config", "needs --sweep.num_trials"),
    bad(f"{TWO} --sweep.cull_factor=3 --print_config", "without sweep.cull_epochs"),
    bad(f"{TWO} --mode=evaluate", "--mode=evaluate is of one run"),
    bad(f"{TWO} --config.duration=0", "config.duration must be above 0"),
    # files
    bad("--sweep=configs/sweeps/no.py", "configs/sweeps/no.py is no file", "lr_wd.py"),
    bad("--sweep=configs/sweeps", "configs/sweeps is no file"),
    bad(MINE, "must define get_sweep() -> dict, and not an empty one", get_sweep("return {}")),
    bad(MINE, "must define get_sweep() -> dict", get_sweep("return [1]")),
    bad(MINE, "must define get_sweep() -> dict", file("mine.py", "def get():\n    return {}\n")),
    bad(MINE, "mine.py, line 2: ZeroDivisionError", get_sweep("return 1 / 0")),
    bad(MINE, "mine.py: SyntaxError", file("mine.py", "def get_sweep(:")),
    bad(MINE, "sweep.seed must be a list", "not 3", get_sweep("return {'seed': 3}")),
    bad(MINE, "num_trials must be", "'x'", get_sweep("return {'num_trials': 'x', 'seed': [1]}")),
    bad(MINE, "strategy must be a word, not 3", get_sweep("return {'strategy': 3, 'seed': [1]}")),
    # storage
    bad(f"{TWO} --storage=name", "--storage is no URL of a database"),
    bad(f"{TWO} --storage=postgresql://a:b@127.0.0.1:1:2/c", "--storage is no URL of a database"),
    bad(f"{TWO} --storage=sqlite:///sweep.db", "several machines need PostgreSQL or MySQL"),
    # folders
    bad(TWO, "holds something else than a sweep (config.json)", run()),
    bad(TWO, "something else than a sweep (trials)", file("run/trials/0000/config.json", "{}")),
    bad(TWO, "holds another sweep", "sweep.optimizer.learning_rate was [0.1] and is now", sweep()),
    bad(f"{RATE}=[0.1] --config.duration=9", "duration was '60 epochs' and is now '9", sweep()),
    bad(f"{RATE}=[0.1] --config.batch_size=9", "config.batch_size was 32 and is now 9", sweep()),
    bare("--workdir={here}/run --sweep.objective=validation_accuracy", "objective was", sweep()),
    bad(f"{RATE}=[0.1] --sweep.cull_epochs=3", "sweep.cull_epochs was '' and is now '3'", sweep()),
    bare(
        "--workdir={here}/run --sweep.num_trials=1", "it may only grow",
        sweep(strategy="random", num_trials=2),
    ),
    bare("--workdir={here}/run", "shared through a database", sweep("postgresql://a@127.0.0.1/b")),
    bad(f"{RATE}=[0.1] --storage=postgresql://a@127.0.0.1:1/b", "of this machine alone", sweep()),
    bare("--workdir={here}/run --mode=evaluate", "--mode=evaluate is of one run", sweep()),
    bare("--workdir={here}/run", "run/sweep.json holds no sweep", file("run/sweep.json", "{}")),
    bare("--workdir={here}/run", "sweep.json cannot be read as JSON", file("run/sweep.json", "{")),
    bare("--workdir={here}/run", "must hold a JSON object", file("run/sweep.json", "[]")),
]  # fmt: skip
