"""What a config freezes, and the rates of the head and of layers: whether they are of use."""

from fnmatch import fnmatchcase

from flax import traverse_util

from mlpvis_jax.errors import InputError
from mlpvis_jax.learning.freezing import HEAD, is_frozen, patterns_of
from mlpvis_jax.models import Classifier
from mlpvis_jax.models.shapes import parameter_shapes
from mlpvis_jax.settings.config import RunConfig


def check_freezing(config: RunConfig, model: Classifier) -> None:
    """Refuses patterns that freeze nothing or everything, and a rate that is of no use.

    Args:
      config: the settings.
      model: that the settings describe.

    Raises:
      InputError: naming the setting.
    """
    optimizer = config.optimizer
    rates = optimizer.head_learning_rate, optimizer.layer_decay
    if optimizer.freeze is None and rates == (None, None):
        return
    shapes = parameter_shapes(model, config.model.image_size, channels=3)
    names = list(traverse_util.flatten_dict(shapes, sep="/"))
    if optimizer.freeze is not None:
        _check_patterns(optimizer.freeze, names, config.model.name)
    rest = [name for name in names if not fnmatchcase(name, HEAD)]
    if optimizer.layer_decay is not None and _are_frozen(rest, optimizer.freeze):
        raise InputError(
            f"config.optimizer.layer_decay={optimizer.layer_decay:g} is of no use where "
            f"config.optimizer.freeze={optimizer.freeze!r} freezes all but the head, whose rate "
            "it leaves as it is."
        )
    if optimizer.head_learning_rate is None:
        return
    rate = f"config.optimizer.head_learning_rate={optimizer.head_learning_rate:g}"
    head = [name for name in names if fnmatchcase(name, HEAD)]
    if _are_frozen(head, optimizer.freeze):
        raise InputError(
            f"{rate} is of no use where config.optimizer.freeze={optimizer.freeze!r} freezes the "
            "head."
        )
    if optimizer.learning_rate == 0:
        raise InputError(
            f"{rate} is of no use with config.optimizer.learning_rate=0, of which it keeps its "
            "share on a plateau; to train the head alone, set config.optimizer.freeze='!head/*'."
        )


def _are_frozen(names: list[str], freeze: str | None) -> bool:
    return all(is_frozen(name, freeze or "") for name in names)


def _check_patterns(freeze: str, names: list[str], model: str) -> None:
    setting = f"config.optimizer.freeze={freeze!r}"
    patterns = patterns_of(freeze)
    if not patterns:
        raise InputError(f"{setting} names no pattern; None freezes nothing.")
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern.removeprefix("!")) for name in names):
            shown = list(dict.fromkeys(f"{name.partition('/')[0]}/*" for name in names))
            listed = ", ".join(shown[:8]) + (" and so on" if len(shown) > 8 else "")
            raise InputError(
                f"{setting}: {pattern!r} matches none of the parameters of model {model!r}; there "
                f"are {listed}."
            )
    if _are_frozen(names, freeze):
        raise InputError(f"{setting} leaves nothing to train; '!head/*' trains the head alone.")
