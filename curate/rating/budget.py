"""How many ratings a promise needs, before they are asked for: chance, images kept, hours.

From pilot ratings and the scores of all images it is learned how likely an image of a score is
good; then the draw, its answers and the test of `curate export` are played through, many times,
each with another bootstrap of the pilot: what the pilot does not know widens the outcome.
Shapes: P rated images of the pilot; N unrated images that a release would be chosen from.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from curate.errors import CurateError
from curate.rating.config import BudgetOptions
from curate.rating.foresee import TaskTime, time_a_task
from curate.scoring.calibration import verdicts
from curate.scoring.promise import Promise, Rung, certified, num_needed
from curate.workspace import Workspace
from db import queries

NUM_RUNGS = 40  # thresholds tried, as in an export
NUM_PLAYED = 200  # draws played through; the chance's own standard error is at most 3.5 points
FEWEST_PILOT = 20
USUAL = (100, 200, 300, 500)  # images thought of, where none are named
MOST_SCORES = 20_000  # of more images every so many-th stands for its neighbours

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class BudgetRow:
    """What so many rated images would come to."""

    num_images: int
    num_ratings: int
    chance: float  # that a threshold keeps the promise
    kept: tuple[int, int, int] | None  # images that then leave: a tenth, the median, nine tenths
    time: str


@dataclass(frozen=True)
class RatingBudget:
    """The rows of a plan, and what they rest on."""

    reward_model_id: str
    num_pilot: int
    num_pilot_good: int
    simulated: bool  # the pilot's raters are networks
    num_unrated: int
    num_needed: int  # rated images, were all of them good
    rows: tuple[BudgetRow, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Return it for a person to read."""
        who = "simulated raters" if self.simulated else "people"
        return [
            f"from {self.num_pilot} images rated by {who} ({self.num_pilot_good} good) and the "
            f"scores of {self.num_unrated:,} unrated images by reward model "
            f"{self.reward_model_id[:12]}",
            f"at least {self.num_needed} rated images are needed, were all of them good",
            *(
                f"{row.num_images:>6} images ({row.num_ratings:,} ratings, {row.time}): "
                f"{100 * row.chance:.0f} % chance that the promise holds"
                + (
                    f"; then {row.kept[1]:,} images kept ({row.kept[0]:,} to {row.kept[2]:,})"
                    if row.kept
                    else ""
                )
                for row in self.rows
            ),
            *(f"Note: {note}" for note in self.notes),
        ]


def plan_ratings(ws: Workspace, options: BudgetOptions) -> RatingBudget:
    """Say what each number of rated images would come to. CurateError without a pilot."""
    model = queries.reward_models.find_reward_model(ws.session, options.reward_model)
    version = options.version and queries.versions.find_version(ws.session, options.version).id
    scored = queries.images.synthetic_images(
        ws.session, reward_model_id=model.id, version_id=version or None
    )
    score_of = {image.image_id: image.score for image in scored if image.score is not None}
    rated, simulated, notes = _pilot(ws, model.id, score_of)
    asked = queries.campaigns.rated_among(ws.session, list(score_of))
    unrated_N = np.array([score for id_, score in score_of.items() if id_ not in asked])
    promise = Promise(options.target_precision, options.confidence)
    pilot = np.array([[score_of[id_], is_good] for id_, is_good in rated.items()], dtype=float)
    rows = [
        _row_of(pilot, unrated_N, num, promise, options, time_a_task(ws))
        for num in options.num_images or USUAL
        if num <= len(unrated_N)
    ]
    if left := [num for num in options.num_images or USUAL if num > len(unrated_N)]:
        notes.append(f"{left[0]} images are more than are unrated: make more, and score them")
    return RatingBudget(
        reward_model_id=model.id,
        num_pilot=len(pilot),
        num_pilot_good=int(pilot[:, 1].sum()),
        simulated=simulated,
        num_unrated=len(unrated_N),
        num_needed=num_needed(promise),
        rows=tuple(rows),
        notes=tuple(notes),
    )


def _pilot(
    ws: Workspace, model_id: str, score_of: Mapping[UUID, float]
) -> tuple[dict[UUID, bool], bool, list[str]]:
    """Return who of the scored images was found good, whether by networks, and what to know."""
    views = [
        view
        for view in queries.ratings.current_ratings(ws.session)
        if view.image_id in score_of and view.purpose != "repeat"
    ]
    by_people = [view for view in views if not view.simulated]
    views = by_people or views
    good = verdicts(views, {view.criterion: view.max_value for view in views})
    learned = queries.reward_models.images_behind(ws.session, model_id)
    unseen = {image_id: is_good for image_id, is_good in good.items() if image_id not in learned}
    notes = []
    if len(unseen) < FEWEST_PILOT:
        unseen = good
        notes.append(
            "the reward model learned from most of these images, and ranks them better than it "
            "will rank others: the chances are optimistic"
        )
    if len(unseen) < FEWEST_PILOT:
        raise CurateError(
            f"{len(unseen)} scored images are rated; a plan needs {FEWEST_PILOT}. Rate a small "
            "draw first: `curate rate push --purpose calibration --images 60`, and `curate score`."
        )
    return unseen, not by_people, notes


def _row_of(
    pilot_P2: Floats,
    scores_N: Floats,
    num: int,
    promise: Promise,
    options: BudgetOptions,
    time: TaskTime,
) -> BudgetRow:
    """Play `num` rated images through; `pilot_P2` are score and verdict of each rated image."""
    chance = np.random.default_rng(options.seed)
    step = math.ceil(len(scores_N) / MOST_SCORES)
    sorted_N = np.sort(scores_N)[::-1][::step]
    kept = []
    for _ in range(NUM_PLAYED):
        boot_P2 = pilot_P2[chance.integers(len(pilot_P2), size=len(pilot_P2))]
        is_good_N = chance.random(len(sorted_N)) < _chances_of_good(boot_P2, sorted_N)
        found = _played(sorted_N, is_good_N, round(num / step), promise, chance)
        if found is not None:
            kept.append(found * step)
    num_ratings = num * options.overlap
    return BudgetRow(
        num_images=num,
        num_ratings=num_ratings,
        chance=len(kept) / NUM_PLAYED,
        kept=(int(np.quantile(kept, 0.1)), int(median(kept)), int(np.quantile(kept, 0.9)))
        if kept
        else None,
        time=time.hours(num_ratings),
    )


def _chances_of_good(pilot_P2: Floats, scores_N: Floats) -> Floats:
    """Return the chance that an image of each score is good: a logistic curve through the pilot.

    Half a good and half a bad image at the pilot's mean keep it off 0 and 1.
    """
    x_P, y_P = _logits(pilot_P2[:, 0]), pilot_P2[:, 1]
    x = np.append(x_P, [x_P.mean()] * 2)[:, None]
    y, weights = np.append(y_P, [0, 1]), np.append(np.ones(len(y_P)), [0.5] * 2)
    curve = LogisticRegression(C=10.0).fit(x, y, sample_weight=weights)
    found: Floats = curve.predict_proba(_logits(scores_N)[:, None])[:, 1]
    return found


def _logits(scores_N: Floats) -> Floats:
    """Return scores on a scale without ends; 0 and 1 as a thousandth inside."""
    inside = np.clip(scores_N, 1e-3, 1 - 1e-3)
    found: Floats = np.log(inside / (1 - inside))
    return found


def _played(
    sorted_N: Floats,
    is_good_N: NDArray[np.bool_],
    num: int,
    promise: Promise,
    chance: np.random.Generator,
) -> int | None:
    """Draw and rate `num` of the images, best score first; return how many leave, None for none."""
    drawn_N = np.zeros(len(sorted_N), dtype=bool)
    drawn_N[chance.choice(len(sorted_N), size=num, replace=False)] = True
    rated_N, wrong_N = drawn_N.cumsum(), (drawn_N & ~is_good_N).cumsum()
    ends: Sequence[int] = sorted(
        {math.ceil(len(sorted_N) * n / NUM_RUNGS) for n in range(1, NUM_RUNGS + 1)}
    )
    rungs = [
        Rung(float(sorted_N[end - 1]), end, int(rated_N[end - 1]), int(wrong_N[end - 1]))
        for end in ends
    ]
    found = certified(rungs, promise, share_rated=num / len(sorted_N))
    return None if found is None else found.num_images - found.num_errors
