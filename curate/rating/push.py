"""A campaign of people -> tasks at a rating backend; pushing again sends what is missing."""

from dataclasses import replace

from annotation.base import PREFERENCE, Question, RatingBackend, Study, Task
from curate.image_service.addresses import Addresses
from curate.rating.people import emails_of
from curate.workspace import Workspace
from db import queries
from db.models import Campaign, Criterion, Rubric


def study_of(ws: Workspace, campaign: Campaign) -> Study:
    """Return the campaign as a backend sees it."""
    rubric = ws.session.get(Rubric, campaign.rubric_id)
    assert rubric is not None  # a foreign key of the campaign
    criteria = queries.campaigns.criteria_of(ws.session, rubric.id)
    return Study(
        uid=str(campaign.id),
        instructions=rubric.instructions,
        questions=tuple(_question(campaign, criterion) for criterion in criteria),
        reasons=tuple(rubric.reasons),
        pictures=queries.campaigns.shown_names(ws.session, campaign),
        raters=emails_of(queries.campaigns.raters_of(ws.session, campaign.id)),
    )


def push_campaign(
    ws: Workspace,
    campaign: Campaign,
    backend: RatingBackend,
    addresses: Addresses,
    *,
    images_folder: str = "",
) -> int:
    """Send the campaign's tasks that are not there yet; return how many.

    `addresses` are the pictures' by (assignment, name); `images_folder` is where the backend reads
    them itself, if it does.
    """
    study = replace(study_of(ws, campaign), images_folder=images_folder)
    tasks = [
        Task(
            uid=str(view.id),
            rater=view.rater,
            position=view.position,
            pictures={name: addresses[view.id, name] for name in study.pictures},
            modality=view.modality,
            text=view.text,
        )
        for view in queries.campaigns.assignments(ws.session, campaign.id)
    ]
    return backend.push(study, tasks)


def _question(campaign: Campaign, criterion: Criterion) -> Question:
    return Question(
        name=criterion.name,
        text=criterion.question,
        min_value=criterion.min_value,
        max_value=criterion.max_value,
        wording=criterion.wording,
        kind=PREFERENCE if campaign.kind == "comparison" else criterion.kind,
    )
