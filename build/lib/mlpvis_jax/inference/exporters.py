"""From a function of images to the content of a file that other programs run."""

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import export

from mlpvis_jax.errors import InputError
from mlpvis_jax.models import fnet

PLATFORMS = ("cpu", "cuda", "tpu")
_OPSET = 17  # of ONNX, of 2022: the oldest in which the models' operations agree

# Pure: uint8 images [batch, height, width, channels] to float32 logits [batch, classes].
Program = Callable[[jax.Array], jax.Array]


class Exporter(NamedTuple):
    """A row of EXPORTERS.

    Attributes:
      serialize: gives the file's content of (program, shape of its input as `symbolic_shape` takes
        it), and JSON values about how it was made.
      suffix: of the file's name.
      only_float32: what runs the file has no bfloat16; the model is computed in float32.
    """

    serialize: Callable[[Program, str], tuple[bytes, dict[str, Any]]]
    suffix: str
    only_float32: bool


def to_stablehlo(program: Program, shape: str) -> tuple[bytes, dict[str, Any]]:
    """Lowers a program for each of PLATFORMS; see `Exporter.serialize`.

    Raises:
      InputError: flatbuffers is not installed.
    """
    with _needing("flatbuffers", "export"):
        import flatbuffers  # noqa: F401  # which `serialize` needs
    exported = export.export(jax.jit(program), platforms=PLATFORMS)(_images(shape))
    told = {
        "platforms": list(exported.platforms),
        "calling_convention_version": exported.calling_convention_version,
        "made_by": f"jax {jax.__version__}",
    }
    return bytes(exported.serialize()), told


def to_onnx(program: Program, shape: str) -> tuple[bytes, dict[str, Any]]:
    """Translates a program to ONNX; see `Exporter.serialize`.

    Raises:
      InputError: jax2onnx or onnxruntime is not installed, or the program has an operation that
        jax2onnx does not know.
    """
    with _needing("jax2onnx", "onnx"):
        import jax2onnx
        import onnxruntime  # noqa: F401  # which the check needs

    with _plain_fourier_mixing(), _without_warnings("onnx_ir"):
        try:
            model = jax2onnx.to_onnx(
                program,
                [_images(shape)],
                opset=_OPSET,
                input_names=["images"],
                output_names=["logits"],
            )
        except NotImplementedError as error:
            raise InputError(
                f"--format=onnx: jax2onnx cannot translate this model ({error}); "
                "--format=stablehlo can."
            ) from error
    return model.SerializeToString(), {"opset": _OPSET, "made_by": f"jax2onnx {_version()}"}


EXPORTERS: Mapping[str, Exporter] = {
    "stablehlo": Exporter(to_stablehlo, ".stablehlo", False),
    "onnx": Exporter(to_onnx, ".onnx", True),
}


def _images(shape: str) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(export.symbolic_shape(shape), jnp.uint8)


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("jax2onnx")
    except PackageNotFoundError:
        return "of an unknown version"


@contextlib.contextmanager
def _needing(package: str, extra: str) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise InputError(
            f"--mode=export needs {package}, which cannot be imported ({error}): "
            f"pip install 'mlpvis_jax[{extra}]'"
        ) from error


@contextlib.contextmanager
def _plain_fourier_mixing() -> Iterator[None]:
    """Writes FNet's transform as products that jax2onnx translates.

    It refuses `custom_linear_solve` where there are constants, which only derivatives would need,
    and mixes up the axes of folded products where the batch is a symbol.
    """
    mixing = fnet.fourier_mixing
    fnet.fourier_mixing = lambda inputs: fnet.fourier_mixing_by_whole_tables(
        inputs.astype(jnp.float32)
    )
    try:
        yield
    finally:
        fnet.fourier_mixing = mixing


@contextlib.contextmanager
def _without_warnings(name: str) -> Iterator[None]:
    """Keeps a library from telling of names of its own that it has not given a type."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
