"""Practices: images of known answers, who answered what of them, and which campaigns need them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlmodel import Session, col, select

from db.bulk import insert_new
from db.models import (
    MOST_SLICES,
    SIDES,
    Archived,
    Assignment,
    CampaignPractice,
    Image,
    Practice,
    PracticeAnswer,
    PracticeItem,
    Prompt,
    Rater,
    side_of,
)
from db.queries.campaigns import ShownImage, shared_roles
from db.queries.prompts import conditions_of


@dataclass(frozen=True)
class PracticeImage:
    """One image of a practice with what is known of it, and what it was asked to show."""

    item: PracticeItem
    image: Image
    prompt: Prompt


def find_practice(session: Session, name: str) -> Practice | None:
    """Return the practice of this name, if there is one."""
    return session.exec(select(Practice).where(Practice.name == name)).first()


def practices(session: Session) -> Sequence[Practice]:
    """Return all practices, oldest first."""
    return session.exec(select(Practice).order_by(col(Practice.sequence), Practice.name)).all()


def practice_of(session: Session, campaign_id: UUID) -> tuple[Practice, CampaignPractice] | None:
    """Return the practice that comes before a campaign, and how they are joined."""
    query = select(Practice, CampaignPractice).join(
        CampaignPractice, col(CampaignPractice.practice_id) == col(Practice.id)
    )
    return session.exec(query.where(CampaignPractice.campaign_id == campaign_id)).first()


def practices_asked_of(session: Session, rater_id: UUID) -> Sequence[Practice]:
    """Return the practices before the campaigns that ask this rater, oldest first.

    A campaign that was put aside asks nobody.
    """
    asked = select(Assignment.campaign_id).where(Assignment.rater_id == rater_id)
    query = select(CampaignPractice).where(col(CampaignPractice.campaign_id).in_(asked))
    aside = session.exec(select(Archived.id).where(Archived.kind == "campaign")).all()
    ids = {row.practice_id for row in session.exec(query) if str(row.campaign_id) not in aside}
    return [row for row in practices(session) if row.id in ids]


def rater_ids_of(session: Session, practice_id: UUID) -> set[UUID]:
    """Return who is to practise, by the campaigns that need it, or has."""
    asked = select(Assignment.rater_id).join(
        CampaignPractice, col(CampaignPractice.campaign_id) == col(Assignment.campaign_id)
    )
    said = select(PracticeAnswer.rater_id).where(PracticeAnswer.practice_id == practice_id)
    asking = asked.where(CampaignPractice.practice_id == practice_id)
    return {*session.exec(asking.distinct()), *session.exec(said.distinct())}


def add_practice(session: Session, practice: Practice, items: Sequence[PracticeItem]) -> Practice:
    """Add a practice and all its images in one commit: it is there whole or not at all."""
    session.add(practice)
    session.flush()
    session.add_all(items)
    session.commit()
    return practice


def images_of(session: Session, practice_id: UUID) -> list[PracticeImage]:
    """Return a practice's images in order of position."""
    query = (
        select(PracticeItem, Image, Prompt)
        .join(Image, col(Image.id) == col(PracticeItem.image_id))
        .join(Prompt, col(Prompt.id) == col(Image.prompt_id))
        .where(PracticeItem.practice_id == practice_id)
        .order_by(col(PracticeItem.position))
    )
    return [PracticeImage(*row) for row in session.exec(query)]


def answers_of(
    session: Session, practice_id: UUID, rater_id: UUID | None = None
) -> list[PracticeAnswer]:
    """Return what was said in a practice, by one rater or all, each rater's in order."""
    query = select(PracticeAnswer).where(PracticeAnswer.practice_id == practice_id)
    if rater_id is not None:
        query = query.where(PracticeAnswer.rater_id == rater_id)
    order = (col(PracticeAnswer.rater_id), col(PracticeAnswer.number))
    return list(session.exec(query.order_by(*order)))


def add_answer(session: Session, answer: PracticeAnswer) -> None:
    """Add an answer in one commit; where the rater's answer of this number is there, it stays."""
    insert_new(session, PracticeAnswer, [answer.model_dump()])
    session.commit()


def files_practised(
    session: Session, practice_id: UUID | None, rater_names: Iterable[str]
) -> set[str]:
    """Return the SHA-256 of the files of a practice's images, and of all that raters answered."""
    query = select(Image.file_sha256).join(
        PracticeItem, col(PracticeItem.image_id) == col(Image.id)
    )
    answered = select(PracticeAnswer.item_id).join(
        Rater, col(Rater.id) == col(PracticeAnswer.rater_id)
    )
    answered = answered.where(col(Rater.name).in_(list(rater_names)))
    found = set(session.exec(query.where(col(PracticeItem.id).in_(answered))))
    return found | set(session.exec(query.where(PracticeItem.practice_id == practice_id)))


def shown_images(session: Session, practice_id: UUID) -> list[ShownImage]:
    """Return every picture of a practice, as those of a campaign; an item is its "assignment".

    Volumes are shown by equally many slices; of condition images those that all items have.
    """
    found = images_of(session, practice_id)
    depth = min((o.image.shape[1] if len(o.image.shape) == 4 else 1 for o in found), default=1)
    count = min(depth, MOST_SLICES) if depth > 1 else 0
    prompt_ids = sorted({one.prompt.id for one in found})
    sides = [f"{SIDES[0]}{place + 1}" for place in range(count)] or [SIDES[0]]
    conditions = conditions_of(session, prompt_ids)
    return [
        ShownImage(
            assignment_id=one.item.id,
            name=name,
            campaign_id=practice_id,
            file_sha256=one.image.file_sha256 if side_of(name) else conditions[one.prompt.id][name],
            origin=one.image.origin,
            shape=tuple(one.image.shape),
            spoiled=one.item.spoiled if side_of(name) else None,
            part=(int(name[-1]), count) if side_of(name) and count else None,
        )
        for one in found
        for name in (*shared_roles(session, prompt_ids), *sides)
    ]
