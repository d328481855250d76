import numpy as np
import pytest

from annotation.agreement.rasch import NoFit, RaschFit, fit_rasch
from tests.annotation.agreement.tables import simulated, table_of

SEVERITIES = (-0.9, -0.3, 0.3, 0.9)


def fitted(*args: object, **kwargs: object) -> RaschFit:
    fit = fit_rasch(simulated(*args, **kwargs))  # type: ignore[arg-type]
    assert isinstance(fit, RaschFit)
    return fit


@pytest.mark.parametrize("overlap", [4, 2])
def test_planted_severities_steps_and_spread_are_found(overlap: int) -> None:
    """Two grades an image are enough: joint maximum likelihood would double the severities."""
    fit = fitted(SEVERITIES, overlap=overlap, num_images=1_500)
    for rater, planted in zip(fit.raters, SEVERITIES, strict=True):
        assert abs(rater.severity - planted) < 3 * rater.severity_se
        assert 0.02 < rater.severity_se < 0.12
    assert sum(rater.severity for rater in fit.raters) == pytest.approx(0, abs=1e-9)
    assert fit.steps == pytest.approx((-1, 1), abs=0.2)
    assert fit.spread == pytest.approx(1.5, abs=0.2)
    assert fit.is_connected and fit.left_out == ()


def test_an_independent_program_finds_the_same_severities() -> None:
    """raschpy 1.4.0 (Apache-2.0), `MFRM(...).calibrate_global()`: pairwise estimation, no prior."""
    fit = fitted(SEVERITIES, num_images=400, seed=3)
    raschpy = (-0.862125, -0.290954, 0.382020, 0.771059)
    assert [rater.severity for rater in fit.raters] == pytest.approx(raschpy, abs=0.03)


def test_the_standard_error_is_the_spread_of_severities_over_studies() -> None:
    fits = [fitted(SEVERITIES, num_images=120, overlap=2, seed=seed) for seed in range(30)]
    spread = np.std([fit.raters[0].severity for fit in fits], ddof=1)
    stated = np.mean([fit.raters[0].severity_se for fit in fits])
    assert spread == pytest.approx(stated, rel=0.35)  # 30 studies know it to 13 %


def test_a_noisy_rater_has_a_high_infit_and_a_tidy_one_a_low_one() -> None:
    fit = fitted((0.0, 0.0, 0.0, 0.0), noise=(1, 1, 3, 0.3), num_images=800, spread=2.0)
    infits = [rater.infit for rater in fit.raters]
    assert infits[2] > 1.25
    assert infits[3] < 0.85
    assert infits[3] < min(infits[:2]) and max(infits[:2]) < infits[2]


def test_infit_is_one_when_the_model_holds() -> None:
    fit = fitted(SEVERITIES, num_images=1_500, overlap=2)
    assert [rater.infit for rater in fit.raters] == pytest.approx([1] * 4, abs=0.1)


def test_the_fair_mean_forgives_whom_one_was_given() -> None:
    """A mild rater who got the worst images has a low mean and a high fair mean."""
    table = simulated((-0.8, 0.0, 0.8), num_images=900)
    by_quality = np.argsort(np.nanmean(table.grades_IR, 1))
    table.grades_IR[by_quality[450:], 0] = np.nan  # the mild one sees the lower half only
    fit = fit_rasch(table)
    assert isinstance(fit, RaschFit)
    means = np.nanmean(table.grades_IR, 0)
    assert means[0] < means[1]
    assert fit.raters[0].fair_mean > fit.raters[1].fair_mean > fit.raters[2].fair_mean


def test_a_rater_of_one_value_is_left_out_and_named() -> None:
    table = simulated((0.0, 0.5, 0.0), num_images=100)
    table.grades_IR[:, 2] = 3
    fit = fit_rasch(table)
    assert isinstance(fit, RaschFit)
    assert [rater.rater for rater in fit.raters] == ["rater 0", "rater 1"]
    assert fit.left_out == ("rater 2",)


def test_a_value_that_nobody_uses_does_not_spoil_the_fit() -> None:
    table = simulated((0.0, 0.5), num_images=200)
    table.grades_IR[table.grades_IR == 2] = 3
    fit = fit_rasch(table)
    assert isinstance(fit, RaschFit) and len(fit.steps) == 1
    assert all(1 <= rater.fair_mean <= 3 for rater in fit.raters)


def test_without_images_in_common_it_says_so() -> None:
    table = simulated((0.0, 0.5), num_images=200)
    table.grades_IR[:100, 0] = np.nan
    table.grades_IR[100:, 1] = np.nan
    fit = fit_rasch(table)
    assert isinstance(fit, NoFit) or not fit.is_connected


def test_raters_who_never_contradict_each_other_are_a_finite_distance_apart() -> None:
    """Sharp thresholds on one quality: without priors the severities run off to hundreds."""
    quality_I = np.linspace(-1, 1, 40)
    columns = [1 + np.digitize(quality_I, (shift - 0.3, shift + 0.3)) for shift in (-0.1, 0, 0.4)]
    fit = fit_rasch(table_of([column.tolist() for column in columns]))
    assert isinstance(fit, RaschFit)
    severities = [rater.severity for rater in fit.raters]
    assert severities == sorted(severities)
    assert all(abs(rater.severity) < 10 and rater.severity_se < 3 for rater in fit.raters)


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ([(1, 2, 3, 1)], "two raters"),
        ([(3, 3, 3, 3), (1, 2, 3, 1)], "there is 1"),
        ([(1, 2, 3, 1), (1, 2, 3, 2)], "20 ratings; there are 8"),
    ],
)
def test_too_little_is_refused_in_words(columns: list, reason: str) -> None:
    fit = fit_rasch(table_of(columns))
    assert isinstance(fit, NoFit) and reason in fit.reason
