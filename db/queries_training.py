"""What training a generator asks of the database: images with what they show, and what was made."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlmodel import Session, col, select

from db.models import GeneratorVersion, Image, Prompt, PromptCondition, Score
from db.queries import MAX_IN


@dataclass(frozen=True)
class ImageToLearn:
    """One image with what it shows, and what decides whether it is learned or held out."""

    image_id: UUID
    file_sha256: str
    origin: str
    patient: str | None
    split: str | None
    seed: int | None  # of a generated image
    prompt_id: str
    modality: str
    text: str
    label: str | None
    record: Mapping[str, Any]


def images_to_learn(
    session: Session,
    *,
    origin: str | None = None,
    image_ids: Collection[UUID] | None = None,
    reward_model_id: str | None = None,
    least_score: float | None = None,
) -> list[ImageToLearn]:
    """Return images in a fixed order, that of their prompts and bytes; None asks for any."""
    query = (
        sa.select(*_COLUMNS)
        .join(Prompt, col(Prompt.id) == col(Image.prompt_id))
        .order_by(col(Image.prompt_id), col(Image.file_sha256), col(Image.id))
    )
    if origin is not None:
        query = query.where(col(Image.origin) == origin)
    if least_score is not None:
        query = query.join(Score, col(Score.image_id) == col(Image.id)).where(
            col(Score.reward_model_id) == reward_model_id, col(Score.mean) >= least_score
        )
    rows = session.connection().execute(query)
    return [
        ImageToLearn(**row._mapping)
        for row in rows
        if image_ids is None or row.image_id in image_ids
    ]


_COLUMNS: tuple[Any, ...] = (
    col(Image.id).label("image_id"),
    col(Image.file_sha256),
    col(Image.origin),
    col(Image.patient),
    col(Image.split),
    col(Image.seed),
    col(Prompt.id).label("prompt_id"),
    col(Prompt.modality),
    col(Prompt.text),
    col(Prompt.label),
    col(Prompt.record),
)


def condition_files(session: Session, prompt_ids: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return {prompt: {role: SHA-256}} of those prompts that have condition images."""
    found: dict[str, dict[str, str]] = {}
    for some in _parts(prompt_ids):
        rows = session.exec(select(PromptCondition).where(col(PromptCondition.prompt_id).in_(some)))
        for row in rows:
            found.setdefault(row.prompt_id, {})[row.role] = row.file_sha256
    return found


def find_trained_version(
    session: Session, *, parent_id: str, config: Mapping[str, Any]
) -> GeneratorVersion | None:
    """Return the version that this very training made before, if it did."""
    rows = session.exec(
        select(GeneratorVersion).where(
            GeneratorVersion.parent_id == parent_id, GeneratorVersion.how_made == "train-generator"
        )
    )
    return next((row for row in rows if row.config == dict(config)), None)


def _parts(ids: Sequence[str]) -> Iterator[list[str]]:
    for start in range(0, len(ids), MAX_IN):
        yield list(ids[start : start + MAX_IN])


def num_real_images_by_label(session: Session) -> dict[tuple[str, str | None], int]:
    """Count the real images of each modality and label."""
    query = (
        sa.select(col(Prompt.modality), col(Prompt.label), sa.func.count())
        .join(Image, col(Image.prompt_id) == col(Prompt.id))
        .where(col(Image.origin) == "real")
        .group_by(col(Prompt.modality), col(Prompt.label))
    )
    rows = session.connection().execute(query)
    return {(modality, label): count for modality, label, count in rows}
