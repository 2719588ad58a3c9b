"""`tfds:NAME`: an image-classification set of TensorFlow Datasets, read without TensorFlow.

TFDS reads sets that were prepared as ArrayRecord files without TensorFlow; preparing one needs
TensorFlow for nearly every set (CIFAR has a way around it in `cifar`). TFDS takes two seconds
to import, so nothing here imports it before a set of it is asked for.
"""

import difflib
import importlib.util
import os
from pathlib import Path
from typing import Any

from mlpvis_jax.data.decoding import Decoding
from mlpvis_jax.data.examples import Source, fingerprint_of
from mlpvis_jax.data.paths import read_path
from mlpvis_jax.data.tfds_examples import TfdsExamples
from mlpvis_jax.data.tfds_features import only_own_features
from mlpvis_jax.errors import InputError, first_line


def tfds_folder(data_dir: str | Path | None) -> Path:
    """Finds the folder of prepared sets: `data_dir`, else TFDS_DATA_DIR, else TFDS's default."""
    if data_dir:
        return read_path(data_dir, "config.data.data_dir")
    return read_path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets", "TFDS_DATA_DIR")


def open_tfds(name: str, tfds_name: str, data_dir: str | Path | None, decoding: Decoding) -> Source:
    """Opens the set that TFDS calls `tfds_name` (a name, or name/config, or name:version).

    It is read from the folder that `tfds_folder` gives, and prepared there first where it is
    missing and TensorFlow can be imported. Tested is on the split "test", or on "validation" where
    there is none, or where its images have no labels, as ImageNet's and others of competitions.
    Images keep their shape where the set has one for all; otherwise they are brought to one size
    as `decoding` says.

    Raises InputError for a name TFDS does not know, a set that is not prepared and cannot be,
    one that is no image classification, and files that are missing or damaged.
    """
    folder = tfds_folder(data_dir)
    builder = find_prepared(tfds_name, folder)
    if builder is None:
        _prepare(tfds_name, folder)
        builder = find_prepared(tfds_name, folder)
    if builder is None:
        raise InputError(f"TFDS prepared {tfds_name!r}, but {folder} does not hold it.")
    return source_of(name, builder, decoding)


def find_prepared(tfds_name: str, folder: Path) -> Any:
    """Finds the tfds.core.DatasetBuilder of a prepared copy in `folder`; None if there is none.

    Only files are looked at, nothing in the network. Raises InputError for a damaged copy, and for
    one with features that are not TFDS's own.
    """
    import tensorflow_datasets as tfds

    try:
        tfds.core.naming.parse_builder_name_kwargs(tfds_name)
    except ValueError as error:
        raise InputError(
            f"tfds:{tfds_name} does not name a set; write it as tfds:mnist, tfds:name/config or "
            "tfds:name:1.0.0."
        ) from error
    try:
        with only_own_features(folder):
            return tfds.core.read_only_builder.builder_from_files(tfds_name, data_dir=str(folder))
    except InputError:
        raise
    except tfds.core.registered.DatasetNotFoundError:
        # TFDS does not see a copy without this file, and would not prepare it again either.
        for described in (folder / tfds_name).glob("[0-9]*.[0-9]*.[0-9]*/dataset_info.json"):
            raise InputError(
                f"{described.parent} lacks the file features.json; copy all of the set again, or "
                "remove the folder."
            ) from None
        return None
    except Exception as error:  # malformed JSON raises protobuf's ParseError, and others others
        raise InputError(
            f"The prepared copy of {tfds_name!r} in {folder} is damaged ({first_line(error)}); "
            "prepare it again, or copy it again."
        ) from error


def source_of(name: str, builder: Any, decoding: Decoding) -> Source:
    """Opens what the prepared copy behind `builder`, a tfds.core.DatasetBuilder, holds."""
    image_key, label_key, declared_shape = _find_features(builder)
    test_split = "test" if "test" in builder.info.splits else "validation"
    _check_files(builder, ("train", test_split))
    height, width, channels = declared_shape
    if height is None or width is None:
        image_shape = (decoding.size, decoding.size, channels or 3)
        asked: Decoding | None = decoding
    else:
        image_shape = (height, width, channels or 3)
        asked = None

    def examples(split: str) -> TfdsExamples:
        return TfdsExamples(
            builder,
            split,
            keys=(image_key, label_key),
            image_shape=image_shape,
            decoding=asked if asked is None or split == "train" else asked.exact,
        )

    has_both = test_split == "test" and "validation" in builder.info.splits
    if has_both and not examples("test").has_labels():
        test_split = "validation"
    splits = {"train": "train", "test": test_split}
    if has_both and test_split == "test":
        splits["validation"] = "validation"
    _check_files(builder, tuple(splits.values()))
    on_disk = _files_of(builder, tuple(splits.values()))
    return Source(
        name=name,
        class_names=tuple(builder.info.features[label_key].names),
        image_shape=image_shape,
        train=examples("train"),
        test=examples(test_split),
        validation=examples("validation") if "validation" in splits else None,
        split_names=splits,
        fingerprint=fingerprint_of(
            *on_disk, *((None,) if asked is None else (asked.size, *asked.mark))
        ),
        files_fingerprint=fingerprint_of(*on_disk),
    )


def _find_features(builder: Any) -> tuple[str, str, tuple[int | None, int | None, int | None]]:
    """The keys of the image and the label, and the image's shape (None where it varies)."""
    import tensorflow_datasets as tfds

    described = builder.info.features
    is_dict = isinstance(described, tfds.features.FeaturesDict)
    features: dict[str, Any] = dict(described.items()) if is_dict else {}
    image_key, label_key = "image", "label"
    supervised = builder.info.supervised_keys
    if supervised and len(supervised) == 2 and all(isinstance(key, str) for key in supervised):
        image_key, label_key = supervised
    image = features.get(image_key)
    label = features.get(label_key)
    if not isinstance(image, tfds.features.Image) or not isinstance(
        label, tfds.features.ClassLabel
    ):
        raise InputError(
            f"The TFDS set {builder.info.full_name!r} is no image classification: its features "
            f"are {', '.join(sorted(features)) or described}; one with an image and a class label "
            "is needed."
        )
    if image.np_dtype != "uint8" or image.shape[2] not in (None, 1, 3, 4):
        raise InputError(
            f"The images of the TFDS set {builder.info.full_name!r} are {image.np_dtype} "
            f"{image.shape}; uint8 with 1, 3 or 4 channels is needed."
        )
    return image_key, label_key, image.shape


def _check_files(builder: Any, splits: tuple[str, ...]) -> None:
    """InputError unless these splits are there, as ArrayRecord, with all their files."""
    import tensorflow_datasets as tfds

    info = builder.info
    array_record = tfds.core.file_adapters.FileFormat.ARRAY_RECORD
    if array_record not in info.available_file_formats():
        formats = ", ".join(sorted(known.value for known in info.available_file_formats()))
        raise InputError(
            f"The set in {builder.data_dir} was prepared as {formats or 'an unknown format'}; "
            "array_record is needed, so prepare it in another data_dir or convert it with "
            "`tfds convert_format`."
        )
    # The files of a second format have names of their own.
    if info.file_format != array_record:
        info.set_file_format(array_record, override=True, override_if_initialized=True)
    for split in splits:
        if split not in info.splits:
            raise InputError(
                f"The set in {builder.data_dir} has the splits {', '.join(info.splits)}; it needs "
                "train, and test or validation."
            )
        for path in info.splits[split].filepaths:
            if not Path(path).is_file():
                raise InputError(
                    f"{builder.data_dir} lacks the file {Path(path).name}; prepare the set "
                    "again, or copy all of it."
                )


def _files_of(builder: Any, splits: tuple[str, ...]) -> tuple[Any, ...]:
    """What tells the files of these splits from others."""
    folder = Path(builder.data_dir)
    parts = []
    for split in splits:
        for path in builder.info.splits[split].filepaths:
            status = Path(path).stat()
            parts.append((Path(path).name, status.st_size, status.st_mtime_ns))
    return "tfds", str(folder.resolve()), builder.info.full_name, parts


def _prepare(tfds_name: str, folder: Path) -> None:
    """Has TFDS download the set and prepare it in `folder` as ArrayRecord."""
    import tensorflow_datasets as tfds

    builder_name = tfds_name.split("/")[0].split(":")[0]
    # Community sets (with a namespace) are left out: listing them asks the network.
    known = tfds.list_builders(with_community_datasets=False)
    if builder_name not in known:
        near = difflib.get_close_matches(builder_name, known, n=1)
        hint = f"did you mean tfds:{near[0]}?" if near else "see `tfds list` for those there are."
        raise InputError(
            f"TFDS has no set {builder_name!r}, and {folder} holds no prepared one; {hint}"
        )
    if not _can_import_tensorflow():
        raise InputError(
            f"The TFDS set {tfds_name!r} is not prepared in {folder}, and preparing it needs "
            "TensorFlow: `pip install 'mlpvis_jax[tensorflow]'`, or set data_dir to where there is "
            "a prepared copy (as array_record)."
        )
    try:
        builder = tfds.builder(tfds_name, data_dir=str(folder), file_format="array_record")
        builder.download_and_prepare()
    except Exception as error:  # from the network, the disk, the set's own code, ...
        raise InputError(
            f"TFDS could not prepare {tfds_name!r} in {folder}: {first_line(error)}"
        ) from error


def _can_import_tensorflow() -> bool:
    return importlib.util.find_spec("tensorflow") is not None
