"""What part of an image becomes the square that a model is given."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlpvis_jax.data import open_source
from mlpvis_jax.data.examples import Example, Examples
from mlpvis_jax.data.framing import centre, frame_seeds, random_frame, whole
from mlpvis_jax.data.images import decode_image, resize_image
from mlpvis_jax.data.resident import PADDING
from mlpvis_jax.errors import InputError
from mlpvis_jax.learning.augment import interpolate
from mlpvis_jax.learning.crops import crop_matrix
from tests.images_on_disk import made, write_folder, write_shards

PIXELS = np.random.default_rng(0).integers(0, 256, (60, 100, 3), np.uint8)


def encoded() -> bytes:
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, "PNG")
    return file.getvalue()


def test_the_centre_is_what_the_papers_evaluate() -> None:
    # The shorter side of 512 x 320 becomes 256; of that the middle 224 are taken.
    smooth = Image.fromarray(PIXELS).resize((512, 320), Image.Resampling.BICUBIC)
    papers = smooth.resize((round(512 * 256 / 320), 256), Image.Resampling.BILINEAR)
    left, top = (papers.width - 224) // 2, (papers.height - 224) // 2
    expected = np.asarray(papers.crop((left, top, left + 224, top + 224)), int)
    found = resize_image(np.asarray(smooth), (224, 224), centre).astype(int)
    assert np.abs(found - expected).mean() < 1  # half a pixel of rounding at the most
    assert np.abs(resize_image(np.asarray(smooth), (224, 224)).astype(int) - expected).mean() > 10


def test_a_frame_is_cut_out_and_resized() -> None:
    found = decode_image(
        encoded(), channels=3, size=8, name="it", frame=lambda width, height: (20.5, 10, 70, 50)
    )
    # As the device crops: rows 10 to 50, columns 20.5 to 70.
    rows = crop_matrix(np.array([10.0]), np.array([40.0]), 8, 60)
    columns = crop_matrix(np.array([20.5]), np.array([49.5]), 8, 100)
    expected = interpolate(PIXELS[None].astype(np.float32), rows, columns)[0]
    assert np.abs(found - expected).max() <= 1.5  # Pillow rounds to whole numbers, twice
    # A frame of just the size that is asked for is not resized, but cut out all the same.
    cut = decode_image(
        encoded(), channels=3, size=16, name="it", frame=lambda width, height: (3, 5, 19, 21)
    )
    np.testing.assert_array_equal(cut, PIXELS[5:21, 3:19])


def test_random_frames_have_the_distribution_of_the_paper() -> None:
    boxes = np.array([random_frame(seed, 0.25)(1250, 800) for seed in range(2000)])
    widths, heights = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    assert boxes.min() >= 0
    assert 1150 < boxes[:, 2].max() <= 1250 and 760 < boxes[:, 3].max() <= 800
    is_cut = heights > 800 - 1e-6
    areas = (widths * heights / 1e6)[~is_cut]
    ratios = (widths / heights)[~is_cut]
    assert areas.min() >= 0.25 - 1e-9 and np.abs(np.log(ratios)).max() <= np.log(4 / 3) + 1e-9
    # Areas are even from 0.25 to 1; boxes as high as the image are among the large ones only.
    below = (widths * heights / 1e6 < 0.4375).mean()
    assert below == pytest.approx(0.25, abs=0.04)
    assert (ratios[areas < 0.4375] > 1).mean() == pytest.approx(0.5, abs=0.06)
    room = 1250 - widths[~is_cut]
    assert (boxes[~is_cut, 0] / room).mean() == pytest.approx(0.5, abs=0.03)


def test_the_frames_of_an_image_do_not_depend_on_its_place() -> None:
    rows = np.array([[3, 1, 0], [2, 4, PADDING]], np.int32)
    seeds = frame_seeds(rows, seed=7, epoch=2)
    assert seeds.dtype == np.uint32 and seeds.shape == rows.shape
    found = dict(zip(rows.ravel().tolist(), seeds.ravel().tolist(), strict=True))
    other = np.array([[0, 1], [2, 3], [4, PADDING]], np.int32)
    again = dict(zip(other.ravel(), frame_seeds(other, seed=7, epoch=2).ravel(), strict=True))
    assert {row: found[row] for row in range(5)} == {row: int(again[row]) for row in range(5)}
    assert len({found[row] for row in range(5)}) == 5
    for seed, epoch in ((7, 3), (8, 2)):
        assert not set(frame_seeds(rows, seed, epoch)[0]) & set(seeds[0])
    copies = np.array([[0, 0, 0], [1, 1, 1]], np.int32)
    assert len(np.unique(frame_seeds(copies, 7, 2))) == 6


def test_sources_of_files_are_framed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    images = made(6)
    splits = {"train": images, "test": made(3, seed=1)}
    write_folder(tmp_path / "folder", splits)
    write_shards(tmp_path / "shards", splits)
    for name in (f"folder:{tmp_path / 'folder'}", f"shards:{tmp_path / 'shards'}"):
        stretched = open_source(name, image_size=8)
        framed = open_source(name, image_size=8, framing="centre")
        assert stretched.fingerprint != framed.fingerprint
        for source, frame in ((stretched, whole), (framed, centre)):
            expected = {
                decode_image(one, channels=3, size=8, name="", frame=frame).tobytes()
                for one, _ in images
            }
            assert {source.train[row].image.tobytes() for row in range(6)} == expected
        some = framed.train.take(np.array([4, 2]))
        frames = [random_frame(0, 0.1), random_frame(1, 0.1)]
        for found, row, frame in zip(some.gather([0, 1], frames), (4, 2), frames, strict=True):
            np.testing.assert_array_equal(found.image, framed.train.framed(row, frame).image)
            assert found.label == framed.train[row].label


def test_images_to_train_on_are_decoded_at_a_reduced_scale_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    splits = {"train": made(6), "test": made(3, seed=1), "validation": made(3, seed=2)}
    write_folder(tmp_path / "folder", splits)
    write_shards(tmp_path / "shards", splits)
    for name in (f"folder:{tmp_path / 'folder'}", f"shards:{tmp_path / 'shards'}"):
        exact = open_source(name, image_size=4)
        reduced = open_source(name, image_size=4, reduced_jpeg=True)
        assert exact.fingerprint != reduced.fingerprint
        assert not np.array_equal(exact.train[0].image, reduced.train[0].image)
        some = reduced.train.take(np.array([3]))
        np.testing.assert_array_equal(some[0].image, reduced.train[3].image)
        assert reduced.validation is not None and exact.validation is not None
        for found, expected in (
            *zip(reduced.test, exact.test, strict=True),
            *zip(reduced.validation, exact.validation, strict=True),
        ):
            np.testing.assert_array_equal(found.image, expected.image)


def test_images_of_one_shape_are_not_framed() -> None:
    with pytest.raises(InputError, match="framing=centre is for images of any proportions"):
        open_source("digits", image_size=8, framing="centre")
    with pytest.raises(InputError, match="reduced_jpeg=True is for images of any proportions"):
        open_source("digits", image_size=8, reduced_jpeg=True)


def test_examples_of_ones_own_need_not_know_of_frames() -> None:
    class Own(Examples):
        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: int) -> Example:
            return Example(np.full((1, 1, 1), index, np.uint8), index)

        def gather(self, indices: Sequence[int]) -> list[Example]:  # type: ignore[override]
            return [self[index] for index in indices]

    some = Own().take(np.array([2, 0]))
    assert [example.label for example in some.gather([1, 0, 0])] == [0, 2, 2]
