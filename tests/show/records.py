"""Records of epochs, as a run writes them down."""

from typing import Any


def history(number: int) -> list[dict[str, Any]]:
    return [
        {
            "epoch": epoch,
            "step": 10 * epoch,
            "train_loss": 4.0 / epoch,
            "train_accuracy": 0.1 + 0.01 * epoch,
            "validation_loss": 3.5 / epoch if epoch < 4 else 1.5,
            "validation_accuracy": 0.12 + 0.01 * epoch,
            "validation_top5_accuracy": 0.5,
            "learning_rate": 0.005 if epoch < 3 else 0.0025,
            "seconds": 75.6,
            "images_per_second": 1234.4,
        }
        for epoch in range(1, number + 1)
    ]
