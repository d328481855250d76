"""A plan of who is shown what -> a campaign: dealt, mixed with controls and repeats, shuffled.

A campaign is made whole or not at all and never grows: what is in it was drawn before the first
answer. Orders and sides are drawn from the plan's seed, so nothing in them tells one image from
another.
"""

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any
from uuid import UUID

from annotation.base import RaterProfile
from curate.errors import CurateError
from curate.workspace import Workspace
from db import queries
from db.hashing import json_hash
from db.models import Assignment, Campaign, Rater, Rubric


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

    @property
    def is_pairwise(self) -> bool:
        """Return whether pairs are compared."""
        return self.items[0].other_image_id is not None

    def hash(self) -> str:
        """Return what is equal for equal plans; raters count by their names."""
        values: dict[str, Any] = asdict(replace(self, raters=()))
        values["raters"] = sorted(rater.name for rater in self.raters)
        for kind in ("items", "controls"):
            values[kind] = [{key: str(v) for key, v in item.items()} for item in values[kind]]
        return json_hash(values)


def make_campaign(ws: Workspace, plan: CampaignPlan, rubric: Rubric) -> Campaign:
    """Return the campaign of this plan, made first when it is new.

    Every item goes to `overlap` of the raters, with equal loads. Raises CurateError when the name
    stands for another plan.
    """
    _check(plan)
    plan_hash = plan.hash()
    known = queries.campaigns.find_campaign(ws.session, plan.name)
    if known is not None:
        if known.config.get("plan_sha256") != plan_hash or known.rubric_id != rubric.id:
            raise CurateError(
                f"Campaign {plan.name!r} exists with other images, raters or settings. "
                "Give the new campaign another name."
            )
        return known
    campaign = Campaign(
        name=plan.name,
        kind="comparison" if plan.is_pairwise else "rating",
        rubric_id=rubric.id,
        seed=plan.seed,
        overlap=plan.overlap,
        simulated=_all_simulated(plan),
        backend=plan.backend,
        config={"plan_sha256": plan_hash},
    )
    rows = _rater_rows(ws, plan.raters)
    assignments = [
        Assignment(campaign_id=campaign.id, rater_id=rows[name].id, position=position, **vars(item))
        for name, pile in _deal(plan).items()
        for position, item in enumerate(_blind_order(plan, name, pile))
    ]
    return queries.campaigns.add_campaign(ws.session, campaign, assignments)


def _check(plan: CampaignPlan) -> None:
    if not plan.items:
        raise CurateError(
            "No image to rate: every one is in a campaign already, or there is none. "
            "Make more with `curate generate`."
        )
    if len({rater.name for rater in plan.raters}) < len(plan.raters):
        raise CurateError("Two raters have the same name. Give each one a name of their own.")
    if not 1 <= plan.overlap <= len(plan.raters):
        raise CurateError(
            f"{plan.overlap} raters an image, but the campaign has {len(plan.raters)}. "
            "Ask for fewer with --overlap, or for more raters."
        )
    if not 0 <= plan.repeat_fraction <= 1:
        raise CurateError(f"{plan.repeat_fraction} of the images repeated; needed: 0 to 1.")


def _all_simulated(plan: CampaignPlan) -> bool:
    simulated = {rater.simulated for rater in plan.raters}
    if len(simulated) != 1:
        raise CurateError(
            f"Campaign {plan.name!r} mixes people and simulated raters, and its ratings could not "
            "be told apart. Make one campaign of each."
        )
    return simulated.pop()


def _rater_rows(ws: Workspace, raters: Sequence[RaterProfile]) -> dict[str, Rater]:
    return {
        rater.name: queries.campaigns.get_or_add_rater(
            ws.session,
            name=rater.name,
            expert_level=rater.expert_level,
            simulated=rater.simulated,
            config=dict(rater.config),
        )
        for rater in raters
    }


def _deal(plan: CampaignPlan) -> dict[str, list[Item]]:
    """Deal the items to the raters with the shortest piles; ties by lot."""
    chance = random.Random(f"{plan.seed}/deal")
    piles: dict[str, list[Item]] = {rater.name: [] for rater in plan.raters}
    for item in chance.sample(plan.items, len(plan.items)):
        by_load = sorted(piles, key=lambda rater: (len(piles[rater]), chance.random()))
        for rater in by_load[: plan.overlap]:
            piles[rater].append(item)
    for pile in piles.values():
        pile.extend(plan.controls)
    return piles


def _blind_order(plan: CampaignPlan, rater: str, pile: Sequence[Item]) -> list[Item]:
    """Shuffle one rater's items and the repeats drawn from them; the later look is the repeat."""
    chance = random.Random(f"{plan.seed}/order/{rater}")
    repeats = chance.sample(pile, round(plan.repeat_fraction * len(pile)))
    order = [*pile, *repeats]
    chance.shuffle(order)
    seen: set[Item] = set()
    result = []
    for item in order:
        shown = replace(item, purpose="repeat", selection_method="repeat") if item in seen else item
        seen.add(item)
        result.append(_sides_by_lot(shown, chance))
    return result


def _sides_by_lot(item: Item, chance: random.Random) -> Item:
    """Decide which image of a pair stands left, for one look of one rater."""
    if item.other_image_id is None or chance.random() < 0.5:
        return item
    return replace(item, image_id=item.other_image_id, other_image_id=item.image_id)
