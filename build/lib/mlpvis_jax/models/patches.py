"""From images to tokens: patches, and where they were."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from mlpvis_jax.errors import InputError
from mlpvis_jax.models.checks import check_axes, check_stored_size
from mlpvis_jax.models.layers import Dtype, Initializer


class PatchProjection(nn.Module):
    """Cuts images into square patches and projects each linearly to `width` channels.

    It is a convolution whose stride is its kernel, computed as one matrix product; the kernel is
    stored as a convolution's, [patch, patch, channels, width], as the published Mixer's is. Tokens
    run over the grid row by row.
    """

    patch_size: int
    width: int
    kernel_init: Initializer = nn.initializers.lecun_normal()
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """Maps [batch, height, width, channels] to [batch, tokens, self.width].

        Raises:
          InputError: the images have other axes, the patch does not divide their height and width,
            or the kernel is for another number of channels. From Python it is a ValueError.
        """
        check_axes(self, images, ("batch", "height", "width", "channels"))
        batch, height, width, channels = images.shape
        size = self.patch_size
        if height % size or width % size:
            raise InputError(f"patch_size {size} does not divide images of {height} x {width}.")
        pixels = size * size * channels
        check_stored_size(self, "kernel", 2, channels, "channels")

        def init(key: jax.Array, shape: tuple[int, ...], dtype: Dtype) -> Any:
            # Fans are those of the matrix; an initialiser would take a convolution's otherwise.
            matrix = self.kernel_init(key, (pixels, self.width), dtype)
            kernel = jax.tree.map(lambda array: array.reshape(shape), matrix)
            if isinstance(kernel, nn.meta.AxisMetadata):
                # The name of the matrix's rows is that of their slowest axis.
                for axis in (1, 2):
                    kernel = kernel.add_axis(axis, {nn.PARTITION_NAME: None})
            return kernel

        kernel = self.param("kernel", init, (size, size, channels, self.width), self.param_dtype)
        bias = self.param("bias", nn.initializers.zeros, (self.width,), self.param_dtype)
        # One axis at a time, as JAX asks where the batch is spread over a mesh's explicit axes.
        patches = images.reshape(batch, height // size, size, width, channels)
        patches = patches.reshape(batch, height // size, size, width // size, size, channels)
        patches = jax.lax.collapse(patches.swapaxes(2, 3), 3)
        patches = jnp.asarray(jax.lax.collapse(patches, 1, 3), self.dtype)
        matrix = jnp.asarray(kernel.reshape(pixels, self.width), self.dtype)
        return patches @ matrix + jnp.asarray(bias, self.dtype)


class PositionTable(nn.Module):
    """Adds a learned vector to each token."""

    table_init: Initializer
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        check_stored_size(self, "embedding", 0, tokens.shape[1], "tokens")
        table = self.param("embedding", self.table_init, tokens.shape[1:], self.param_dtype)
        return tokens + jnp.asarray(table, self.dtype)
