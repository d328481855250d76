"""A practice of ten pictures whose answers are known, and a campaign of two people after it."""

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from annotation.base import RaterProfile
from curate.rating.campaigns import CampaignPlan, Item, make_campaign
from curate.rating.config import PracticeOptions
from curate.rating.practice import make_practice
from curate.workspace import Workspace
from db import queries
from db.models import Campaign, Image, Practice, Rater
from db.queries.practices import PracticeImage
from tests.curate.pictures import add_pictures

OPTIONS = PracticeOptions(bar=0.8)


def known_table(path: Path, rows: Sequence[dict[str, object]]) -> Path:
    """Write a CSV of images whose answers are known."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, columns)
        table.writeheader()
        table.writerows(rows)
    return path


def said_by_an_expert(images: Sequence[Image]) -> list[dict[str, object]]:
    """By turns 3 and 1, and whether it shows what was asked of every other one."""
    return [
        {
            "image_id": image.id,
            "criterion:looks-real": 3 if n % 2 else 1,
            "criterion:shows-asked": ("3", "1-2", "")[n % 3],
            "why": f"since <it> is number {n}",
        }
        for n, image in enumerate(images)
    ]


def add_practice(ws: Workspace, count: int = 10, **options: object) -> tuple[Practice, list[Image]]:
    """Make the practice of the first of 30 pictures; return it with the others."""
    images = add_pictures(ws, 30)
    path = known_table(ws.folder / "known.csv", said_by_an_expert(images[:count]))
    made = make_practice(ws, "warm-up", replace(OPTIONS, known=path, **options))  # type: ignore[arg-type]
    return made, images[count:]


def add_people(ws: Workspace, *names: str) -> list[Rater]:
    return [
        queries.campaigns.get_or_add_rater(
            ws.session,
            name=name,
            expert_level=3,
            simulated=False,
            config={"email": f"{name}@example.org", "active": True},
        )
        for name in names
    ]


def campaign_after(
    ws: Workspace, practice: Practice, images: Sequence[Image], name: str = "first"
) -> Campaign:
    """Ask ann and ben about the images, once they have passed."""
    people = add_people(ws, "ann", "ben")
    plan = CampaignPlan(
        name=name,
        items=tuple(Item(image_id=image.id) for image in images),
        raters=tuple(
            RaterProfile(name=one.name, expert_level=3, config=one.config) for one in people
        ),
        overlap=2,
        seed=0,
        backend="label-studio",
        practice_id=practice.id,
        images_from="https://images.example.org",
    )
    rubric, _ = queries.campaigns.default_rubric(ws.session)
    return make_campaign(ws, plan, rubric)


def right_answer(one: PracticeImage) -> dict[str, int]:
    """What an attentive rater says: the least right value, and 2 where nothing is known."""
    asked = ("looks-real", "shows-asked")
    return {name: one.item.known.get(name, [2, 2])[0] for name in asked}


def wrong_answer(one: PracticeImage) -> dict[str, int]:
    low, _ = one.item.known["looks-real"]
    return right_answer(one) | {"looks-real": 4 - low}
