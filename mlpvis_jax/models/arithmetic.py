"""What a model costs: parameters, floating-point operations, activations; counted, not measured.

Nothing is computed: everything is read off the shapes in the traced program, so that it holds for
any block. A product of [m, k] by [k, n] is 2 m k n operations (FLOP): papers that count a
multiplication with its addition as one have half of that. Sums, norms, gelu and masks do not count,
although they take time.
"""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any, cast

import jax
import jax.numpy as jnp
from jax.extend.core import Jaxpr, JaxprEqn, Literal, jaxprs_in_params

from mlpvis_jax.models.classifier import Classifier

_TRACED_BLOCKS = 3


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a model costs for one image.

    Attributes:
      parameters: numbers that are learned.
      forward_flop: operations of the forward pass.
      activation_bytes: what the forward pass of training keeps for the backward pass, besides the
        parameters and the image. XLA may keep less, where it computes again what is cheap.
      tokens: patches of the image.
    """

    parameters: int
    forward_flop: int
    activation_bytes: int
    tokens: int


def cost_of(model: Classifier, image_size: int, channels: int = 3) -> Cost:
    """Counts what a model costs for a square image of `image_size` pixels a side.

    Raises:
      InputError: the patch does not divide the image.
    """
    # A scan stacks the blocks' parameters, and the copy would count as what is kept.
    model = model.clone(scan=False)
    depth, traced = model.num_blocks, _TRACED_BLOCKS + model.attention_blocks
    if depth <= traced:
        return _traced_cost(model, image_size, channels)
    # Blocks are equal, and to trace dozens of them takes seconds. The first one differs: it has no
    # stochastic depth; and so do those with attention in the end, which are traced all.
    fewer, more = (
        dataclasses.astuple(_traced_cost(model.clone(num_blocks=number), image_size, channels))
        for number in (traced - 1, traced)
    )
    pairs = zip(fewer, more, strict=True)
    return Cost(*(high + (depth - traced) * (high - low) for low, high in pairs))


def _traced_cost(model: Classifier, image_size: int, channels: int) -> Cost:
    images = jax.ShapeDtypeStruct((1, image_size, image_size, channels), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), images)
    forward = jax.make_jaxpr(lambda variables, images: model.apply(variables, images))
    return Cost(
        parameters=sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables)),
        forward_flop=traced_flop(forward(variables, images).jaxpr),
        activation_bytes=kept_bytes(model, images),
        tokens=(image_size // model.patch_size) ** 2,
    )


def product_flop(rows: int, inner: int, columns: int) -> int:
    """Counts the operations of a matrix product [rows, inner] by [inner, columns]."""
    return 2 * rows * inner * columns


def traced_flop(jaxpr: Jaxpr) -> int:
    """Counts the operations of all products in a traced function, inner functions included.

    A convolution is the matrix product that computes it. A fast Fourier transform of n numbers, in
    any number of dimensions, is 5 n log2 n operations.
    """
    return sum(_flop(equation) for equation in jaxpr.eqns)


def kept_bytes(model: Classifier, images: jax.ShapeDtypeStruct) -> int:
    """Counts the bytes that a forward pass in training keeps for the backward pass.

    Args:
      model: with its rates of dropout, whose masks are kept, too.
      images: float [batch, height, width, channels]; neither they nor the parameters count.
    """
    variables = jax.eval_shape(model.init, jax.random.key(0), images)

    def kept(variables: Any, images: jax.Array, key: jax.Array) -> Any:
        def forward(variables: Any) -> Any:
            return model.apply(variables, images, train=True, rngs={"dropout": key})

        return jax.vjp(forward, variables)[1]  # a function, whose leaves are what it keeps

    key = jax.eval_shape(jax.random.key, 0)
    jaxpr = jax.make_jaxpr(kept)(variables, images, key).jaxpr
    given = {*jaxpr.invars, *jaxpr.constvars}
    found = {one for one in jaxpr.outvars if not isinstance(one, Literal)} - given
    shapes = [cast(jax.core.ShapedArray, one.aval) for one in found]
    return sum(math.prod(one.shape) * one.dtype.itemsize for one in shapes)


def _flop(equation: JaxprEqn) -> int:
    name, params = equation.primitive.name, equation.params
    inputs, outputs = (
        [cast(jax.core.ShapedArray, one.aval) for one in some]
        for some in (equation.invars, equation.outvars)
    )
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        inner = math.prod(inputs[0].shape[axis] for axis in contracted)
        return product_flop(outputs[0].size, inner, 1)
    if name == "conv_general_dilated":
        features = inputs[1].shape[params["dimension_numbers"].rhs_spec[0]]
        return product_flop(outputs[0].size, inputs[1].size // features, 1)
    if name == "fft":
        size = max(inputs[0].size, outputs[0].size)
        return round(5 * size * math.log2(math.prod(params["fft_lengths"])))
    times = params["length"] if name == "scan" else 1
    return times * sum(map(traced_flop, _inner(equation)))


def _inner(equation: JaxprEqn) -> Iterator[Jaxpr]:
    """The functions in an equation that are computed when the equation is."""
    if equation.primitive.name == "custom_linear_solve":
        # The others are the map that is solved for, and how derivatives would be found.
        yield equation.params["jaxprs"].solve.jaxpr
        return
    yield from jaxprs_in_params(equation.params)
