"""The step, the dispatch and the evaluation: every example once, padding invisible, same bits."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mlpvis_jax.data.resident import PADDING, ResidentSet, rows_in_order, shuffle
from mlpvis_jax.learning import augment, metrics
from mlpvis_jax.learning.evaluation import make_evaluation
from mlpvis_jax.learning.losses import softmax_cross_entropy
from mlpvis_jax.learning.mix import mixup_or_cutmix
from mlpvis_jax.learning.optimizers import adamw
from mlpvis_jax.learning.state import EpochTotals, TrainState
from mlpvis_jax.learning.step import Learner, make_dispatch, make_step
from mlpvis_jax.models import create_model

MODEL = create_model("mixer_keras", 5, num_blocks=1, width=8, patch_size=4)
NORMALIZE = augment.Normalization(np.float32([100, 120, 90]), np.float32([50, 60, 70]))
METRICS = metrics.chosen("top5_accuracy")


def apply_in_training(params, images, numbers, key):
    model = MODEL.clone(dropout_rate=numbers["dropout_rate"])
    return model.apply({"params": params}, images, train=True, rngs={"dropout": key})


def apply(params, images):
    return MODEL.apply({"params": params}, images)


def flip_zoom(keys, images, numbers):
    options = {name: numbers[name] for name in ("flip_probability", "zoom")}
    return augment.flip_zoom(keys, NORMALIZE(images), 8, **options)


def learner(apply=apply_in_training, mix=None):
    return Learner(
        apply=apply,
        predict=globals()["apply"],
        augment=flip_zoom,
        prepare=lambda images: augment.resize(NORMALIZE(images), 8),
        mix=mix,
        loss=lambda logits, targets, numbers: softmax_cross_entropy(
            logits, targets, label_smoothing=numbers["label_smoothing"]
        ),
        optimizer=lambda step, numbers: adamw(numbers["learning_rate"], numbers["weight_decay"]),
        metrics=METRICS,
        num_classes=5,
    )


STEP = make_step(learner(), ())


def batch_of(examples, rows, index):
    return examples.batch(rows[index])


def no_totals():
    return EpochTotals.zero(metrics.no_sums(METRICS, 5))


def hyperparameters(**changes):
    values = {
        "seed": np.uint32(0),
        "learning_rate": np.float32(0.01),
        "weight_decay": np.float32(0.1),
        "dropout_rate": np.float32(0.2),
        "label_smoothing": np.float32(0.0),
        "flip_probability": np.float32(0.5),
        "zoom": np.float32(0.2),
    }
    return {**values, **changes}


@pytest.fixture(scope="module")
def examples():
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (22, 8, 8, 3), np.uint8)
    return ResidentSet.of(jnp.asarray(images), jnp.asarray(random.integers(0, 5, 22, np.int32)))


@pytest.fixture(scope="module")
def state():
    params = jax.jit(MODEL.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))["params"]
    return TrainState.create(params, adamw(0.0, 0.0))


def assert_equal(first, second):
    jax.tree.map(np.testing.assert_array_equal, first, second)


@pytest.mark.parametrize(("number", "batch_size", "devices"), [(22, 8, 1), (22, 8, 3), (5, 7, 4)])
def test_rows_hold_every_example_once(number, batch_size, devices):
    rows = rows_in_order(number, batch_size, devices)
    assert rows.shape[:2] == (-(-number // batch_size), devices)
    for step, row in enumerate(rows):
        real = row[row != PADDING]
        np.testing.assert_array_equal(
            real, np.arange(step * batch_size, min((step + 1) * batch_size, number))
        )


def test_an_epoch_is_a_permutation_of_its_own():
    rows = jnp.asarray(rows_in_order(22, 8, 1)[:, 0])
    orders = [np.asarray(shuffle(rows, jax.random.key(seed), 22)) for seed in (1, 1, 2)]
    assert_equal(orders[0], orders[1])
    assert (orders[0] != orders[2]).any()
    for order in orders:
        assert sorted(order[order != PADDING]) == list(range(22))
        np.testing.assert_array_equal(order == PADDING, rows == PADDING)


def test_repeats_are_copies_of_a_share_of_the_images():
    rows = jnp.asarray(rows_in_order(22, 8, 1)[:, 0])
    order = np.asarray(shuffle(rows, jax.random.key(1), 22, repeats=3))
    once = np.asarray(shuffle(rows, jax.random.key(1), 22))
    real = order[order != PADDING]
    np.testing.assert_array_equal(real, np.repeat(once[once != PADDING], 3)[:22])


def test_padding_changes_neither_the_step_nor_its_sums(state, examples):
    rows = jnp.arange(6)
    padded = jnp.concatenate([rows, jnp.full(3, PADDING)])
    # Without dropout, whose masks cover the batch with its padding.
    told = hyperparameters(dropout_rate=np.float32(0))
    plain_state, plain, _ = jax.jit(STEP)(state, examples.batch(rows), told)
    other_state, other, _ = jax.jit(STEP)(state, examples.batch(padded), told)
    np.testing.assert_allclose(plain["loss"], other["loss"], 1e-6)
    assert plain["count"] == other["count"] == 6
    assert plain["accuracy"] == other["accuracy"]
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, 1e-4, 1e-6),
        plain_state.params,
        other_state.params,
    )


def test_an_evaluation_is_exact_for_any_batch_size(state, examples):
    images = augment.resize(NORMALIZE(examples.batch(jnp.arange(22)).images), 8)
    logits = jax.jit(apply)(state.params, images)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, examples.labels)
    evaluation = jax.jit(make_evaluation(learner(), batch_of, ()))
    for batch_size in (1, 5, 8, 22, 64):
        rows = jnp.asarray(rows_in_order(22, batch_size, 1)[:, 0])
        sums = metrics.no_sums(METRICS, 5)
        for first in range(0, len(rows), 3):  # a chunk of three batches at a time
            number = min(3, len(rows) - first)
            sums = evaluation(state.params, sums, examples, rows, first, number)
        means = metrics.means_of(METRICS, sums)
        assert sums["count"] == 22
        np.testing.assert_allclose(means["loss"], losses.mean(), 1e-6)
        assert means["accuracy"] == np.mean(logits.argmax(axis=1) == examples.labels)
        assert means["top5_accuracy"] == 1.0  # of five classes


@pytest.mark.parametrize("cut", [1, 2])
def test_cutting_an_epoch_elsewhere_changes_no_bit(state, examples, cut):
    rows = shuffle(jnp.asarray(rows_in_order(22, 8, 1)[:, 0]), jax.random.key(0), 22)
    dispatch = jax.jit(make_dispatch(STEP, batch_of))
    zero = no_totals()
    together = dispatch(state, zero, examples, rows, 0, 3, hyperparameters())
    apart = dispatch(state, zero, examples, rows, 0, cut, hyperparameters())
    apart = dispatch(*apart, examples, rows, cut, 3 - cut, hyperparameters())
    assert_equal(together, apart)
    state, totals = together
    assert totals.sums["count"] == 22 and totals.diverged_at == -1 and state.step == 3


def test_a_dispatch_is_its_steps(state, examples):
    rows = shuffle(jnp.asarray(rows_in_order(22, 8, 1)[:, 0]), jax.random.key(0), 22)
    together, totals = jax.jit(make_dispatch(STEP, batch_of))(
        state, no_totals(), examples, rows, 0, 3, hyperparameters()
    )
    step = jax.jit(STEP)
    for row in rows:
        state, sums, _ = step(state, examples.batch(row), hyperparameters())
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-4, 1e-5), together, state)
    np.testing.assert_allclose(totals.last_loss, sums["loss"] / 6, 1e-4)  # of 22 - 2 * 8 images


def test_the_first_step_that_is_not_finite_is_named(state, examples):
    """With the loss before it, however the epoch is cut into dispatches."""
    rows = jnp.asarray(rows_in_order(22, 4, 1)[:, 0])

    def step(before, batch, told):
        """Ruins the parameters in step 2, so that the loss of step 3 is not finite."""
        state, sums, finite = STEP(before, batch, told)
        params = jax.tree.map(lambda p: jnp.where(before.step == 2, p * jnp.inf, p), state.params)
        return state.replace(params=params), sums, finite

    dispatch = jax.jit(make_dispatch(step, batch_of))
    _, fine = dispatch(state, no_totals(), examples, rows, 0, 3, hyperparameters())
    assert fine.diverged_at == -1
    for cut in (1, 3, 4):
        middle = dispatch(state, no_totals(), examples, rows, 0, cut, hyperparameters())
        _, totals = dispatch(*middle, examples, rows, cut, 6 - cut, hyperparameters())
        assert totals.diverged_at == 3
        assert totals.last_loss == fine.last_loss


def test_an_infinite_gradient_counts_though_the_loss_is_finite(examples):
    def roots(params, images, *_):
        return jnp.sqrt(params["squares"]) + jnp.zeros((len(images), 5))

    step = make_step(learner(roots), ())
    for squares, expected in ((jnp.zeros(5), False), (jnp.ones(5), True)):
        state = TrainState.create({"squares": squares}, adamw(0.0, 0.0))
        _, sums, finite = jax.jit(step)(state, examples.batch(jnp.arange(4)), hyperparameters())
        assert jnp.isfinite(sums["loss"])
        assert finite == expected


def test_the_draws_belong_to_the_seed_and_the_step(state, examples):
    step = jax.jit(STEP)
    batch = examples.batch(jnp.arange(8))
    losses = {
        name: float(step(changed, batch, told)[1]["loss"])
        for name, changed, told in (
            ("first", state, hyperparameters()),
            ("again", state, hyperparameters()),
            ("other seed", state, hyperparameters(seed=np.uint32(1))),
            ("other step", state.replace(step=jnp.int32(1)), hyperparameters()),
        )
    }
    assert losses["first"] == losses["again"]
    assert len({losses[name] for name in ("first", "other seed", "other step")}) == 3


def test_hyperparameters_are_values_and_compile_nothing(state, examples):
    step = jax.jit(STEP)
    batch = examples.batch(jnp.arange(4))
    step(state, batch, hyperparameters())
    programs = step._cache_size()
    for rate in (0.0, 0.1, 0.3):
        step(state, batch, hyperparameters(dropout_rate=np.float32(rate), zoom=np.float32(rate)))
    assert step._cache_size() == programs


def test_training_fits_a_small_set(state, examples):
    dispatch = jax.jit(make_dispatch(STEP, batch_of))
    told = hyperparameters(dropout_rate=np.float32(0), zoom=np.float32(0))
    rows = jnp.tile(jnp.asarray(rows_in_order(22, 22, 1)[:, 0]), (150, 1))
    zero = no_totals()
    _, before = dispatch(state, zero, examples, rows, 0, 1, told)
    state, _ = dispatch(state, zero, examples, rows, 0, 149, told)
    _, after = dispatch(state, zero, examples, rows, 149, 1, told)
    assert after.sums["loss"] < before.sums["loss"] / 10
    assert after.sums["accuracy"] == 22


@pytest.mark.parametrize("num_microbatches", [2, 5])
def test_microbatches_are_the_whole_batch(examples, state, num_microbatches):
    told = hyperparameters(dropout_rate=np.float32(0.0))
    rows = jnp.asarray(rows_in_order(22, 8, 1, num_microbatches)[:, 0])
    assert rows.shape[1] % num_microbatches == 0
    parts = make_step(learner(), (), num_microbatches)
    for index in (0, 2):  # a full batch, and one that ends in padding
        whole, sums, finite = jax.jit(STEP)(state, examples.batch(rows[index]), told)
        summed, same_sums, same_finite = jax.jit(parts)(state, examples.batch(rows[index]), told)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-4, 1e-6), whole, summed)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-5), sums, same_sums)
        assert finite and same_finite


def test_microbatches_draw_different_masks(examples, state):
    seen = []

    def spy(params, images, hyperparameters, key):
        jax.debug.callback(lambda bits: seen.append(bits.tolist()), jax.random.key_data(key))
        return apply_in_training(params, images, hyperparameters, key)

    step = jax.jit(make_step(learner(spy), (), 4))
    jax.block_until_ready(step(state, examples.batch(jnp.arange(8)), hyperparameters()))
    jax.effects_barrier()
    assert len({tuple(key) for key in seen}) == 4


def test_a_batch_is_mixed_as_a_whole(examples, state):
    """With soft targets, and whatever the number of microbatches."""
    seen = []

    def mix(key, images, targets, partners, places, numbers):
        jax.debug.callback(lambda *found: seen.append([one.tolist() for one in found]), partners)
        return images[partners], (targets + targets[partners]) / 2

    told = hyperparameters(dropout_rate=np.float32(0))
    batch = examples.batch(jnp.array([3, 4, 5, PADDING]))
    found = [
        jax.jit(make_step(learner(mix=mix), (), parts))(state, batch, told) for parts in (1, 2)
    ]
    jax.effects_barrier()
    assert seen == [[[1, 2, 0, 3]]] * 2
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-4, 1e-6), *found)
    plain = jax.jit(STEP)(state, batch, told)
    assert found[0][1]["count"] == 3
    assert abs(float(found[0][1]["loss"] - plain[1]["loss"])) > 1e-3


@pytest.mark.parametrize("per", [pytest.param("batch", marks=pytest.mark.slow), "image"])
def test_mixing_is_the_same_on_another_number_of_devices(state, per):
    random = np.random.default_rng(1)
    images = jnp.asarray(random.integers(0, 256, (32, 8, 8, 3), np.uint8))
    labels = jnp.asarray(random.integers(0, 5, 32, np.int32))
    batch = ResidentSet.of(images, labels).batch(jnp.arange(32))
    told = hyperparameters(dropout_rate=np.float32(0))

    def mix(*given):
        return mixup_or_cutmix(*given[:-1], per=per)

    one = jax.jit(make_step(learner(mix=mix), ()))(state, batch, told)
    halves = jax.tree.map(lambda leaf: leaf.reshape(2, 16, *leaf.shape[1:]), batch)
    step = jax.vmap(make_step(learner(mix=mix), ("devices",)), (None, 0, None), axis_name="devices")
    two = jax.tree.map(lambda leaf: leaf[0], jax.jit(step)(state, halves, told))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-4, 1e-6), one, two)


def test_the_average_of_the_weights_follows_its_equation(examples, state):
    state = TrainState.create(state.params, adamw(0.0, 0.0), is_averaged=True)
    told = {**hyperparameters(), "averaging": {"decay": np.float32(0.6)}}
    average = state.averaged
    for index in range(20):
        state, _, _ = jax.jit(STEP)(state, examples.batch(jnp.arange(8)), told)
        decay = min(0.6, (1 + index) / (10 + index))
        average = jax.tree.map(lambda a, p, d=decay: d * a + (1 - d) * p, average, state.params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-4, 1e-6), state.averaged, average)
