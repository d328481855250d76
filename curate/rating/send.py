"""A campaign -> tasks at a rating backend, and where its pictures are to be had.

Sending again sends what is missing.
"""

import json
from collections import Counter
from collections.abc import Container
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from annotation.base import PREFERENCE, Question, RatingBackend, Study, Task
from annotation.label_studio.backend import LabelStudioBackend
from curate.errors import CurateError
from curate.image_service.addresses import Addresses, local_files, presigned_urls, signed_urls
from curate.rating.backends import backend_that_is_up
from curate.rating.config import LOCAL, PushOptions
from curate.rating.label_studio import server_folder
from curate.rating.plan import plan_campaign
from curate.rating.practised import passed_before, standings_of_campaign
from curate.workspace import Workspace
from db import queries
from db.models import Campaign, Rubric

# what raters are told, and may tick, where the rubric does not say
INSTRUCTIONS = (
    "Judge each image as in daily reading. Choose an answer to every question, tick what is wrong "
    "with the image if anything is, and send it with Ctrl+Enter. Skip only what you cannot judge."
)
FLAWS = ("wrong anatomy", "blurred", "grain or grid", "wrong modality", "text or marks")


@dataclass(frozen=True)
class Pushed:
    """What a push did, and where each rater goes."""

    campaign: str
    num_new: int
    pages: dict[str, str]
    practice: dict[str, str] = field(default_factory=dict)  # who practises first, and where
    again: tuple[str, ...] = ()  # who passed in an older version of the rubric, in words

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return vars(self)

    def lines(self) -> list[str]:
        """Return them for a person to read."""
        return [
            f"campaign {self.campaign}: {self.num_new} new tasks",
            *(f"  {rater} rates at {page}" for rater, page in self.pages.items()),
            *(f"  {rater} practises first, at {page}" for rater, page in self.practice.items()),
            *(f"  {said}" for said in self.again),
        ]


def study_of(ws: Workspace, campaign: Campaign) -> Study:
    """Return the campaign as a backend sees it: people by their address, others by their habits.

    Who still practises is not among its raters: nothing is sent to them, and nothing fetched.
    """
    rubric = ws.session.get(Rubric, campaign.rubric_id)
    assert rubric is not None  # a foreign key of the campaign
    practise = standings_of_campaign(ws, campaign.id)
    is_comparison = campaign.kind == "comparison"
    return Study(
        uid=str(campaign.id),
        name=campaign.name,
        instructions=rubric.instructions or INSTRUCTIONS,
        questions=tuple(
            Question(
                name=criterion.name,
                text=criterion.question,
                min_value=criterion.min_value,
                max_value=criterion.max_value,
                wording=criterion.wording,
                kind=PREFERENCE if is_comparison else criterion.kind,
            )
            for criterion in queries.campaigns.criteria_of(ws.session, rubric.id)
        ),
        reasons=tuple(rubric.reasons) or FLAWS,
        pictures=queries.campaigns.shown_names(ws.session, campaign),
        raters={
            row.name: json.dumps(row.config) if row.simulated else str(row.config.get("email", ""))
            for row in queries.campaigns.raters_of(ws.session, campaign.id)
            if practise is None or practise[row.name].has_passed
        },
    )


def push_campaign(
    ws: Workspace,
    campaign: Campaign,
    backend: RatingBackend,
    addresses: Addresses,
    *,
    images_folder: str = "",
    among: Container[UUID] | None = None,
) -> int:
    """Send the campaign's tasks (of `among` only) that are not there yet; return how many.

    `addresses` are the pictures' by (assignment, name); `images_folder` is where the backend reads
    them itself, if it does.
    """
    study = replace(study_of(ws, campaign), images_folder=images_folder)
    views = queries.campaigns.assignments(ws.session, campaign.id)
    looks: dict[UUID, int] = {}
    so_far: Counter[tuple[str, UUID]] = Counter()
    for view in sorted(views, key=lambda view: view.position):
        looks[view.id] = so_far[view.rater, view.image_id]
        so_far[view.rater, view.image_id] += 1
    tasks = [
        Task(
            uid=str(view.id),
            rater=view.rater,
            position=view.position,
            look=looks[view.id],
            pictures={name: addresses[view.id, name] for name in study.pictures},
            modality=view.modality,
            text=view.text,
        )
        for view in views
        if view.rater in study.raters and (among is None or view.id in among)
    ]
    return backend.push(study, tasks)


def push(ws: Workspace, options: PushOptions, *, images_from: str = LOCAL) -> Pushed:
    """Make the campaign when it is new, and send what is missing of it."""
    backend = backend_that_is_up(ws, options.backend)
    if options.practice is not None:
        _require_door(backend)
    campaign = plan_campaign(ws, options, images_from=images_from)
    return send_campaign(ws, campaign, backend, images_from=images_from)


def send_campaign(
    ws: Workspace, campaign: Campaign, backend: RatingBackend, *, images_from: str
) -> Pushed:
    """Send what is missing of a campaign; `images_from` is LOCAL, a service or a store address."""
    folder = ""  # that Label Studio reads itself, if any
    if images_from.startswith(("http://", "https://")):
        addresses = signed_urls(ws, campaign, base_url=images_from)
    elif images_from != LOCAL:
        addresses = presigned_urls(ws, campaign, place=images_from)
    elif not isinstance(backend, LabelStudioBackend):
        raise CurateError(
            f"Where {campaign.name} is rated cannot read this machine's files. Name the address of "
            "the image service, or of a store, with --images-from."
        )
    elif backend.access.managed:
        root = server_folder(ws) / "images"
        addresses = local_files(ws, campaign, document_root=root)
        folder = str(root / "images" / str(campaign.id))
    else:
        raise CurateError(
            f"Label Studio at {backend.access.url} cannot read this machine's files. Name the "
            "address of the image service, or of a store, with --images-from."
        )
    num_new = push_campaign(ws, campaign, backend, addresses, images_folder=folder)
    study = study_of(ws, campaign)
    if isinstance(backend, LabelStudioBackend) and backend.access.webhook_url:
        backend.send_hints(study, backend.access.webhook_url)
    there = {"tasks": len(queries.campaigns.assignments(ws.session, campaign.id))}
    queries.audit.record_result(ws.session, "rate push", {"campaign": campaign.name}, there)
    found = queries.practices.practice_of(ws.session, campaign.id)
    if found is None or not isinstance(backend, LabelStudioBackend):
        return Pushed(campaign.name, num_new, backend.rating_pages(study))
    practice = found[0]
    raters = queries.campaigns.raters_of(ws.session, campaign.id)
    waiting = [row.name for row in raters if row.name not in study.raters]
    return Pushed(
        campaign.name,
        num_new,
        backend.rating_pages(study),
        {rater: f"{backend.access.page}/practice/{practice.id}" for rater in waiting},
        tuple(filter(None, (passed_before(ws, practice, rater) for rater in waiting))),
    )


def _require_door(backend: RatingBackend) -> None:
    """Raise CurateError where raters do not come through our door: only it shows a practice."""
    if not isinstance(backend, LabelStudioBackend) or not backend.access.managed:
        raise CurateError(
            "A practice is shown at the door of the Label Studio that `curate rate serve` starts, "
            "and these raters rate elsewhere. Drop --practice, or use that server."
        )


def send_to_who_passed(
    ws: Workspace, campaign: Campaign, backend: LabelStudioBackend, sent: set[tuple[UUID, str]]
) -> int:
    """Send a campaign to the raters who have passed its practice since; return how many tasks.

    `sent` notes whose were sent by this process: sending again, after a kill too, adds nothing.
    """
    found = queries.practices.practice_of(ws.session, campaign.id)
    if found is None:
        return 0
    new = {(campaign.id, rater) for rater in study_of(ws, campaign).raters} - sent
    if not new:
        return 0
    num_new = send_campaign(ws, campaign, backend, images_from=found[1].images_from).num_new
    sent.update(new)
    return num_new
