import numpy as np
import pytest

from annotation.agreement.alpha import krippendorff_alpha
from annotation.agreement.rasch import NoFit
from annotation.agreement.table import GradeTable, Verdict, grade_table
from curate.agreement.figures import (
    ALPHA,
    EQUAL,
    ICC_AGREEMENT,
    KAPPA,
    OWN_EQUAL,
    OWN_KAPPA,
    CriterionWorth,
    bootstrapped,
    criterion_worth,
)
from curate.evaluation.intervals import Estimate

SCALE = (1, 3)


def measured(verdicts: list[Verdict]) -> CriterionWorth:
    return criterion_worth("quality", verdicts, SCALE, simulated=False)


def study(num_images: int, *, noise: float = 0.4, seed: int = 0) -> list[Verdict]:
    random = np.random.default_rng(seed)
    quality = random.normal(2, 0.8, num_images)
    return [
        Verdict(rater, f"{n}", int(np.clip(round(value), *SCALE)))
        for rater in ("ann", "ben", "cat")
        for n, value in enumerate(quality + random.normal(0, noise, num_images))
    ]


def test_every_figure_lies_in_its_interval_and_more_images_make_it_narrower() -> None:
    few, many = measured(study(40)), measured(study(400))
    for name in (KAPPA, EQUAL, ALPHA, ICC_AGREEMENT):
        one, other = few.figure(name).estimate, many.figure(name).estimate
        assert one is not None and other is not None
        assert one.low < one.value < one.high and other.low < other.value < other.high
        assert other.high - other.low < 0.6 * (one.high - one.low)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """Of 60 studies of 60 images, 95 % intervals; the truth is that of 20,000 images."""
    truth = float(alpha(grade_table(study(20_000, seed=1), SCALE), np.ones((1, 20_000)))[ALPHA][0])
    covered = 0
    for seed in range(60):
        table = grade_table(study(60, seed=100 + seed), SCALE)
        found = bootstrapped(60, lambda weights_SI, table=table: alpha(table, weights_SI))[ALPHA]  # type: ignore[misc]
        assert found is not None
        covered += found.low <= truth <= found.high
    assert covered >= 51  # 85 %: a percentile bootstrap of 60 images is a little narrow


def alpha(table: GradeTable, weights_SI: np.ndarray) -> dict[str, np.ndarray]:
    return {ALPHA: krippendorff_alpha(table, weights_SI)}


@pytest.mark.parametrize(
    ("verdicts", "reason"),
    [
        ([Verdict("ann", f"{n}", 1 + n % 3) for n in range(9)], "there is one rater"),
        (
            [Verdict(r, f"{r}{n}", 1 + n % 3) for r in ("ann", "ben") for n in range(9)],
            "no image was rated by two raters",
        ),
    ],
)
def test_what_cannot_be_had_is_said_in_words(verdicts: list[Verdict], reason: str) -> None:
    worth = measured(verdicts)
    for name in (KAPPA, EQUAL, ALPHA, ICC_AGREEMENT):
        assert (worth.figure(name).estimate, worth.figure(name).reason) == (None, reason)
    assert worth.figure(OWN_KAPPA).reason == "no image was shown twice"
    assert isinstance(worth.severity, NoFit) or not worth.severity.is_connected


def test_ratings_that_are_all_equal_agree_and_chance_has_no_part_in_it() -> None:
    worth = measured([Verdict(r, f"{n}", 3) for r in ("ann", "ben") for n in range(9)])
    assert worth.figure(EQUAL).estimate == Estimate(1.0, 1.0, 1.0, 9)
    for name in (KAPPA, ALPHA, ICC_AGREEMENT):
        assert (worth.figure(name).estimate, worth.figure(name).reason) == (
            None,
            "all ratings are 3",
        )


def test_repeats_speak_of_their_rater() -> None:
    verdicts = study(60)
    verdicts += [Verdict(v.rater, v.image, v.value, is_repeat=True) for v in verdicts[:10]]
    verdicts += [Verdict("ben", v.image, 4 - v.value, is_repeat=True) for v in verdicts[60:70]]
    worth = measured(verdicts)
    own = {pair.rater: pair for pair in worth.within}
    assert own["ann"].exact == 1 and own["ben"].exact < 1
    equal = worth.figure(OWN_EQUAL).estimate
    assert equal is not None and equal.num == 20


def test_no_figure_is_ever_nan() -> None:
    """Small, sparse and lopsided studies of every kind."""
    for seed in range(40):
        random = np.random.default_rng(seed)
        verdicts = [
            Verdict(f"r{rater}", f"{n}", int(random.choice([1, 2, 3], p=[0.05, 0.05, 0.9])))
            for rater in range(random.integers(1, 4))
            for n in range(random.integers(1, 8))
            if random.random() < 0.6
        ]
        if verdicts:
            for figure in measured(verdicts).figures:
                estimate = figure.estimate
                assert (estimate is None) == bool(figure.reason)
                assert estimate is None or np.isfinite([estimate.value, estimate.low]).all()
