import pytest

from annotation.agreement.pairs import between_raters, summaries, within_raters
from annotation.agreement.table import Verdict

SCALE = (1, 3)


def verdicts(**values_of: list[int]) -> list[Verdict]:
    return [
        Verdict(rater, f"image-{number}", value)
        for rater, values in values_of.items()
        for number, value in enumerate(values)
    ]


def test_every_pair_is_compared_on_the_images_both_saw() -> None:
    table = verdicts(ann=[1, 2, 3, 3], ben=[1, 2, 3])
    table += [Verdict("cat", "elsewhere", 3)]
    (pair,) = between_raters(table, SCALE)
    assert (pair.rater, pair.other, pair.num_images) == ("ann", "ben", 3)
    assert (pair.kappa, pair.exact) == (1.0, 1.0)


def test_severity_is_measured_against_the_others_on_the_same_images() -> None:
    strict, mild = summaries(verdicts(strict=[1, 1, 2], mild=[2, 3, 3]), SCALE)[::-1]
    assert strict.severity == pytest.approx(4 / 3)
    assert mild.severity == pytest.approx(-4 / 3)
    assert mild.mean == pytest.approx(8 / 3)
    assert mild.top_share == pytest.approx(2 / 3)


def test_a_repeat_speaks_of_its_rater_only() -> None:
    table = verdicts(ann=[1, 2, 3], ben=[1, 2, 3])
    table += [Verdict("ann", "image-0", 3, is_repeat=True)]
    table += [Verdict("ann", "image-1", 2, is_repeat=True)]
    assert between_raters(table, SCALE)[0].exact == 1.0
    (own,) = within_raters(table, SCALE)
    assert (own.rater, own.num_images, own.exact) == ("ann", 2, 0.5)
    assert summaries(table, SCALE)[0].num_ratings == 3
