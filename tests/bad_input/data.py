"""Sources of images: their names, npz files, folders of images, TFDS."""

import io
import os

import numpy as np

from tests.bad_input.table import GOOD, bad, bare, damaged, encoded, file, folder, images, npz

IMAGES, LABELS = GOOD["x_train"], GOOD["y_train"]
NPZ = "--config.data.source=npz:{here}/set.npz"
FOLDER = "--config.data.source=folder:{here}/images"


def loop(here):
    (here / "loop").symlink_to("loop")


def npy():
    stream = io.BytesIO()
    np.save(stream, IMAGES)
    return stream.getvalue()


def middle(content):
    """Another byte in the first array."""
    place = content.index(b"NUMPY") + 200
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


ROWS = [
    bad("--config.data.source=cifar11", "There is no data source 'cifar11'", "did you mean 'cifar"),
    bad("--config.data.source=digit", "There is no data source 'digit' (did you mean 'digits'?)"),
    bad("--config.data.source=Digits", "did you mean 'digits'?"),
    bad("--config.data.source=imagenet:", "There is no data source 'imagenet:'", "tfds:NAME"),
    bad("--config.data.source=tfds", "There is no data source 'tfds'", "'tfds:NAME'"),
    bad("--config.data.source=tfds:", "There is no data source 'tfds:'"),
    bad("--config.data.source=folder:", "There is no data source 'folder:'"),
    bad("--config.data.source=npz", "There is no data source 'npz'"),
    bad("--config.data.source=shards:{here}/none", "There is no folder {here}/none; shards:PATH"),
    bad("--config.data.source=shards:{here}", "has shards of no split; it needs tar files named"),
    bad(
        "--config.data.source=shards:{here}",
        "train-0.tar is not a tar file that can be read",
        file("train-0.tar", b"noise"),
        file("test-0.tar", b"noise"),
    ),
    bad("--config.data.feed=disk", "config.data.feed must be one of resident, stream, not 'disk'"),
    bad("--config.data.framing=center", "config.data.framing must be one of stretch, centre"),
    bad("--config.data.framing=centre", "for images of any proportions; those of digits have one"),
    bad("--config.data.reduced_jpeg=True", "reduced_jpeg=True is for images of any proportions"),
    bad("--config.data.random_crop=0", "config.data.random_crop must be above 0 and at most 1"),
    bad("--config.data.random_crop=0.1", "those of digits have one shape", "random_resized_crop"),
    bad(
        "--config.data.random_crop=0.1 --config.data.feed=resident --config.data.source=folder:"
        "{here}/x",
        "decodes an image once, and config.data.random_crop each time",
        images("x/a", "x/b"),
    ),
    bad("--config.data.workers=-1", "config.data.workers must be at least 0 and at most 1,024"),
    bad("--config.data.source=digits:8", "There is no data source 'digits:8'"),
    bad("--config.data.source=digits:", "There is no data source 'digits:'"),
    bad("--config.data.source=", "There is no data source ''"),
    bad("--config.data.source=:", "There is no data source ':'"),
    bad("--config.data.source={here}", "(did you mean 'folder:{here}'?)"),
    bad("--config.data.source={here}/set.npz", "(did you mean 'npz:{here}/set.npz'?)", npz()),
    # paths that are none
    *(
        bad(
            f"--config.data.{setting}{path}", f"data.{key} is ", "which is no path: ", reason,
            more, loop,
        )
        for setting, key, more in (
            ("source=npz:", "source", folder("x")),
            ("source=folder:", "source", folder("x")),
            ("source=tfds:mnist --config.data.data_dir=", "data_dir", folder("x")),
            ("source=cifar10 --config.data.data_dir=", "data_dir", folder("x")),
            ("source=folder:{here}/x --config.data.cache_dir=", "cache_dir", images("x/a", "x/b")),
        )
        for path, reason in (
            ("~nosuchuser/x", "home directory"),
            ("x" * 300, "File name too long"),
            ("x/" * 3000, "File name too long"),
            ("{here}/loop/x", "Too many levels of symbolic links"),
        )
    ),
    # npz files
    bad(NPZ, "There is no file {here}/set.npz"),
    bad("--config.data.source=npz:{here}", "There is no file {here}", folder("x")),
    bad(NPZ, "set.npz is not an .npz file", file("set.npz", b"")),
    bad(NPZ, "set.npz is not an .npz file", file("set.npz", b"no archive")),
    bad(NPZ, "set.npz is not an .npz file", file("set.npz", encoded())),
    bad(NPZ, "set.npz is not an .npz file", file("set.npz", npy())),
    bad(NPZ, "set.npz is not an .npz file", npz(), damaged(lambda data: data[:-30], "set.npz")),
    bad(NPZ, "set.npz: x_train is damaged", npz(), damaged(middle, "set.npz")),
    bad(NPZ, "has no x_test", "holds x_train", npz(x_test=None)),
    bad(NPZ, "has no x_test and no y_test", npz(x_test=None, y_test=None)),
    bad(NPZ, "has no y_train", npz(y_train=None)),
    bad(NPZ, "y_train is an array of Python objects", npz(y_train=LABELS.astype(object))),
    bad(NPZ, "x_train is an array of Python objects", npz(x_train=np.array([IMAGES, 1], object))),
    bad(NPZ, "y_train is float64; labels must be integers", npz(y_train=LABELS / 1)),
    bad(NPZ, "y_test is <U1", "labels must be integers", npz(y_test=LABELS.astype("U1"))),
    bad(NPZ, "y_train is bool; labels must be integers", npz(y_train=LABELS == 1)),
    bad(NPZ, "y_test[1] is 2", "0 to 1", npz(y_test=LABELS + 1)),
    bad(NPZ, "y_train[0] is -1; labels count from 0", npz(y_train=LABELS - 1)),
    bad(NPZ, "y_test[0] is -1; labels count from 0", npz(y_test=LABELS - 1)),
    bad(NPZ, "y_train has no image of class 1 but one of class 2", npz(y_train=LABELS * 2)),
    bad(NPZ, "y_train has no image of class 0 but one of", npz(y_train=LABELS + 1)),
    bad(NPZ, "10 images and y_train 9 labels", npz(y_train=LABELS[:9])),
    bad(NPZ, "9 images and y_test 10 labels", npz(x_test=IMAGES[:9])),
    bad(NPZ, "y_train has shape [10, 2]; labels must be", npz(y_train=np.eye(10, 2, dtype=int))),
    bad(NPZ, "y_train has shape []", npz(y_train=np.int64(1))),
    bad(NPZ, "x_train is float64; images must be uint8", npz(x_train=IMAGES / 255)),
    bad(NPZ, "x_test is int16; images must be uint8", npz(x_test=IMAGES.astype(np.int16))),
    bad(NPZ, "channels first", "transpose(0, 2, 3, 1)", npz(x_train=np.moveaxis(IMAGES, 3, 1))),
    bad(NPZ, "x_train has shape [10, 8]", npz(x_train=IMAGES[..., 0, 0])),
    bad(NPZ, "x_train has shape [10, 1, 8, 8, 3]", npz(x_train=IMAGES[:, None])),
    bad(NPZ, "x_train has shape [10, 0, 8, 3]", npz(x_train=IMAGES[:, :0])),
    bad(NPZ, "x_train are [8, 8, 3] and those of x_test [4, 8, 3]", npz(x_test=IMAGES[:, :4])),
    bad(NPZ, "[8, 8, 3]", "[8, 8, 1]", npz(x_test=IMAGES[..., :1])),
    bad(NPZ, "test part", "empty", npz(x_test=IMAGES[:0], y_test=LABELS[:0])),
    bad(NPZ, "x_train is empty", npz(x_train=IMAGES[:0], y_train=LABELS[:0])),
    bad(
        NPZ, "at least 2",
        npz(x_train=IMAGES[:1], y_train=LABELS[:1], y_test=LABELS * 0),
    ),
    bad(NPZ, "class_names is <U3 [1]", "the 2 classes", npz(class_names=np.array(["cat"]))),
    bad(
        "--config.data.source=__main__:no",
        "config.data.source=__main__:no cannot be imported (AttributeError",
    ),
    bad(NPZ, "class_names is int64 [2]", npz(class_names=np.array([1, 2]))),
    bad(NPZ, "class_names is <U3 []", npz(class_names=np.array("cat"))),
    bad(NPZ, "has no y_val; it needs", npz(x_val=IMAGES)),
    bad(NPZ, "y_val[1] is 2", "0 to 1", npz(x_val=IMAGES, y_val=LABELS + 1)),
    # what validates, and what a quick try takes
    bad("--config.data.validation=val", "'val', which digits cannot follow; give None"),
    bad("--config.data.validation=last", "config.data.validation is 'last'", "stratified:0.1 or"),
    bad("--config.data.validation=last:0", "config.data.validation is 'last:0'"),
    bad("--config.data.validation=stratified:1", "any share between 0 and 1"),
    bad("--config.data.validation=last:0.9999", "leaves none to train or none to validate"),
    bad("--config.data.limit=0", "config.data.limit must be at least 1"),
    bad("--config.data.limit=9", "config.data.limit is 9, and digits has 10 classes"),
    bad(
        NPZ + " --config.data.validation=last:0.5", "leaves no image of the class '1'", "to train",
        npz(y_train=np.arange(10) // 5),
    ),
    bad(
        NPZ, "The class '1' of npz:{here}/set.npz has one image to train on", "another to validate",
        npz(y_train=np.arange(10) // 9),
    ),
    bad(NPZ, "has only the class '0'; at least 2", npz(y_train=LABELS * 0, y_test=LABELS * 0)),
    # folders of images
    bad(FOLDER, "There is no folder {here}/images"),
    bad(FOLDER, "{here}/images is not a folder", file("images", "")),
    bad(FOLDER, "{here}/images has no folders", folder("images")),
    bad(FOLDER, "has no folders", images("images/1.png")),
    bad(FOLDER, "has no folders", images("images/.hidden/1.png")),
    bad(FOLDER, "images/cat has no images", folder("images/cat")),
    bad(FOLDER, "images/cow has no images", images("images/cat"), folder("images/cow")),
    bad(FOLDER, "images/cat has no images", file("images/cat/notes.txt", "mine")),
    bad(FOLDER, "images/cat has no images", images("images/cat/.1.png")),
    bad(FOLDER, "'train' but no folder 'test'", images("images/train/cat")),
    bad(FOLDER, "'test' but no folder 'train'", images("images/test/cat")),
    bad(FOLDER, "images/Test is no class, as it", images("images/Train/cat", "images/Test/cat")),
    bad(FOLDER, "images/cat/1.tif is of a kind of images", images("images/cat/1.tif")),
    bad(
        FOLDER, "images/cat/1.png is not a file, but a pipe", folder("images/cat"),
        lambda here: os.mkfifo(here / "images/cat/1.png"),
    ),
    bad(
        FOLDER, "images/cat/1.png is a link that cannot be followed", folder("images/cat"),
        lambda here: (here / "images/cat/1.png").symlink_to("nowhere"),
    ),
    bad(FOLDER, "train has no folders", folder("images/train"), folder("images/test")),
    bad(FOLDER, "test has no folders", images("images/train/cat"), folder("images/test")),
    bad(FOLDER, "test/cat has no images", images("images/train/cat"), folder("images/test/cat")),
    bad(
        FOLDER, "the class 'dog' is not in", "images/test/dog",
        images("images/train/cat", "images/test/cat", "images/test/dog"),
    ),
    bad(
        FOLDER, "images/cow/0.png cannot be decoded",
        images("images/cat", "images/cow"), file("images/cow/0.png", encoded()[:40]),
    ),
    bad(
        FOLDER, "images/cow/0.png cannot be decoded",
        images("images/cat", "images/cow"), file("images/cow/0.png", b""),
    ),
    bad(
        FOLDER, "images/cow/0.png cannot be decoded",
        images("images/cat", "images/cow"), file("images/cow/0.png", "a text"),
    ),
    bad(
        FOLDER, "images/cow/0.jpg cannot be decoded",
        images("images/cat", "images/cow"), file("images/cow/0.jpg", encoded("JPEG")[:100]),
    ),
    # TFDS
    bad("--config.data.source=tfds:mnistt", "mnistt", "did you mean tfds:mnist?"),
    bad("--config.data.source=tfds:no/such:name!", "no/such:name! does not name a set"),
    bad("--config.data.source=tfds:mnist", "'mnist' is not prepared in {here}/tfds", "TensorFlow"),
    bad(
        "--config.data.source=tfds:mnist --config.data.data_dir={here}/elsewhere",
        "'mnist' is not prepared in {here}/elsewhere",
    ),
    bare("--config=configs/mixer.py", "cifar-100", "could not be downloaded", "by hand"),
    bad("--config.data.source=cifar10", "cifar-10", "could not be downloaded"),
    bad("--config.data.source=tfds:cifar100", "cifar-100", "could not be downloaded"),
]  # fmt: skip
