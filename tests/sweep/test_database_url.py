"""A database is named by its URL, of which nothing secret is shown."""

import pytest

from mlpvis_jax.errors import InputError
from mlpvis_jax.sweep.database_url import DatabaseUrl
from mlpvis_jax.sweep.storage import OwnStorage, read_storage

pytest.importorskip("sqlalchemy")

HOST = "postgresql://sweeper:***@127.0.0.1/name"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://sweeper:s3cret@127.0.0.1/name", HOST),
        ("postgresql://sweeper:s3cret%40%25@127.0.0.1/name", HOST),
        ("postgresql://sweeper:50%s3cret@127.0.0.1/name", HOST),
        ("postgresql://sweeper:a:s3cret@127.0.0.1/name", HOST),
        ("postgresql://sweeper:a@127.0.0.1/name?sslpassword=s3cret&sslmode=require", HOST),
        ("postgresql://127.0.0.1/name?password=s3cret", "postgresql://127.0.0.1/name"),
        ("postgresql://:s3cret@[::1]:1/name", "postgresql://:***@[::1]:1/name"),
        ("mysql+pymysql://u:s3cret@h?passwd=s3cret", "mysql+pymysql://u:***@h"),
    ],
)
def test_a_url_is_shown_without_its_secrets(url, shown):
    found = DatabaseUrl.parse(url)
    assert found.shown == shown and "s3cret" in found.full
    assert "s3cret" not in repr(found)


@pytest.mark.parametrize(
    "url",
    [
        *("postgresql://sweeper:a@s3cret@127.0.0.1/name", "postgresql://sweeper:s3cret@h:1:2/name"),
        *("postgresql://h:1/name?password=a@s3cret", "postgresql://u:a?b@h/name?c=s3cret@h"),
        *("postgresql://u:1/s3cret@h/name", "postgresql://u:a#s3cret@h", "u:s3cret@h/name"),
        *("postgresql://u:s3 cret@h", "oracle://u:s3cret@h/name", "sqlite:///name?key=s3cret", ""),
    ],
)
def test_what_is_no_url_is_not_repeated(url):
    with pytest.raises(InputError, match="--storage") as caught:
        DatabaseUrl.parse(url)
    assert "cret" not in str(caught.value) and caught.value.__cause__ is None


@pytest.mark.parametrize("typed", ["postgresql:/u:s3cret@h/name", "postgresql:u:s3cret@h", "u:3@h"])
def test_a_mistyped_url_is_not_taken_for_an_import_path(typed):
    with pytest.raises(InputError, match="--storage is no URL of a database") as caught:
        read_storage(typed)
    assert "cret" not in str(caught.value)
    assert read_storage("my_package.stores:Own") == OwnStorage("my_package.stores:Own")


def test_a_driver_that_repeats_the_secrets():
    url = DatabaseUrl.parse("postgresql://u:p%40ss@h/name?sslpassword=s3cret&sslmode=odd")
    assert url.hide("p@ss, p%40ss and s3cret; odd") == "***, *** and ***; odd"


def test_urls_of_one_database_are_of_one_place():
    urls = ["//h/name", "//h:5432/name", "//a:b@h/name?sslmode=require", "//h:1/name", "//h/other"]
    places = [DatabaseUrl.parse(f"postgresql:{url}").place for url in urls]
    assert places[0] == places[1] == places[2] and len(set(places)) == 3


@pytest.mark.parametrize(
    "argument", ["--storag=postgresql://u:s3cret@h", "postgresql://u:s3cret@h"]
)
def test_an_unknown_argument_may_be_a_url(launch_main, capsys, argument):
    assert launch_main(argument) == 2
    err = capsys.readouterr().err
    assert "Unknown argument" in err and "s3cret" not in err
