"""Simulated raters who compare pairs of images: comparison rows to try learning from pairs with."""

from collections import defaultdict
from collections.abc import Sequence
from uuid import UUID

from annotation.base import Answer
from annotation.config import default_raters
from annotation.simulated import Eyes, SimulatedRater
from curate.rating.answers import Taken, take_answers
from curate.rating.campaigns import CampaignPlan, Item, make_campaign
from curate.rating.rubrics import load_rubric
from curate.samples.stored import batches
from curate.workspace import Workspace
from db import queries
from db.models import Assignment, Image

IMAGES_A_BATCH = 64


def simulate_comparisons(
    ws: Workspace, images: Sequence[Image], *, name: str, num_raters: int, eyes: Eyes, seed: int = 0
) -> Taken:
    """Let simulated raters compare each image with the next of its prompt, a rater a pair.

    Marked as simulated, as all their answers are. Images of a prompt count in the given order.
    """
    raters = {
        config.name: SimulatedRater(config)
        for config in default_raters(num_raters, eyes=eyes.identity)
    }
    of_prompt: dict[str, list[UUID]] = defaultdict(list)
    for image in images:
        of_prompt[image.prompt_id].append(image.id)
    plan = CampaignPlan(
        name=name,
        items=tuple(
            Item(image_id=left, other_image_id=right)
            for ids in of_prompt.values()
            for left, right in zip(ids, ids[1:], strict=False)
        ),
        raters=tuple(rater.profile() for rater in raters.values()),
        overlap=1,
        seed=seed,
        backend="simulated",
    )
    campaign = make_campaign(ws, plan, load_rubric(ws, None))
    (criterion,) = queries.campaigns.criteria_of(ws.session, campaign.rubric_id)
    truth = _truths(ws, images, eyes)
    answers = []
    for view in queries.campaigns.assignments(ws.session, campaign.id):
        shown = ws.session.get_one(Assignment, view.id)
        assert shown.other_image_id is not None  # a pair's
        sides = truth[shown.image_id], truth[shown.other_image_id]
        occasion = f"{name}/{shown.image_id}/{shown.other_image_id}"
        (preferred,) = raters[view.rater].compare([sides], eyes.thresholds, [occasion])
        answers.append(
            Answer(
                task_uid=str(view.id),
                rater=view.rater,
                criterion=criterion.name,
                value=preferred,
                source_uid=f"simulated/{view.id}",
            )
        )
    return take_answers(ws, campaign, answers)


def _truths(ws: Workspace, images: Sequence[Image], eyes: Eyes) -> dict[UUID, float]:
    prompts = queries.prompts.prompts_of(ws.session, images)
    truth: dict[UUID, float] = {}
    for places, images_B3HW in batches(ws.store, [i.file_sha256 for i in images], IMAGES_A_BATCH):
        shown = [prompts[place] for place in places]
        values_B = eyes.truth(images_B3HW, [p.modality for p in shown], [p.label for p in shown])
        truth |= {images[p].id: v for p, v in zip(places, values_B.tolist(), strict=True)}
    return truth
