"""Any space: points lie in it, a grid is each of its points once, and it reads back as written."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpvis_jax.errors import InputError
from mlpvis_jax.sweep import ranking, space

KEYS = [
    *("optimizer.learning_rate", "optimizer.weight_decay", "model.dropout_rate"),
    *("model.num_blocks", "model.patch_size", "batch_size"),
]
NUMBERS = st.floats(-1e6, 1e6, allow_subnormal=False)
POSITIVE = st.floats(1e-30, 1e30)
SHARES = st.floats(0, 1, exclude_max=True)


@st.composite
def ranges(draw, name, ends):
    low, high = sorted(draw(st.lists(ends, min_size=2, max_size=2, unique=True)))
    return f"{name}({low!r}, {high!r})"


LISTS = st.lists(st.integers(-3, 99) | st.sampled_from(["a", "b"]), min_size=1, unique=True)
RANGES = (
    ranges("uniform", NUMBERS)
    | ranges("log_uniform", POSITIVE)
    | ranges("integers", st.integers(-(10**6), 10**6))
)
SEEDS = st.lists(st.integers(0, 9), min_size=1, max_size=3, unique=True) | st.just("seeds(2)")


def written(dimensions):
    """A space as a person writes it: one to three dimensions, perhaps with seeds."""
    free = st.dictionaries(st.sampled_from(KEYS), dimensions, min_size=1, max_size=3)
    seeds = st.just({}) | SEEDS.map(lambda seeds: {"seed": seeds})
    return st.tuples(free, seeds).map(lambda both: {**both[0], **both[1]})


def contains(dimension, value):
    if isinstance(dimension, space.Values):
        return value in dimension.values
    kind = int if isinstance(dimension, space.Integers) else float
    return type(value) is kind and dimension.low <= value <= dimension.high


@given(written(LISTS | RANGES), st.integers(0, 10**9), st.integers(0, 2**32 - 1))
def test_random_points_lie_in_the_space_and_depend_on_nothing_else(text, index, seed):
    found = space.read(text, seed=0)
    point = found.random_point(index, seed)
    assert list(point) == list(found.dimensions)
    assert all(contains(found.dimensions[key], value) for key, value in point.items())
    assert space.read(text, seed=0).random_point(index, seed) == point


@given(written(LISTS), st.integers(0, 3), st.integers(0, 2**32 - 1))
def test_no_random_point_of_lists_comes_again_before_all_have_come(text, turn, seed):
    found = space.read(text, seed=0)
    size = found.grid_size
    drawn = [found.random_point(turn * size + index, seed) for index in range(min(size, 500))]
    assert len({repr(point) for point in drawn}) == len(drawn)


@given(RANGES, SHARES)
def test_every_share_of_a_range_lies_in_it(text, share):
    dimension = space.read({"batch_size": text}, 0).dimensions["batch_size"]
    assert contains(dimension, dimension.at(share))
    assert all(contains(dimension, end) for end in dimension.extremes)


@given(st.integers(-5, 5), st.integers(1, 5))
def test_whole_numbers_come_alike_often_with_both_ends(low, more):
    dimension = space.Integers(low, low + more)
    shares = [(step + 0.5) / (10 * (more + 1)) for step in range(10 * (more + 1))]
    found = [dimension.at(share) for share in shares]
    assert {value: found.count(value) for value in found} == dict.fromkeys(
        range(low, low + more + 1), 10
    )


@pytest.mark.parametrize("is_log", [False, True])
@pytest.mark.parametrize(
    ("low", "high", "digits"),
    [(0.0001, 0.01, 4), (0.9, 0.99, 4), (0.99, 0.999, 5), (0.9999, 0.99999, 7)],
)
def test_a_narrow_range_is_drawn_with_more_digits(low, high, digits, is_log):
    dimension = space.Range(low, high, is_log)
    found = {dimension.at(step / 1000) for step in range(1000)}
    assert len(found) > 600 and dimension.at(0.0) == low
    assert all(float(f"{value:.{digits}g}") == value for value in found)
    assert len(set(map(ranking.short, found))) == len(found)


def test_a_logarithmic_range_is_even_over_orders_of_magnitude():
    dimension = space.Range(1e-4, 1e-1, is_log=True)
    assert [dimension.at(share) for share in (0, 1 / 3, 2 / 3)] == [1e-4, 1e-3, 1e-2]


@given(written(LISTS))
def test_a_grid_is_each_of_its_points_once(text):
    found = space.read(text, seed=0)
    lists = [dimension.values for dimension in found.dimensions.values()]
    points = [found.grid_point(index) for index in range(found.grid_size)]
    assert len(points) == math.prod(map(len, lists))
    assert len({tuple(point.items()) for point in points}) == len(points)
    # The last dimension changes fastest.
    assert [list(point.values())[-1] for point in points[: len(lists[-1])]] == list(lists[-1])


@given(written(LISTS | RANGES))
def test_a_space_reads_back_from_json(text):
    found = space.read(text, seed=3)
    assert space.read(found.to_json(), seed=99) == found


@given(written(LISTS | RANGES))
def test_corners_are_combinations_of_extremes(text):
    found = space.read(text, seed=0)
    corners = list(found.corners(most=50))
    wanted = math.prod(len(dimension.extremes) for dimension in found.dimensions.values())
    assert len(corners) == min(wanted, 50)
    for corner in corners:
        assert all(value in found.dimensions[key].extremes for key, value in corner.items())


def test_seeds_count_on_from_that_of_the_config():
    assert space.read({"batch_size": [8], "seed": "seeds(3)"}, seed=5).seeds == (5, 6, 7)
    assert space.read({"batch_size": [8]}, seed=5).seeds == (5,)
    assert space.read({"seed": [4, 2]}, seed=5).seeds == (4, 2)


@given(st.text(max_size=20) | st.integers() | st.none() | st.dictionaries(st.text(), st.none()))
def test_anything_else_is_refused_by_name(text):
    try:
        found = space.read({"batch_size": text}, seed=0)
    except InputError as error:
        assert "sweep.batch_size" in str(error)
    else:
        assert found.random_point(0, 0).keys() == {"batch_size"}


@pytest.mark.parametrize(
    ("text", "part"),
    {
        "an empty list": ("[]", "has no values"),
        "a value twice": ("[1, 2, 1]", "has 1 twice"),
        "upside down": ("uniform(0.4, 0.1)", "is upside down"),
        "both ends alike": ("integers(3, 3)", "is upside down"),
        "log across zero": ("log_uniform(-1, 1)", "both ends are above 0"),
        "log from zero": ("log_uniform(0, 1)", "both ends are above 0"),
        "not finite": ("uniform(0, 1e999)", "must be finite"),
        "one end": ("uniform(1)", "give two numbers"),
        "words for ends": ("uniform('a', 'b')", "must be numbers"),
        "no whole numbers": ("integers(1, 2.5)", "must be whole numbers"),
        "another function": ("normal(0, 1)", "no normal"),
        "seeds elsewhere": ("seeds(3)", "is for sweep.seed only"),
        "a single number": ("3", "must be a list"),
        "a set of lists": ("{[1]}", "must be a list"),
    }.values(),
)
def test_no_dimensions(text, part):
    with pytest.raises(InputError) as caught:
        space.read({"batch_size": text}, seed=0)
    assert "sweep.batch_size" in str(caught.value) and part in str(caught.value)


@pytest.mark.parametrize("text", ["seeds(0)", "seeds(1.5)", "seeds()", "uniform(0, 3)"])
def test_no_seeds(text):
    with pytest.raises(InputError, match="sweep.seed"):
        space.read({"batch_size": [1], "seed": text}, seed=0)


def test_an_empty_space():
    with pytest.raises(InputError, match="The sweep has no dimension"):
        space.read({}, seed=0)


def test_numbers_of_numpy_become_those_of_python():
    found = space.plain({"a": np.float64(0.5), "b": np.int64(3), "c": "word", "d": None})
    assert repr(found) == "{'a': 0.5, 'b': 3, 'c': 'word', 'd': None}"
