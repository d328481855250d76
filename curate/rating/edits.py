"""What people are asked about edits: their own rubric, and controls that nobody careful accepts."""

import random
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

from curate.rating.campaigns import Item
from curate.workspace import Workspace
from db import queries
from db.models import Image

FAMILY = "counterfactual"
ROLE = "prior"
RUBRIC = Path(__file__).parent / "edits.toml"


def are_edits(ws: Workspace, images: Sequence[Image]) -> bool:
    """Say whether each of the images is an edit of a prior, and there are some."""
    versions = {image.version_id for image in images if image.version_id is not None}
    ids = sorted({image.prompt_id for image in images})
    if not versions or ROLE not in queries.campaigns.shared_roles(ws.session, ids):
        return False
    families = {
        queries.versions.family_of(ws.session, queries.versions.find_version(ws.session, one))
        for one in versions
    }
    return families == {FAMILY}


def edit_controls(ws: Workspace, images: Sequence[Image], count: int, seed: int) -> list[Item]:
    """Return known-bad controls: in the place of an edit stands its prior, or another patient.

    By turns. Of another patient an edit is shown; where all are of one patient, only priors are.
    """
    ids = sorted({image.prompt_id for image in images})
    priors = {
        name: own[ROLE] for name, own in queries.prompts.conditions_of(ws.session, ids).items()
    }
    patients = queries.prompts.patients_behind(ws.session, ids)
    chance = random.Random(f"{seed}/edit controls")
    drawn = chance.sample(images, min(count, len(images)))
    items = []
    for image, kind in zip(drawn, cycle(queries.campaigns.STAND_INS), strict=False):
        own = image.prompt_id
        strangers = [
            other.file_sha256
            for other in images
            if priors[other.prompt_id] != priors[own]
            and not patients[other.prompt_id] & patients[own]
        ]
        if kind == "unchanged" or not strangers:
            stands_in = f"unchanged:{priors[own]}"
        else:
            stands_in = f"{kind}:{chance.choice(strangers)}"
        items.append(
            Item(
                image_id=image.id,
                purpose="control",
                selection_method="known-bad",
                spoiled=stands_in,
            )
        )
    return items
