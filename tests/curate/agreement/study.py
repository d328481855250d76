"""Looks as the database gives them, planted: who rated what, how fast, with which flaws."""

import datetime as dt
from collections.abc import Iterable, Sequence
from uuid import UUID, uuid4, uuid5

from db.queries.ratings import Look

CAMPAIGN = uuid4()
NAMES = UUID(int=0)


def look(
    rater: str,
    image: str,
    verdict: int | str,
    *,
    kind: str = "scale",
    criterion: str = "quality",
    scale: tuple[int, int] = (1, 3),
    purpose: str = "train",
    origin: str = "synthetic",
    spoiled: str | None = None,
    other_image: str | None = None,
    polarity: str = "higher",
    seconds: float | None = 8.0,
    simulated: bool = False,
    assignment: str = "",
) -> Look:
    return Look(
        assignment_id=uuid5(NAMES, f"{rater}/{image}/{purpose}/{assignment}"),
        campaign_id=CAMPAIGN,
        rater=rater,
        expert_level=3,
        simulated=simulated,
        criterion=criterion,
        kind=kind,
        min_value=scale[0],
        max_value=scale[1],
        polarity=polarity,
        purpose=purpose,
        image_id=uuid5(NAMES, image),
        other_image_id=uuid5(NAMES, other_image) if other_image else None,
        origin=origin,
        spoiled=spoiled,
        verdict=verdict,
        lead_time_s=seconds,
        rated_at=dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
    )


def controls(rater: str, good: Sequence[int], bad: Sequence[int]) -> list[Look]:
    """Verdicts on real images as they are, and on spoiled ones."""
    shown: Iterable[tuple[str, int, str | None]] = [
        *((f"good {n}", value, None) for n, value in enumerate(good)),
        *((f"bad {n}", value, "blurred") for n, value in enumerate(bad)),
    ]
    return [
        look(rater, image, value, purpose="control", origin="real", spoiled=spoiled)
        for image, value, spoiled in shown
    ]


def said(rater: str, origins: str, answers: str) -> list[Look]:
    """Real (r), synthetic (s) or unsure (u): what images are, and what the rater said."""
    names, values = {"r": "real", "s": "synthetic"}, {"r": 1, "s": 2, "u": 3}
    return [
        look(rater, f"{n}", values[answer], kind="origin", criterion="origin", origin=names[origin])
        for n, (origin, answer) in enumerate(zip(origins, answers, strict=True))
    ]
