"""What raters' browsers are shown: which image lies behind each side of each assignment."""

from dataclasses import dataclass
from uuid import UUID

from sqlmodel import Session, col, select

from db.models import Assignment, Image


@dataclass(frozen=True)
class ShownImage:
    """One image before one rater's eyes."""

    assignment_id: UUID
    side: str  # "left" or "right"; "left" where there is no pair
    campaign_id: UUID
    file_sha256: str
    origin: str
    shape: tuple[int, ...]
    spoiled: str | None  # how it is spoiled before it is shown


def shown_image(session: Session, assignment_id: UUID, side: str) -> ShownImage | None:
    """Return the image on that side of the assignment, if there is one."""
    assignment = session.get(Assignment, assignment_id)
    if assignment is None:
        return None
    image_id = assignment.image_id if side == "left" else assignment.other_image_id
    image = session.get(Image, image_id) if image_id is not None else None
    return None if image is None else _shown(assignment, side, image)


def shown_images(session: Session, campaign_id: UUID) -> list[ShownImage]:
    """Return all that a campaign shows, each rater's in order of position, left before right."""
    shown: list[tuple[UUID, int, ShownImage]] = []
    for side, column in (("left", Assignment.image_id), ("right", Assignment.other_image_id)):
        query = select(Assignment, Image).join(Image, col(Image.id) == col(column))
        for assignment, image in session.exec(query.where(Assignment.campaign_id == campaign_id)):
            row = _shown(assignment, side, image)
            shown.append((assignment.rater_id, assignment.position, row))
    shown.sort(key=lambda entry: (str(entry[0]), entry[1], entry[2].side))
    return [row for _, _, row in shown]


def _shown(assignment: Assignment, side: str, image: Image) -> ShownImage:
    return ShownImage(
        assignment_id=assignment.id,
        side=side,
        campaign_id=assignment.campaign_id,
        file_sha256=image.file_sha256,
        origin=image.origin,
        shape=tuple(image.shape),
        spoiled=assignment.spoiled,
    )
