"""Opens exported files as functions, with JAX or onnxruntime alone.

It imports nothing of this package, and can be copied to where an exported file is used. As a
program it runs a file on stored images, which is how an export is checked in a fresh process:

    python runners.py FILE IMAGES.npz LOGITS.npz
"""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

# uint8 images [batch, height, width, channels] to float32 logits [batch, classes].
Runner = Callable[[np.ndarray], np.ndarray]


def open_stablehlo(path: Path) -> Runner:
    """Opens a file that `jax.export` serialised; each shape of a batch is compiled once."""
    import jax
    from jax import export

    call = jax.jit(export.deserialize(bytearray(path.read_bytes())).call)
    return lambda images: np.asarray(call(images))


def open_onnx(path: Path) -> Runner:
    """Opens an ONNX file with onnxruntime, on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (images_name,) = (one.name for one in session.get_inputs())

    def run(images: np.ndarray) -> np.ndarray:
        (logits,) = session.run(None, {images_name: images})
        return np.asarray(logits)

    return run


OPENERS: dict[str, Callable[[Path], Runner]] = {
    ".stablehlo": open_stablehlo,
    ".onnx": open_onnx,
}


def run_stored(path: Path, images: Path, logits: Path) -> None:
    """Runs an exported file on each array of an .npz file, and stores the logits by its name."""
    run = OPENERS[path.suffix](path)
    with np.load(images) as batches:
        found = {name: run(batches[name]) for name in batches.files}
    np.savez(logits, **found)  # type: ignore[arg-type]  # its stub takes `allow_pickle` from them


if __name__ == "__main__":
    run_stored(*map(Path, sys.argv[1:4]))
