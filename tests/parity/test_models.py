"""Logits, gradients and twenty training steps of the three models, beside Keras doing the same."""

import types

import jax
import jax.flatten_util
import jax.numpy as jnp
import keras
import numpy as np
import optax
import pytest
from keras import layers

from benchmarks import keras_models
from configs import recipe
from mlpvis_jax.data.resident import ResidentSet
from mlpvis_jax.files.weights import count_parameters
from mlpvis_jax.learning import augment, metrics
from mlpvis_jax.learning.state import EpochTotals, TrainState
from mlpvis_jax.learning.step import make_dispatch, make_step
from mlpvis_jax.models import create_model
from mlpvis_jax.running.plan import Plan
from mlpvis_jax.running.task import Task
from mlpvis_jax.settings.config import RunConfig

pytestmark = pytest.mark.optimised

LEARNING_RATES = {"mixer_keras": 0.005, "fnet_keras": 0.001, "gmlp_keras": 0.003}
NAMES = list(LEARNING_RATES)


def relative_error(ours, theirs):
    """Length of the difference over the length of theirs, of arrays or whole trees."""
    ours, theirs = (jax.flatten_util.ravel_pytree(tree)[0] for tree in (ours, theirs))
    return float(jnp.linalg.norm(ours - theirs) / jnp.linalg.norm(theirs))


@pytest.mark.parametrize(
    "name", [NAMES[0], *(pytest.param(name, marks=pytest.mark.slow) for name in NAMES[1:])]
)
def test_logits_and_gradients(name):
    theirs = keras_models.build(name)
    keras_models.randomize(theirs)
    random = np.random.default_rng(1)
    images = random.normal(size=(4, 64, 64, 3)).astype(np.float32)
    labels = random.integers(0, 100, 4)
    variables = [variable.value for variable in theirs.trainable_variables]
    params = keras_models.as_params(theirs, variables)
    model = create_model(name, 100)
    shapes = jax.eval_shape(model.init, jax.random.key(0), images)["params"]
    assert jax.tree.map(np.shape, params) == jax.tree.map(lambda leaf: leaf.shape, shapes)
    assert count_parameters(params) == theirs.count_params()

    def their_loss(variables):
        fixed = theirs.non_trainable_variables
        logits, _ = theirs.stateless_call(variables, fixed, images, training=False)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), logits

    def our_loss(params):
        logits = model.apply({"params": params}, images, train=False)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), logits

    (_, their_logits), their_gradients = jax.jit(jax.value_and_grad(their_loss, has_aux=True))(
        variables
    )
    (_, our_logits), our_gradients = jax.jit(jax.value_and_grad(our_loss, has_aux=True))(params)
    assert relative_error(our_logits, their_logits) < 1e-5
    their_gradients = keras_models.as_params(theirs, their_gradients)
    errors = jax.tree.map(relative_error, our_gradients, their_gradients)
    assert max(jax.tree.leaves(errors)) < 1e-4, errors


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_twenty_steps(name):
    """The very step that trains, on fixed batches, without dropout and augmentation."""
    steps, batch_size = 20, 8
    random = np.random.default_rng(2)
    images = random.integers(0, 256, (steps * batch_size, 32, 32, 3), np.uint8)
    labels = random.integers(0, 100, steps * batch_size)
    mean, deviation = np.float32([120, 110, 100]), np.float32([60, 65, 70])
    learning_rate, weight_decay = LEARNING_RATES[name], 0.05

    theirs = keras_models.build(
        name,
        [layers.Normalization(mean=mean, variance=deviation**2), layers.Resizing(64, 64)],
        dropout_rate=0.0,
        image_size=32,
    )
    theirs.compile(
        keras.optimizers.AdamW(learning_rate, weight_decay=weight_decay),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    params = keras_models.as_params(theirs, [v.value for v in theirs.trainable_variables])

    values = recipe.keras_example(name, learning_rate).to_dict()
    values["optimizer"]["weight_decay"] = weight_decay
    values["model"]["dropout_rate"] = 0.0
    values["augment"] = {}
    config = RunConfig.from_mapping(values)
    examples = ResidentSet.of(jnp.asarray(images), jnp.asarray(labels, jnp.int32))
    source = types.SimpleNamespace(num_classes=100, image_shape=(32, 32, 3))
    normalization = augment.Normalization(mean, deviation)
    task = Task(source, examples, examples, examples, normalization, {})
    plan = Plan.of([config], task)
    told = plan.numbers(config)
    step = make_step(plan.learner, ())
    dispatch = jax.jit(
        make_dispatch(step, lambda examples, rows, index: examples.batch(rows[index]))
    )
    optimizer = plan.learner.optimizer(0, told)
    state = TrainState.create(params, optimizer)
    no_sums = metrics.no_sums(plan.learner.metrics, 100)
    rows = jnp.arange(steps * batch_size).reshape(steps, batch_size)
    their_losses, our_losses = [], []
    for index in range(steps):
        part = slice(index * batch_size, (index + 1) * batch_size)
        theirs.reset_metrics()
        their_losses.append(theirs.train_on_batch(images[part], labels[part]))
        state, totals = dispatch(state, EpochTotals.zero(no_sums), examples, rows, index, 1, told)
        our_losses.append(totals.sums["loss"] / batch_size)
    np.testing.assert_allclose(our_losses, their_losses, 1e-5)
    their_params = keras_models.as_params(theirs, [v.value for v in theirs.trainable_variables])
    moved = relative_error(params, their_params)
    assert relative_error(state.params, their_params) < 1e-4 * moved
