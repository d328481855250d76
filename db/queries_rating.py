"""What rating asks of the database: campaigns, their assignments, answers in bulk."""

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlmodel import Session, col, select

from db.errors import StoreError
from db.models import (
    Assignment,
    Campaign,
    Comparison,
    Criterion,
    File,
    Image,
    Prompt,
    QuarantinedAnswer,
    Rater,
    Rating,
    SyncMark,
)
from db.queries import insert_new

Verdict = Rating | Comparison  # of one image, or of a pair
VARIABLES = 500  # values in one IN (...): every SQLite takes at least 999


@dataclass(frozen=True, kw_only=True)
class AssignmentView:
    """One assignment with what its rater looks at."""

    id: UUID
    rater: str
    position: int
    purpose: str
    image_id: UUID
    file_sha256: str
    modality: str
    text: str
    label: str | None


@dataclass(frozen=True)
class CampaignProgress:
    """How far one campaign is."""

    campaign: Campaign
    num_raters: int
    num_images: int
    num_assignments: int
    num_answered: int  # assignments with a rating that was not withdrawn


def find_campaign(session: Session, name: str) -> Campaign | None:
    """Return the campaign of this name, if there is one."""
    return session.exec(select(Campaign).where(Campaign.name == name)).first()


def campaigns(session: Session) -> Sequence[Campaign]:
    """Return all campaigns, oldest first."""
    return session.exec(select(Campaign).order_by(col(Campaign.created_at), Campaign.name)).all()


def get_or_add_rater(
    session: Session, *, name: str, expert_level: int, simulated: bool, config: dict[str, Any]
) -> Rater:
    """Return the rater of this name, added first when new; StoreError when it is another one."""
    rater = session.exec(select(Rater).where(Rater.name == name)).first()
    if rater is None:
        rater = Rater(name=name, expert_level=expert_level, simulated=simulated, config=config)
        session.add(rater)
        session.flush()
    if not rater.config and simulated == rater.simulated:
        rater.config = config  # a file brought this rater without its habits
    known = (rater.expert_level, rater.simulated, rater.config)
    if known != (expert_level, simulated, config):
        raise StoreError(
            f"Rater {name!r} is known as level {rater.expert_level}"
            f"{', simulated' if rater.simulated else ''} {rater.config or ''}, not as level "
            f"{expert_level}{', simulated' if simulated else ''} {config or ''}. "
            "Give the other rater another name."
        )
    return rater


def raters(session: Session) -> Sequence[Rater]:
    """Return all raters by name."""
    return session.exec(select(Rater).order_by(Rater.name)).all()


def raters_of(session: Session, campaign_id: UUID) -> Sequence[Rater]:
    """Return a campaign's raters by name."""
    assigned = select(Assignment.rater_id).where(Assignment.campaign_id == campaign_id)
    return session.exec(select(Rater).where(col(Rater.id).in_(assigned)).order_by(Rater.name)).all()


def add_campaign(
    session: Session, campaign: Campaign, assignments: Sequence[Assignment]
) -> Campaign:
    """Add a campaign and all its assignments in one commit: it is there whole or not at all."""
    session.add(campaign)
    session.flush()
    add_assignments(session, assignments)
    return campaign


def add_assignments(session: Session, assignments: Sequence[Assignment]) -> None:
    """Add assignments in one commit."""
    insert_new(session, Assignment, [assignment.model_dump() for assignment in assignments])
    session.commit()


def assignments(
    session: Session, campaign_id: UUID, *, unanswered_for: UUID | None = None
) -> list[AssignmentView]:
    """Return a campaign's assignments, the images' looks together, in order of position.

    With `unanswered_for`, only those that have no rating row on that criterion.
    """
    query = _assignments(campaign_id).order_by(
        col(Assignment.image_id), col(Assignment.position), Rater.name
    )
    if unanswered_for is not None:
        answered = sa.exists().where(
            col(Rating.assignment_id) == col(Assignment.id),
            col(Rating.criterion_id) == unanswered_for,
        )
        query = query.where(~answered)
    return [_view(*row) for row in session.exec(query)]


def find_assignments(
    session: Session, campaign_id: UUID, ids: Sequence[UUID]
) -> dict[UUID, AssignmentView]:
    """Return those of the assignments that belong to the campaign, by id."""
    found: dict[UUID, AssignmentView] = {}
    for chunk in _chunks(ids):
        for row in session.exec(_assignments(campaign_id).where(col(Assignment.id).in_(chunk))):
            view = _view(*row)
            found[view.id] = view
    return found


def _assignments(campaign_id: UUID) -> Any:
    return (
        select(Assignment, Rater.name, Image.file_sha256, Prompt)
        .join(Rater, col(Rater.id) == Assignment.rater_id)
        .join(Image, col(Image.id) == Assignment.image_id)
        .join(Prompt, col(Prompt.id) == Image.prompt_id)
        .where(Assignment.campaign_id == campaign_id)
    )


def _view(assignment: Assignment, rater: str, sha256: str, prompt: Prompt) -> AssignmentView:
    return AssignmentView(
        id=assignment.id,
        rater=rater,
        position=assignment.position,
        purpose=assignment.purpose,
        image_id=assignment.image_id,
        file_sha256=sha256,
        modality=prompt.modality,
        text=prompt.text,
        label=prompt.label,
    )


def latest_verdicts(
    session: Session, campaign: Campaign, assignment_ids: Sequence[UUID]
) -> dict[tuple[UUID, UUID], Verdict]:
    """Return the latest revision by (assignment, criterion), withdrawn ones included."""
    table: Any = Comparison if campaign.kind == "comparison" else Rating
    latest: dict[tuple[UUID, UUID], Verdict] = {}
    for chunk in _chunks(assignment_ids):
        query = select(table).where(col(table.assignment_id).in_(chunk))
        for verdict in session.exec(query.order_by(col(table.revision))):
            latest[verdict.assignment_id, verdict.criterion_id] = verdict
    return latest


def add_answers(
    session: Session,
    verdicts: Sequence[Verdict],
    quarantined: Sequence[QuarantinedAnswer] = (),
    mark: SyncMark | None = None,
) -> int:
    """Add verdicts, quarantined answers and a sync mark in one commit.

    A row that is there already stays. Returns how many of the quarantined answers are new.
    """
    for table in (Rating, Comparison):
        rows = [verdict.model_dump() for verdict in verdicts if isinstance(verdict, table)]
        insert_new(session, table, rows)
    before = _num_quarantined(session, quarantined)
    insert_new(session, QuarantinedAnswer, [answer.model_dump() for answer in quarantined])
    num_new = _num_quarantined(session, quarantined) - before
    if mark is not None:
        session.merge(mark)
    session.commit()
    return num_new


def _num_quarantined(session: Session, answers: Sequence[QuarantinedAnswer]) -> int:
    if not answers:
        return 0
    query = select(sa.func.count()).select_from(QuarantinedAnswer)
    return session.exec(query.where(QuarantinedAnswer.campaign_id == answers[0].campaign_id)).one()


def sync_marks(session: Session, campaign_id: UUID) -> dict[str, dt.datetime]:
    """Return {place: how far a campaign's answers have been pulled from it}."""
    query = select(SyncMark).where(SyncMark.campaign_id == campaign_id)
    return {mark.place: mark.mark for mark in session.exec(query)}


def quarantined(session: Session, campaign_id: UUID) -> Sequence[QuarantinedAnswer]:
    """Return a campaign's answers that could not be taken, oldest first."""
    query = select(QuarantinedAnswer).where(QuarantinedAnswer.campaign_id == campaign_id)
    return session.exec(query.order_by(col(QuarantinedAnswer.created_at))).all()


def criteria(session: Session, rubric_id: UUID) -> Sequence[Criterion]:
    """Return a rubric's criteria in the order of its form."""
    query = select(Criterion).where(Criterion.rubric_id == rubric_id)
    return session.exec(query.order_by(col(Criterion.position), Criterion.name)).all()


def progress_of_campaigns(session: Session) -> list[CampaignProgress]:
    """Return how far each campaign is, oldest first."""
    answered = sa.select(col(Rating.assignment_id)).where(col(Rating.value).is_not(None)).distinct()
    counts = sa.select(
        col(Assignment.campaign_id),
        sa.func.count(sa.distinct(col(Assignment.rater_id))),
        sa.func.count(sa.distinct(col(Assignment.image_id))),
        sa.func.count(),
        sa.func.sum(sa.case((col(Assignment.id).in_(answered), 1), else_=0)),
    ).group_by(col(Assignment.campaign_id))
    rows = {row[0]: row[1:] for row in session.connection().execute(counts)}
    return [
        CampaignProgress(campaign, *rows.get(campaign.id, (0, 0, 0, 0)))
        for campaign in campaigns(session)
    ]


def images_to_rate(
    session: Session,
    *,
    origin: str,
    modalities: Sequence[str] | None = None,
    version_id: str | None = None,
) -> Sequence[Image]:
    """Return images (of these modalities) that no campaign has assigned yet, oldest first."""
    assigned = sa.exists().where(col(Assignment.image_id) == col(Image.id))
    query = select(Image).join(Prompt, col(Prompt.id) == col(Image.prompt_id))
    query = query.where(Image.origin == origin, ~assigned)
    if modalities is not None:
        query = query.where(col(Prompt.modality).in_(modalities))
    if version_id is not None:
        query = query.where(Image.version_id == version_id)
    order = (col(Image.created_at), col(Image.run_index), col(Image.file_sha256), col(Image.id))
    return session.exec(query.order_by(*order)).all()


def images_of_files(
    session: Session, sha256s: Sequence[str]
) -> dict[str, list[tuple[Image, Prompt]]]:
    """Return {file SHA-256: its images with their prompts, oldest first}, known files only."""
    found: dict[str, list[tuple[Image, Prompt]]] = {}
    for chunk in _chunks(sha256s):
        query = _images_with_prompts().where(col(Image.file_sha256).in_(chunk))
        for image, prompt in session.exec(query):
            found.setdefault(image.file_sha256, []).append((image, prompt))
    return found


def images_of_source_paths(
    session: Session, paths: Sequence[str]
) -> dict[str, list[tuple[Image, Prompt]]]:
    """Return {path as the imported table wrote it: its images with their prompts}."""
    found: dict[str, list[tuple[Image, Prompt]]] = {}
    for chunk in _chunks(paths):
        query = _images_with_prompts().where(col(Image.source_path).in_(chunk))
        for image, prompt in session.exec(query):
            found.setdefault(image.source_path or "", []).append((image, prompt))
    return found


def media_types(session: Session, sha256s: Sequence[str]) -> dict[str, str]:
    """Return {file SHA-256: media type}."""
    found: dict[str, str] = {}
    for chunk in _chunks(sha256s):
        query = select(File.sha256, File.media_type).where(col(File.sha256).in_(chunk))
        found.update(dict(session.exec(query).all()))
    return found


def _images_with_prompts() -> Any:
    query = select(Image, Prompt).join(Prompt, col(Prompt.id) == Image.prompt_id)
    return query.order_by(col(Image.created_at), col(Image.id))


def _chunks(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    distinct = list(dict.fromkeys(values))
    for start in range(0, len(distinct), VARIABLES):
        yield distinct[start : start + VARIABLES]
