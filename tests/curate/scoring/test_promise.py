import pytest
from scipy.stats import hypergeom

from curate.errors import CurateError
from curate.scoring.promise import (
    Promise,
    Rung,
    certified,
    chance_of_so_few,
    first_rung,
    keeps,
    lower_bound,
    num_needed,
)

PROMISE = Promise(0.95, 0.95)


def _rung(num_images: int, num_rated: int, num_errors: int) -> Rung:
    return Rung(1 - num_images / 1000, num_images, num_rated, num_errors)


def test_59_good_images_of_59_promise_95_percent_and_one_error_takes_93() -> None:
    """Textbook figures of the zero- and one-failure binomial test."""
    assert (num_needed(PROMISE), num_needed(PROMISE, errors=1)) == (59, 93)
    assert 0.95**59 < 0.05 < 0.95**58
    assert chance_of_so_few(0, 59, PROMISE) == pytest.approx(0.95**59)


@pytest.mark.parametrize("num_rated", [10, 59, 92, 93, 300])
def test_the_test_and_clopper_and_pearsons_bound_say_the_same(num_rated: int) -> None:
    for errors in range(num_rated + 1):
        bound = lower_bound(errors, num_rated, PROMISE.confidence)
        assert keeps(_rung(1000, num_rated, errors), PROMISE) == (bound >= PROMISE.target)


def test_the_tests_stop_at_the_first_threshold_that_fails() -> None:
    rungs = [_rung(200, 200, 2), _rung(400, 400, 5), _rung(600, 600, 60), _rung(800, 800, 10)]
    assert certified(rungs, PROMISE, share_rated=1.0) == rungs[1]  # the last would pass again
    assert certified(rungs[2:], PROMISE, share_rated=1.0) is None


def test_where_the_tests_begin_does_not_depend_on_what_raters_said() -> None:
    sizes = [25, 50, 100, 200, 400, 800]
    good = [_rung(size, size // 2, 0) for size in sizes]
    bad = [_rung(size, size // 2, size // 2) for size in sizes]
    assert first_rung(good, PROMISE, share_rated=0.5) == first_rung(bad, PROMISE, share_rated=0.5)
    few = first_rung(good, PROMISE, share_rated=0.01)
    assert few == len(sizes) - 1  # too few for any: all are admitted, or nothing


@pytest.mark.slow
def test_of_a_finite_set_the_binomial_test_is_on_the_safe_side() -> None:
    """A set with just too few good images passes at most as often as the confidence allows."""
    for size in (80, 200, 1000):
        too_many_bad = int(0.05 * size) + 1
        for num_rated in range(1, size + 1, 7):
            passing = [k for k in range(num_rated + 1) if keeps(_rung(1, num_rated, k), PROMISE)]
            chance = hypergeom.cdf(max(passing, default=-1), size, too_many_bad, num_rated)
            assert chance <= 0.05 + 1e-12


def test_promises_for_several_modalities_share_the_chance_of_error() -> None:
    assert PROMISE.shared_by(5).confidence == pytest.approx(0.99)


@pytest.mark.parametrize("values", [(0.0, 0.9), (1.0, 0.9), (0.9, 1.0), (95, 0.95)])
def test_a_promise_of_everything_or_nothing_is_refused(values: tuple[float, float]) -> None:
    with pytest.raises(CurateError, match="above 0 and below 1"):
        Promise(*values)
