import random

from annotation.agreement.table import Verdict
from curate.agreement.figures import CriterionWorth, criterion_worth
from curate.agreement.readers import RaterWorth, rater_worth
from curate.agreement.warnings import warnings_of
from db.queries.ratings import Look
from tests.curate.agreement.study import controls, look

CAREFUL = controls("ann", good=[3, 3, 2, 3, 3], bad=[1, 1, 1, 1, 2])


def said_of(*looks: Look, criteria: tuple[CriterionWorth, ...] = ()) -> str:
    worth: RaterWorth = rater_worth(looks)
    return "\n".join(warnings_of(criteria, [worth]))


def test_a_careful_rater_raises_no_warning() -> None:
    assert said_of(*CAREFUL) == ""


def test_a_coin_is_at_chance() -> None:
    coin = controls("ann", good=[3, 1, 3, 1, 3], bad=[3, 1, 3, 1, 3])
    assert "ann is at chance on controls: 5 of 10 right (95 % interval 24 to 76 %)" in said_of(
        *coin
    )


def test_too_few_controls_are_said_once() -> None:
    assert "Fewer than 8 controls were answered by ann" in said_of(*CAREFUL[:4])


def test_a_hasty_rater_is_named() -> None:
    fast = [look("ann", f"{n}", 1 + n % 3, seconds=1.2) for n in range(12)]
    assert "ann answered 55 % of 22 images in under 2 s (median 1.2 s)" in said_of(*fast, *CAREFUL)


def test_one_value_only_is_said() -> None:
    same = [look("ann", f"{n}", 3) for n in range(5)]
    assert "ann gave only the value 3." in said_of(*same)


def test_a_preferred_side_is_said() -> None:
    left = [look("ann", f"{n}", "left", other_image=f"o{n}") for n in range(12)]
    assert "ann prefers the left side: left in 100 % of 12 decided pairs" in said_of(*left)


def test_second_looks_at_chance_and_raters_without_a_common_image_are_said() -> None:
    chance = random.Random(0)
    verdicts = [
        Verdict(rater, f"{rater} {n}", chance.randint(1, 3), is_repeat=is_repeat)
        for rater in ("ann", "ben")
        for is_repeat in (False, True)
        for n in range(12)
    ]
    flipped = [
        Verdict("cat", f"cat {n}", 1 + 2 * ((n + is_repeat) % 2), is_repeat=is_repeat)
        for is_repeat in (False, True)
        for n in range(12)
    ]
    worth = criterion_worth("quality", [*verdicts, *flipped], (1, 3), simulated=False)
    lines = said_of(*CAREFUL, criteria=(worth,))
    assert "cat on quality: 12 second looks agree with the first no better than chance" in lines
    assert "quality: no image was rated by two raters" in lines
