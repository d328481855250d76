"""A plan of who is shown what -> a campaign: dealt, mixed with controls and repeats, shuffled.

A campaign is made whole or not at all and never grows: what is in it was drawn before the first
answer. Orders and sides are drawn from the plan's seed, so nothing in them tells one image from
another.
"""

import random
from dataclasses import asdict, dataclass, replace
from typing import Any
from uuid import UUID

from annotation.base import RaterProfile
from curate.errors import CurateError
from curate.rating.config import LABEL_STUDIO
from curate.workspace import Workspace
from db import queries
from db.hashing import json_hash
from db.models import (
    FROM_HERE,
    IN_SLICES,
    MOST_SLICES,
    Assignment,
    Campaign,
    CampaignPractice,
    Rubric,
)


@dataclass(frozen=True, kw_only=True)
class Item:
    """One thing to be judged: an image, or a pair whose sides are still open."""

    image_id: UUID
    other_image_id: UUID | None = None  # of a pair
    purpose: str = "train"
    selection_method: str = "all"
    inclusion_probability: float = 1.0  # that it was chosen, 0 (not in it) .. 1
    spoiled: str | None = None  # how it is spoiled before it is shown: a known-bad control


@dataclass(frozen=True, kw_only=True)
class CampaignPlan:
    """All that decides a campaign."""

    name: str
    items: tuple[Item, ...]  # each goes to `overlap` raters
    controls: tuple[Item, ...] = ()  # each goes to all raters
    raters: tuple[RaterProfile, ...]
    overlap: int
    seed: int
    repeat_fraction: float = 0.0  # of a rater's items, shown a second time
    backend: str
    practice_id: UUID | None = None  # what every rater passes first
    images_from: str = FROM_HERE  # where pictures come from, once a rater has passed it

    def __post_init__(self) -> None:
        """Refuse what cannot be asked, or not be told apart afterwards."""
        if not self.items:
            raise CurateError(
                "There is no image to rate: all images are in a campaign already, or none exist. "
                "Make more with `curate generate`."
            )
        if len({rater.name for rater in self.raters}) < len(self.raters):
            raise CurateError("Two raters have the same name. Give each a different name.")
        if not 1 <= self.overlap <= len(self.raters):
            raise CurateError(
                f"{self.overlap} raters an image, but the campaign has {len(self.raters)}. "
                "Lower --overlap, or add raters."
            )
        if not 0 <= self.repeat_fraction <= 1:
            raise CurateError(f"{self.repeat_fraction} of the images repeated; needed: 0 to 1.")
        if len({rater.simulated for rater in self.raters}) > 1:
            raise CurateError(
                f"Campaign {self.name!r} mixes people and simulated raters, so their ratings "
                "could not be told apart. Make one campaign for each."
            )

    @property
    def is_pairwise(self) -> bool:
        """Return whether pairs are compared."""
        return self.items[0].other_image_id is not None

    def hash(self) -> str:
        """Return what is equal for equal plans; raters count by their names."""
        names = sorted(rater.name for rater in self.raters)
        values: dict[str, Any] = {**asdict(self), "raters": names}
        practice_id = values.pop("practice_id")  # plans without one are hashed as they ever were
        del values["images_from"]  # where from changes nothing of what is asked
        if practice_id is not None:
            values["practice_id"] = str(practice_id)
        for kind in ("items", "controls"):
            values[kind] = [{key: str(v) for key, v in item.items()} for item in values[kind]]
        return json_hash(values)


def make_campaign(ws: Workspace, plan: CampaignPlan, rubric: Rubric) -> Campaign:
    """Return the campaign of this plan, made first when it is new.

    Every item goes to `overlap` of the raters, with equal loads. Raises CurateError when the name
    stands for another plan.
    """
    plan_hash = plan.hash()
    _keep_practice_out(ws, plan)
    known = queries.campaigns.find_campaign(ws.session, plan.name)
    if known is not None:
        if known.config.get("plan_sha256") != plan_hash or known.rubric_id != rubric.id:
            raise CurateError(
                f"Campaign {plan.name!r} exists with other images, raters or settings. "
                "Use another name for the new campaign."
            )
        return known
    campaign = Campaign(
        name=plan.name,
        kind="comparison" if plan.is_pairwise else "rating",
        rubric_id=rubric.id,
        seed=plan.seed,
        overlap=plan.overlap,
        simulated=plan.raters[0].simulated,
        backend=plan.backend,
        config={"plan_sha256": plan_hash, **_slices(ws, plan)},
    )
    rows = {
        rater.name: queries.campaigns.get_or_add_rater(
            ws.session,
            name=rater.name,
            expert_level=rater.expert_level,
            simulated=rater.simulated,
            config=dict(rater.config),
        )
        for rater in plan.raters
    }
    assignments = [
        Assignment(campaign_id=campaign.id, rater_id=rows[name].id, position=position, **vars(item))
        for name, order in _blind_orders(plan).items()
        for position, item in enumerate(order)
    ]
    practice = None
    if plan.practice_id is not None:
        practice = CampaignPractice(
            campaign_id=campaign.id, practice_id=plan.practice_id, images_from=plan.images_from
        )
    return queries.campaigns.add_campaign(ws.session, campaign, assignments, practice)


def _keep_practice_out(ws: Workspace, plan: CampaignPlan) -> None:
    """Refuse a plan that shows an image of its practice: whoever made it has to leave them out."""
    if plan.practice_id is None:
        return
    practised = {one.image.id for one in queries.practices.images_of(ws.session, plan.practice_id)}
    shown = {
        image_id
        for item in (*plan.items, *plan.controls)
        for image_id in (item.image_id, item.other_image_id)
    }
    if shown & practised:
        raise ValueError(f"{len(shown & practised)} images of the practice are in {plan.name!r}")


def _slices(ws: Workspace, plan: CampaignPlan) -> dict[str, int]:
    """Return in how many pictures people are shown each volume, as a campaign's config keeps it.

    Equally many for all that is shown: their number would tell one origin from another. Nothing
    where an image has no slices, and for raters that are no people: they look at the whole.
    """
    if plan.backend != LABEL_STUDIO:
        return {}
    shown = {
        image_id
        for item in (*plan.items, *plan.controls)
        for image_id in (item.image_id, item.other_image_id)
        if image_id is not None
    }
    found = queries.images.images_by_id(ws.session, sorted(shown))
    shapes = [image.shape for image, _ in found.values()]
    depth = min((shape[1] if len(shape) == 4 else 1 for shape in shapes), default=1)
    return {IN_SLICES: min(depth, MOST_SLICES)} if depth > 1 else {}


def _blind_orders(plan: CampaignPlan) -> dict[str, list[Item]]:
    """Return what each rater is shown, in order.

    Items are dealt to the shortest piles, ties by lot; to a pile come all controls and the repeats
    drawn from it; then it is shuffled. The later look is the repeat. Which image of a pair stands
    left is drawn for each look.
    """
    chance = random.Random(f"{plan.seed}/deal")
    piles: dict[str, list[Item]] = {rater.name: [] for rater in plan.raters}
    for item in chance.sample(plan.items, len(plan.items)):
        by_load = sorted(piles, key=lambda rater: (len(piles[rater]), chance.random()))
        for rater in by_load[: plan.overlap]:
            piles[rater].append(item)
    orders: dict[str, list[Item]] = {}
    for rater, dealt in piles.items():
        pile = [*dealt, *plan.controls]
        chance = random.Random(f"{plan.seed}/order/{rater}")
        looks = [*pile, *chance.sample(pile, round(plan.repeat_fraction * len(pile)))]
        chance.shuffle(looks)
        seen: set[Item] = set()
        orders[rater] = []
        for item in looks:
            shown = item
            if item in seen:
                shown = replace(item, purpose="repeat", selection_method="repeat")
            seen.add(item)
            if item.other_image_id is not None and chance.random() >= 0.5:
                left, right = item.other_image_id, item.image_id
                shown = replace(shown, image_id=left, other_image_id=right)
            orders[rater].append(shown)
    return orders
