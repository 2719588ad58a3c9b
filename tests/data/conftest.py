"""What several of the tests of mlpvis_jax.data need."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test looks into, or writes to, what the developer has in their own folders."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "no-data-dir"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


# Read before the fixture above hides it.
_REAL = Path(
    os.environ.get("TFDS_DATA_DIR") or Path(__file__).resolve().parents[2] / "../shared/tfds"
)


@pytest.fixture
def real_cifar100() -> Path:
    """A TFDS data_dir with the real CIFAR-100."""
    if not (_REAL / "cifar100").is_dir():
        pytest.skip(f"the real CIFAR-100 is not in {_REAL}; name its folder in TFDS_DATA_DIR")
    return _REAL


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def prepare_set(tmp_path: Path) -> Callable[..., Path]:
    """A function that prepares a set of TFDS, and returns the folder of its files."""

    def prepare(
        features: dict[str, Any],
        splits: dict[str, list[dict[str, Any]]],
        *,
        supervised_keys: Any = None,
        tfds_name: str = "tiny",
    ) -> Path:
        import tensorflow_datasets as tfds

        with tfds.core.registered.skip_registration():

            class Tiny(tfds.core.GeneratorBasedBuilder):
                name = tfds_name
                VERSION = tfds.core.Version("1.0.0")

                def _info(self) -> Any:
                    return tfds.core.DatasetInfo(
                        builder=self,
                        features=tfds.features.FeaturesDict(features),
                        supervised_keys=supervised_keys,
                    )

                def _split_generators(self, download_manager: Any) -> dict[str, Any]:
                    return {split: enumerate(examples) for split, examples in splits.items()}

                def _generate_examples(self) -> None:
                    raise NotImplementedError

            builder = Tiny(data_dir=str(tmp_path), file_format="array_record")
            builder.download_and_prepare()
        return Path(builder.data_dir)

    return prepare
