"""The worker of `throughput` that does the Keras example's program, on the backend KERAS_BACKEND.

python -m benchmarks.keras_worker NPZ MODEL

The models are those that the parity tests compare with: one description of the example's models
is enough, and it is a tested one. Augmentation is part of the model, as in the example. Its two
callbacks act on a validation, which is not measured on either side, and are left out.
"""

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import workers

# Those of the example; the project has them in configs/.
BATCH_SIZE = 128
WEIGHT_DECAY = 1e-4
LEARNING_RATES = {"mixer": 0.005, "fnet": 0.001, "gmlp": 0.003}
_TRAINING_SHARE = 0.9


def build_model(name: str, images: np.ndarray, num_classes: int) -> Any:
    """Compiles a Keras model with the example's augmentation, adapted to the images.

    Args:
      name: mixer, fnet or gmlp.
      images: uint8 [number, height, width, channels].
      num_classes: width of the head.
    """
    import keras

    from benchmarks import keras_models

    normalization = keras.layers.Normalization()
    normalization.adapt(images)
    model = keras_models.build(
        f"{name}_keras",
        preprocessing=[
            normalization,
            keras.layers.Resizing(64, 64),
            keras.layers.RandomFlip("horizontal"),
            keras.layers.RandomZoom(height_factor=0.2, width_factor=0.2),
        ],
        num_classes=num_classes,
        image_size=images.shape[1],
    )
    model.compile(
        optimizer=keras.optimizers.AdamW(LEARNING_RATES[name], weight_decay=WEIGHT_DECAY),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[
            keras.metrics.SparseCategoricalAccuracy(),
            keras.metrics.SparseTopKCategoricalAccuracy(5),
        ],
    )
    return model


def prepare(npz: str, name: str) -> tuple[dict[str, Any], workers.Measure]:
    """Builds the model, and runs an epoch to warm up."""
    import keras

    from benchmarks import memory

    with np.load(npz) as arrays:
        number = int(len(arrays["y_train"]) * _TRAINING_SHARE)
        num_classes = int(arrays["y_train"].max()) + 1
        images, labels = arrays["x_train"][:number], arrays["y_train"][:number]
    model = build_model(name, images, num_classes)

    first_step: list[float] = []  # when it was finished: since the start, and since fit began

    def note_first_step(batch: int, logs: Any) -> None:
        if not first_step:
            first_step.extend([workers.seconds_since_start(), time.perf_counter() - start])

    def fit(**options: Any) -> None:
        model.fit(images, labels, batch_size=BATCH_SIZE, epochs=1, verbose=0, **options)

    start = time.perf_counter()
    fit(callbacks=[keras.callbacks.LambdaCallback(on_train_batch_end=note_first_step)])
    description = {
        "compile_seconds": first_step[1],
        "start_to_first_step_seconds": first_step[0],
        "start_to_first_epoch_seconds": workers.seconds_since_start(),
        "batch_size": BATCH_SIZE,
        "dtype": keras.config.dtype_policy().compute_dtype,
    }

    def measure(seconds: float) -> dict[str, Any]:
        epochs = 0
        start = time.perf_counter()
        while epochs == 0 or time.perf_counter() - start < seconds:
            fit()
            epochs += 1
        return {
            "images": epochs * number,
            "steps": epochs * -(-number // BATCH_SIZE),
            "seconds": time.perf_counter() - start,
            "host_peak_bytes": memory.host_peak_bytes(),
            "device_peak_bytes": _DEVICE_PEAK_BYTES[keras.backend.backend()](),
        }

    return description, measure


def _of_jax() -> int | None:
    from benchmarks import memory

    return memory.device_peak_bytes()


def _of_tensorflow() -> int | None:
    import tensorflow as tf

    if not tf.config.list_physical_devices("GPU"):
        return None
    return tf.config.experimental.get_memory_info("GPU:0")["peak"]


def _of_torch() -> int | None:
    import torch

    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None


_DEVICE_PEAK_BYTES: dict[str, Callable[[], int | None]] = {
    "jax": _of_jax,
    "tensorflow": _of_tensorflow,
    "torch": _of_torch,
}


if __name__ == "__main__":
    workers.answer(lambda: prepare(*sys.argv[1:]))
