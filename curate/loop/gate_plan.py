"""How many raters and images a gate needs until it finds a rise, before anybody is asked."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean, variance
from typing import Any
from uuid import UUID

from curate.loop.config import LoopConfig
from curate.loop.power import Scatter, power
from curate.rating.config import BudgetOptions
from curate.rating.foresee import time_a_task
from curate.rating.label_studio import BACKEND
from curate.workspace import Workspace
from db import queries
from db.queries.ratings import RatingView, looks_good

RATERS = (1, 2, 3, 4)  # an image
MOST_PROMPTS = 5_000
FEWEST_IMAGES = 20  # rated by two or more; of fewer the scatter is assumed
VERSIONS = 3  # that a gate shows: base, start and new


@dataclass(frozen=True)
class GateRow:
    """What so many raters an image need."""

    num_raters: int
    num_prompts: int | None  # None: more than are thought of
    num_images: int
    num_ratings: int
    chance: float  # of a promotion where the share rises so
    chance_of_none: float  # of a promotion where nothing has changed
    time: str


@dataclass(frozen=True)
class GatePlan:
    """The rows, and what they rest on."""

    rise: float
    wanted: float  # chance of a promotion
    images_per_prompt: int
    scatter: Scatter
    simulated: bool
    rows: tuple[GateRow, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Return it for a person to read."""
        who = "simulated raters" if self.simulated else "people"
        known = (
            f"raters scatter as {who} did on {self.scatter.num_images} images that several rated"
            if self.scatter.num_images
            else "how raters scatter is assumed: fewer than "
            f"{FEWEST_IMAGES} images were rated by two or more"
        )
        return [
            f"to promote a version whose share rated top rises by {100 * self.rise:g} points with "
            f"a chance of {self.wanted:.0%}, at {self.images_per_prompt} images a prompt ({known}; "
            "how images change is assumed):",
            *(
                f"{row.num_raters} raters an image: {row.num_prompts:,} prompts, "
                f"{row.num_images:,} images, {row.num_ratings:,} ratings, {row.time}; "
                f"{row.chance_of_none:.0%} of versions that are no better pass too"
                if row.num_prompts
                else f"{row.num_raters} raters an image: more than {MOST_PROMPTS:,} prompts"
                for row in self.rows
            ),
        ]


def plan_gate(ws: Workspace, options: BudgetOptions, rise: float) -> GatePlan:
    """Say for each number of raters an image how many prompts find the rise."""
    ratings = queries.ratings.current_ratings(ws.session)
    by_people = [view for view in ratings if not view.simulated]
    scatter = _scatter_of(by_people or ratings)
    time = time_a_task(ws)
    rows = []
    for raters in RATERS:
        config = replace(LoopConfig(), raters=BACKEND, overlap=raters)
        found = _fewest_prompts(config, rise, options.power, scatter)
        images = VERSIONS * config.gate_images_per_prompt * (found or 0)
        rows.append(
            GateRow(
                num_raters=raters,
                num_prompts=found,
                num_images=images,
                num_ratings=images * raters,
                chance=power(config, found or MOST_PROMPTS, rise, scatter),
                chance_of_none=power(config, found or MOST_PROMPTS, 0.0, scatter),
                time=time.hours(images * raters),
            )
        )
    return GatePlan(
        rise=rise,
        wanted=options.power,
        images_per_prompt=LoopConfig.gate_images_per_prompt,
        scatter=scatter,
        simulated=not by_people and bool(ratings),
        rows=tuple(rows),
    )


def _scatter_of(ratings: Sequence[RatingView]) -> Scatter:
    """Return how raters scatter: twice the mean variance of their verdicts on one image.

    A paired difference has a new image's verdict and a start image's. Repeats and controls are
    left out.
    """
    said: dict[UUID, list[float]] = defaultdict(list)
    for view, is_good in looks_good(v for v in ratings if v.purpose not in ("repeat", "control")):
        said[view.image_id].append(float(is_good))
    shared = [own for own in said.values() if len(own) > 1]
    if len(shared) < FEWEST_IMAGES:
        return Scatter()
    return Scatter(rater=2 * fmean(variance(own) for own in shared), num_images=len(shared))


def _fewest_prompts(config: LoopConfig, rise: float, wanted: float, scatter: Scatter) -> int | None:
    """Return the least number of prompts with which a gate finds the rise so often."""
    low, high = 1, MOST_PROMPTS  # at `low` it does not: one prompt has no interval
    if power(config, high, rise, scatter) < wanted:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        if power(config, middle, rise, scatter) >= wanted:
            high = middle
        else:
            low = middle
    return high
