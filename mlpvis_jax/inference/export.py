"""Exports a trained classifier, runs the file in a fresh process, and compares."""

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

import mlpvis_jax
from mlpvis_jax.errors import InputError, StorageError, nearest
from mlpvis_jax.files.atomic import replacing
from mlpvis_jax.files.place import free_name
from mlpvis_jax.files.run_folder import RunFolder, write_json
from mlpvis_jax.inference.agreement import compare
from mlpvis_jax.inference.exported import DESCRIPTION
from mlpvis_jax.inference.exporters import EXPORTERS, Program
from mlpvis_jax.inference.trained import TrainedClassifier, load_run
from mlpvis_jax.learning import augment
from mlpvis_jax.settings.config import RunConfig
from mlpvis_jax.show.terminal import print_header


def export_run(
    config: RunConfig, folder: RunFolder, format: str | None, image_size: str | None
) -> Path:
    """Exports the best weights of a run, and prints where they are and how they agree.

    Nothing is replaced: after RUN/export come RUN/export-2, and so on.

    Args:
      config: settings of the run.
      folder: of the run.
      format: a row of EXPORTERS; by default "stablehlo".
      image_size: "any", for images of any size without resizing, or None.

    Returns:
      The new folder.

    Raises:
      InputError: no weights, or what `export_classifier` raises it for.
      RunError, StorageError: as `export_classifier` does.
    """
    if image_size not in (None, "any"):
        raise InputError(
            f"--image_size={image_size} is no choice: give --image_size=any, or leave it out for "
            "images of the size that the run was trained on."
        )
    format = "stablehlo" if format is None else format
    _check_format(format, "--format=")
    classifier = load_run(config, folder)
    place = folder.path / free_name(folder.path, "export")
    told = export_classifier(classifier, place, format=format, any_size=image_size == "any")
    _print(place, told)
    return place


def export_classifier(
    classifier: TrainedClassifier,
    folder: str | os.PathLike,
    *,
    format: str = "stablehlo",
    any_size: bool = False,
) -> dict[str, Any]:
    """Writes a classifier as a file that other programs run, and export.json beside it.

    The file is run in a fresh process, on images that are made up, before it is there.

    Args:
      classifier: what `mlpvis_jax.load` gives.
      folder: a new one.
      format: a row of EXPORTERS.
      any_size: the file takes images of any height and width that the patch divides, and resizes
        nothing; for a model without weights over tokens. Otherwise it takes images of the size
        that the model was trained on, and brings them to the model's own.

    Returns:
      The content of export.json.

    Raises:
      InputError: an unknown format, a package that is not installed, a model that cannot be
        exported so, or a folder that is there.
      RunError: the file does not run, or gives other probabilities than the classifier.
      StorageError: it cannot be written.
    """
    folder = Path(folder).expanduser()
    _check_format(format, "format ")
    if folder.exists() or folder.is_symlink():
        raise InputError(f"There is a {folder} already; choose another folder for the export.")
    exporter = EXPORTERS[format]
    shape = _input_shape(classifier, any_size)
    program = _program(classifier, any_size, exporter.only_float32)
    _check_sizes(program, shape, any_size)
    content, made = exporter.serialize(program, shape)
    height, width, channels = classifier.image_shape
    size = classifier.image_size
    told = {
        "format": format,
        "file": f"classifier{exporter.suffix}",
        "sha256": hashlib.sha256(content).hexdigest(),
        "input": {"name": "images", "dtype": "uint8", "shape": _readable(shape)},
        "output": {
            **{"name": "logits", "dtype": "float32"},
            "shape": ["batch", len(classifier.class_names)],
        },
        "class_names": list(classifier.class_names),
        "image_shape": [size, size, channels] if any_size else [height, width, channels],
        **made,
        "mlpvis_jax": mlpvis_jax.__version__,
        "description": dict(classifier.description),
    }
    with _making(folder) as partial:
        file = partial / told["file"]
        with replacing(file) as whole:
            whole.write_bytes(content)
        told["agreement"] = compare(classifier, file, any_size)._asdict()
        write_json(partial / DESCRIPTION, told)
    return told


def _check_format(format: str, given_as: str) -> None:
    if format not in EXPORTERS:
        near = nearest(format, EXPORTERS)
        hint = f" (did you mean {near!r}?)" if near else ""
        raise InputError(f"{given_as}{format} is unknown{hint}; there are {', '.join(EXPORTERS)}.")


def _input_shape(classifier: TrainedClassifier, any_size: bool) -> str:
    """The shape of the file's input, as `jax.export.symbolic_shape` reads it."""
    height, width, channels = classifier.image_shape
    if any_size:
        patch = classifier.model.patch_size
        return f"batch, {patch}*rows, {patch}*columns, {channels}"
    return f"batch, {height}, {width}, {channels}"


def _readable(shape: str) -> list[int | str]:
    return [int(size) if size.isdecimal() else size for size in shape.split(", ")]


def _program(classifier: TrainedClassifier, any_size: bool, only_float32: bool) -> Program:
    """All from pixels to logits as one function, the weights inside."""
    # Neither changes what is computed; a loop would keep the weights twice.
    model = classifier.model.clone(scan=False, remat=False)
    if only_float32:
        model = model.clone(dtype=jnp.float32)
    height, width, _ = classifier.image_shape
    size = classifier.image_size
    # Computed now: of the resizing, the file has the two matrices.
    rows, columns = (augment.resize_matrix(size, old)[None] for old in (height, width))
    resizes = not any_size and (height, width) != (size, size)

    def program(images: jax.Array) -> jax.Array:
        prepared = classifier.normalization(images)
        if resizes:
            prepared = augment.interpolate(prepared, rows, columns)
        logits: Any = model.apply({"params": classifier.params}, prepared)
        return logits

    return program


def _check_sizes(program: Program, shape: str, any_size: bool) -> None:
    """Refuses any size for a model that has weights over tokens; nothing is computed."""
    images = jax.ShapeDtypeStruct(jax.export.symbolic_shape(shape), jnp.uint8)
    try:
        jax.eval_shape(program, images)
    except InputError as error:
        if not any_size:
            raise
        raise InputError(
            f"--image_size=any is for a model without weights over tokens, such as an FNet without "
            f"position table; {str(error)[:1].lower()}{str(error)[1:]}"
        ) from error


@contextlib.contextmanager
def _making(folder: Path) -> Iterator[Path]:
    """Gives a folder to write to, which takes its name when all is there, or goes.

    Raises:
      StorageError: it cannot be written.
    """
    partial = folder.with_name(f"{folder.name}.partial-{os.getpid()}")
    try:
        partial.mkdir(parents=True)
        yield partial
        partial.rename(folder)
    except OSError as error:
        raise StorageError(f"{folder} cannot be written ({error.strerror or error}).") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _print(place: Path, told: Mapping[str, Any]) -> None:
    agreement = told["agreement"]
    shape = ", ".join(map(str, told["input"]["shape"]))
    print_header(
        {
            "exported": str(place / told["file"]),
            "described": str(place / DESCRIPTION),
            "input": f"uint8 [{shape}]",
            "agreement": (
                f"in a fresh process, the same class of {agreement['same_class']} of "
                f"{agreement['images']} images; probabilities differ by "
                f"{agreement['largest_probability_difference']:.2g} at most, logits by "
                f"{agreement['largest_logit_difference']:.2g}"
            ),
        }
    )
