"""Campaigns: rubrics, raters, assignments and what each of them shows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlmodel import Session, col, select

from db.bulk import in_parts, insert_new
from db.errors import StoreError
from db.models import (
    BY_MACHINE,
    IN_SLICES,
    MACHINE,
    SHOWN_ROLES,
    SIDES,
    Archived,
    Assignment,
    Campaign,
    CampaignPractice,
    Criterion,
    Image,
    Prompt,
    PromptCondition,
    Rater,
    Rating,
    Rubric,
    side_of,
)
from db.queries.prompts import conditions_of
from db.queries.ratings import is_answered

# MINIM's rubric; a version that ratings point to is never altered
DEFAULT_NAME, DEFAULT_VERSION = "minim", 2
DEFAULT_WORDING = {  # of version 1
    "1": "Unusable: wrong modality, or not a plausible image",
    "2": "Plausible, but with flaws or not quite what was asked",
    "3": "Shows what was asked and is fit for training",
}
DEFAULT_CRITERIA = (  # of version 2: name, question, wording
    (
        "looks-real",
        "Does it look real, and would you train on it?",
        {
            "1": "Unusable: wrong modality, or not a plausible image",
            "2": "Plausible, but with flaws",
            "3": "Looks real and is fit for training",
        },
    ),
    (
        "shows-asked",
        "Does it show what was asked?",
        {
            "1": "Shows something else",
            "2": "Not sure, or not quite",
            "3": "Shows what was asked",
        },
    ),
)


# files shown in an edit's place, as known-bad controls, and the criterion that each should fail
STAND_INS = {"unchanged": "shows-change", "another-patient": "same-patient"}
PURPOSE = "calibration"


@dataclass(frozen=True, kw_only=True)
class AssignmentView:
    """One assignment with what its rater looks at."""

    id: UUID
    rater: str
    position: int
    purpose: str
    image_id: UUID
    file_sha256: str
    prompt_id: str
    modality: str
    text: str
    label: str | None
    other_image_id: UUID | None = None  # of a pair: the right one
    spoiled: str | None = None


@dataclass(frozen=True)
class CampaignProgress:
    """How far one campaign is."""

    campaign: Campaign
    num_raters: int
    num_images: int
    num_assignments: int
    num_answered: int  # assignments with a rating that was not withdrawn

    @property
    def is_waited_for(self) -> bool:
        """Return whether anybody's answer is waited for; a machine's never is."""
        return self.num_answered < self.num_assignments and self.campaign.backend != BY_MACHINE


@dataclass(frozen=True)
class ShownImage:
    """One image before one rater's eyes."""

    assignment_id: UUID
    name: str  # a side ("left" where there is no pair), its slice ("left1"), or a condition's role
    campaign_id: UUID
    file_sha256: str
    origin: str
    shape: tuple[int, ...]
    spoiled: str | None  # how it is spoiled before it is shown
    part: tuple[int, int] | None = None  # of a volume: which slice, from 1, of how many

    @property
    def is_condition(self) -> bool:
        """Return whether it was given for the image that is judged; origin and shape are its."""
        return side_of(self.name) is None


def find_campaign(session: Session, name: str) -> Campaign | None:
    """Return the campaign of this name, if there is one."""
    return session.exec(select(Campaign).where(Campaign.name == name)).first()


def campaigns(session: Session, *, with_archived: bool = True) -> Sequence[Campaign]:
    """Return all campaigns, oldest first, or those that were not put aside."""
    query = select(Campaign).order_by(col(Campaign.sequence), Campaign.name)
    if with_archived:
        return session.exec(query).all()
    aside = session.exec(select(Archived.id).where(Archived.kind == "campaign")).all()
    return [row for row in session.exec(query) if str(row.id) not in aside]


def add_campaign(
    session: Session,
    campaign: Campaign,
    assignments: Sequence[Assignment],
    practice: CampaignPractice | None = None,
) -> Campaign:
    """Add a campaign and all its assignments in one commit: it is there whole or not at all."""
    session.add(campaign)
    session.flush()
    if practice is not None:
        session.add(practice)
    add_assignments(session, assignments)
    return campaign


def progress_of_campaigns(session: Session) -> list[CampaignProgress]:
    """Return how far each campaign is, oldest first."""
    counts = sa.select(
        col(Assignment.campaign_id),
        sa.func.count(sa.distinct(col(Assignment.rater_id))),
        sa.func.count(sa.distinct(col(Assignment.image_id))),
        sa.func.count(),
        sa.func.sum(sa.case((is_answered(), 1), else_=0)),
    ).group_by(col(Assignment.campaign_id))
    rows = {row[0]: row[1:] for row in session.connection().execute(counts)}
    return [
        CampaignProgress(campaign, *rows.get(campaign.id, (0, 0, 0, 0)))
        for campaign in campaigns(session)
    ]


def get_or_add_rater(
    session: Session, *, name: str, expert_level: int, simulated: bool, config: dict[str, Any]
) -> Rater:
    """Return the rater of this name, added first when new; StoreError when it is another one."""
    if name.startswith(MACHINE) and not simulated:
        raise StoreError(f"{name!r} is a machine's name, and no person's. Choose another one.")
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
    for some in in_parts(ids):
        for row in session.exec(_assignments(campaign_id).where(col(Assignment.id).in_(some))):
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
        prompt_id=prompt.id,
        modality=prompt.modality,
        text=prompt.text,
        label=prompt.label,
        other_image_id=assignment.other_image_id,
        spoiled=assignment.spoiled,
    )


def rated_among(session: Session, image_ids: Sequence[UUID]) -> set[UUID]:
    """Return which of these images a campaign has assigned to a rater."""
    found: set[UUID] = set()
    for some in in_parts(image_ids):
        query = select(Assignment.image_id).where(col(Assignment.image_id).in_(some))
        found.update(session.exec(query))
    return found


def shared_roles(session: Session, prompt_ids: Sequence[str]) -> tuple[str, ...]:
    """Return which of SHOWN_ROLES all the prompts carry.

    What only some of a campaign's images came with would tell them apart.
    """
    conditions = conditions_of(session, prompt_ids)
    return tuple(
        role
        for role in SHOWN_ROLES
        if all(role in conditions.get(prompt_id, {}) for prompt_id in prompt_ids)
    )


def shown_names(session: Session, campaign: Campaign) -> tuple[str, ...]:
    """Return what each of the campaign's assignments shows: condition images first, then sides."""
    query = select(Image.prompt_id).join(Assignment, col(Assignment.image_id) == col(Image.id))
    prompt_ids = session.exec(query.where(Assignment.campaign_id == campaign.id).distinct()).all()
    sides = SIDES if campaign.kind == "comparison" else SIDES[:1]
    count = campaign.config.get(IN_SLICES, 0)
    parts = [f"{side}{place + 1}" for side in sides for place in range(count)]
    return (*(shared_roles(session, prompt_ids) if prompt_ids else ()), *(parts or sides))


def shown_image(session: Session, assignment_id: UUID, name: str) -> ShownImage | None:
    """Return the assignment's picture of this name, if there is one."""
    assignment = session.get(Assignment, assignment_id)
    if assignment is None:
        return None
    side = side_of(name)
    image_id = assignment.other_image_id if side == "right" else assignment.image_id
    image = session.get(Image, image_id) if image_id is not None else None
    if image is None:
        return None
    found = image if side else session.get(PromptCondition, (image.prompt_id, name))
    return _shown(session, assignment, name, image, found.file_sha256) if found else None


def shown_images(session: Session, campaign_id: UUID) -> list[ShownImage]:
    """Return all that a campaign shows, each rater's in order of position, left before right."""
    campaign = session.get(Campaign, campaign_id)
    names = () if campaign is None else shown_names(session, campaign)
    shown: list[tuple[UUID, int, ShownImage]] = []
    for name in names:
        side = side_of(name)
        image_id = Assignment.other_image_id if side == "right" else Assignment.image_id
        query = select(Assignment, Image).join(Image, col(Image.id) == col(image_id))
        found = session.exec(query.where(Assignment.campaign_id == campaign_id)).all()
        conditions = conditions_of(session, sorted({image.prompt_id for _, image in found}))
        for assignment, image in found:
            sha256 = image.file_sha256 if side else conditions[image.prompt_id][name]
            row = _shown(session, assignment, name, image, sha256)
            shown.append((assignment.rater_id, assignment.position, row))
    shown.sort(key=lambda entry: (str(entry[0]), entry[1], entry[2].name))
    return [row for _, _, row in shown]


def stands_in(spoiled: str | None) -> tuple[str, str] | None:
    """Return kind and SHA-256 of the file that is shown in an image's place, if one is."""
    kind, colon, sha256 = (spoiled or "").partition(":")
    return (kind, sha256) if colon else None


def _shown(
    session: Session, assignment: Assignment, name: str, image: Image, file_sha256: str
) -> ShownImage:
    is_side = side_of(name) is not None
    spoiled = assignment.spoiled if is_side else None
    count = session.get_one(Campaign, assignment.campaign_id).config.get(IN_SLICES, 0)
    if (other := stands_in(spoiled)) is not None:
        file_sha256, spoiled = other[1], None
    return ShownImage(
        assignment_id=assignment.id,
        name=name,
        campaign_id=assignment.campaign_id,
        file_sha256=file_sha256,
        origin=image.origin,
        shape=tuple(image.shape),
        spoiled=spoiled,
        part=(int(name[-1]), count) if is_side and count else None,
    )


def default_rubric(
    session: Session, version: int = DEFAULT_VERSION
) -> tuple[Rubric, list[Criterion]]:
    """Return MINIM's rubric, added if it is new; grades are 1 to 3, 3 best.

    Version 1 has one criterion, quality; version 2 asks on its own what it took together.
    """
    if version == DEFAULT_VERSION:
        default_rubric(session, 1)  # the numbers are in order
        asked = Rubric(name=DEFAULT_NAME, version=0)
        of_both = [
            Criterion(
                rubric_id=asked.id,
                name=name,
                position=place,
                question=question,
                min_value=1,
                max_value=3,
                wording=wording,
            )
            for place, (name, question, wording) in enumerate(DEFAULT_CRITERIA)
        ]
        found = get_or_add_rubric(session, asked, of_both)
        return found, list(criteria_of(session, found.id))
    known = select(Rubric).where(Rubric.name == DEFAULT_NAME, Rubric.version == 1)
    rubric = session.exec(known).first()
    if rubric is None:
        rubric = Rubric(name="minim", version=1)
        criterion = Criterion(
            rubric_id=rubric.id,
            name="quality",
            question="Does the image show what was asked, and would you train on it?",
            min_value=1,
            max_value=3,
            wording=DEFAULT_WORDING,
        )
        session.add(rubric)
        session.flush()
        session.add(criterion)
        session.flush()
    criteria = session.exec(select(Criterion).where(Criterion.rubric_id == rubric.id))
    return rubric, list(criteria)


def rubrics_of_campaigns(session: Session) -> dict[UUID, Rubric]:
    """Return {campaign: its rubric}."""
    query = select(Campaign.id, Rubric).join(Rubric, col(Campaign.rubric_id) == col(Rubric.id))
    return dict(session.exec(query).all())


def get_or_add_rubric(session: Session, rubric: Rubric, criteria: Sequence[Criterion]) -> Rubric:
    """Return the version of this name that says just this, added as the next one if new.

    Not committed: the campaign that uses it is.
    """
    wanted = _content(rubric, criteria)
    query = select(Rubric).where(Rubric.name == rubric.name).order_by(col(Rubric.version))
    for known in session.exec(query):
        if _content(known, criteria_of(session, known.id)) == wanted:
            return known
    newest = select(sa.func.max(Rubric.version)).where(Rubric.name == rubric.name)
    rubric.version = (session.exec(newest).one() or 0) + 1
    session.add(rubric)
    session.flush()
    session.add_all(criteria)
    session.flush()
    return rubric


def _content(rubric: Rubric, criteria: Sequence[Criterion]) -> Any:
    """Return all that a rater would see, or that decides what an answer means."""
    return (
        rubric.instructions,
        rubric.reasons,
        [criterion.model_dump(exclude={"id", "rubric_id"}) for criterion in criteria],
    )


def criteria_of(session: Session, rubric_id: UUID) -> Sequence[Criterion]:
    """Return a rubric's criteria in the order of its form."""
    query = select(Criterion).where(Criterion.rubric_id == rubric_id)
    return session.exec(query.order_by(col(Criterion.position), Criterion.name)).all()
