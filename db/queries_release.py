"""What selection, export, evaluation and the report ask of the database."""

import datetime as dt
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlmodel import Session, col, select

from db.errors import StoreError
from db.models import (
    Assignment,
    Criterion,
    Environment,
    GeneratorVersion,
    Image,
    Prompt,
    PromptCondition,
    Rater,
    Rating,
    Release,
    ReleaseDecision,
    RewardModelRating,
    Round,
    Score,
)
from db.queries import insert_new

IDS_A_QUERY = 500  # below the 999 variables that an old SQLite takes


@dataclass(frozen=True)
class ScoredImage:
    """A synthetic image with its prompt and, where there is one, its score."""

    image_id: UUID
    file_sha256: str
    pixels_sha256: str
    item_key: str
    prompt_id: str
    modality: str
    text: str
    label: str | None
    version_id: str
    seed: int
    settings_hash: str
    score: float | None  # expected probability of the top rating, 0 .. 1
    spread: float | None


@dataclass(frozen=True)
class RatingOfRewardModel:
    """A rating as a reward model met it, without the rater's name."""

    rating_id: UUID
    reward_model_id: str
    use: str  # "fitted" or "held-out"
    campaign_id: UUID
    rater_id: UUID
    expert_level: int
    simulated: bool
    criterion: str
    value: int | None
    min_value: int
    max_value: int
    purpose: str
    rated_at: dt.datetime
    item_key: str | None  # None: a real image
    file_sha256: str
    origin: str
    version_id: str | None


def synthetic_images(
    session: Session,
    *,
    reward_model_id: str | None,
    version_id: str | None = None,
    limit: int | None = None,
) -> list[ScoredImage]:
    """Return synthetic images with their scores by one reward model, ordered by item key.

    Item keys are hashes: their order is fixed and has nothing to do with seed, prompt or quality,
    so that the first `limit` are a fair sample.
    """
    query = _with_scores(reward_model_id).order_by(col(Image.item_key)).limit(limit)
    if version_id is not None:
        query = query.where(col(Image.version_id) == version_id)
    return [ScoredImage(**row._mapping) for row in session.connection().execute(query)]


def synthetic_images_by_id(
    session: Session, image_ids: Sequence[UUID], *, reward_model_id: str | None
) -> dict[UUID, ScoredImage]:
    """Return some synthetic images by id."""
    found: dict[UUID, ScoredImage] = {}
    for part in _parts(image_ids):
        query = _with_scores(reward_model_id).where(col(Image.id).in_(part))
        rows = session.connection().execute(query)
        found.update({row.image_id: ScoredImage(**row._mapping) for row in rows})
    return found


_SCORED_IMAGE: tuple[Any, ...] = (
    col(Image.id).label("image_id"),
    col(Image.file_sha256),
    col(Image.pixels_sha256),
    col(Image.item_key),
    col(Image.prompt_id),
    col(Prompt.modality),
    col(Prompt.text),
    col(Prompt.label),
    col(Image.version_id),
    col(Image.seed),
    col(Image.settings_hash),
    col(Score.mean).label("score"),
    col(Score.spread),
)


def _with_scores(reward_model_id: str | None) -> Any:
    """Columns, not rows: a workspace may have a million images."""
    by_model = sa.and_(
        col(Score.image_id) == col(Image.id), col(Score.reward_model_id) == reward_model_id
    )
    return (
        sa.select(*_SCORED_IMAGE)
        .select_from(Image)
        .join(Prompt, col(Prompt.id) == col(Image.prompt_id))
        .outerjoin(Score, by_model)
        .where(col(Image.origin) == "synthetic")
    )


def same_noise_pairs(
    session: Session, *, before_id: str, after_id: str, reward_model_id: str | None
) -> list[tuple[ScoredImage, ScoredImage]]:
    """Return the images that two versions made of the same prompt, seed and settings, as pairs."""
    after = {
        (image.prompt_id, image.seed, image.settings_hash): image
        for image in synthetic_images(session, reward_model_id=reward_model_id, version_id=after_id)
    }
    pairs = [
        (image, after[key])
        for image in synthetic_images(
            session, reward_model_id=reward_model_id, version_id=before_id
        )
        if (key := (image.prompt_id, image.seed, image.settings_hash)) in after
    ]
    return sorted(pairs, key=lambda pair: (pair[0].modality, pair[0].text, pair[0].seed))


def real_images(
    session: Session, *, splits: Collection[str | None], limit: int | None = None
) -> list[tuple[Image, Prompt]]:
    """Return real images of some splits (None: no split was given), ordered by pixel hash."""
    named = col(Image.split).in_([split for split in splits if split is not None])
    wanted = named | col(Image.split).is_(None) if None in splits else named
    query = (
        select(Image, Prompt)
        .join(Prompt, col(Prompt.id) == Image.prompt_id)
        .where(Image.origin == "real", wanted)
        .order_by(col(Image.pixels_sha256), col(Image.id))
        .limit(limit)
    )
    return list(session.exec(query))


def real_pixels_among(session: Session, pixels: Sequence[str]) -> set[str]:
    """Return which of these pixel hashes belong to a real image."""
    found: set[str] = set()
    for part in _parts(pixels):
        query = select(Image.pixels_sha256).where(
            Image.origin == "real", col(Image.pixels_sha256).in_(part)
        )
        found.update(session.exec(query))
    return found


def patients_behind(session: Session, prompt_ids: Sequence[str]) -> dict[str, set[str | None]]:
    """Return, for every prompt, the patients whose images are its conditions."""
    found: dict[str, set[str | None]] = {prompt_id: set() for prompt_id in prompt_ids}
    for part in _parts(list(found)):
        query = (
            select(PromptCondition.prompt_id, Image.patient)
            .join(Image, col(Image.file_sha256) == col(PromptCondition.file_sha256))
            .where(col(PromptCondition.prompt_id).in_(part), col(Image.patient).is_not(None))
        )
        for prompt_id, patient in session.exec(query):
            found[prompt_id].add(patient)
    return found


def rated_among(session: Session, image_ids: Sequence[UUID]) -> set[UUID]:
    """Return which of these images a campaign has assigned to a rater."""
    found: set[UUID] = set()
    for part in _parts(image_ids):
        query = select(Assignment.image_id).where(col(Assignment.image_id).in_(part))
        found.update(session.exec(query))
    return found


def images_by_id(session: Session, image_ids: Sequence[UUID]) -> dict[UUID, tuple[Image, Prompt]]:
    """Return images with their prompts by id."""
    found: dict[UUID, tuple[Image, Prompt]] = {}
    for part in _parts(image_ids):
        query = (
            select(Image, Prompt)
            .join(Prompt, col(Prompt.id) == Image.prompt_id)
            .where(col(Image.id).in_(part))
        )
        found.update({image.id: (image, prompt) for image, prompt in session.exec(query)})
    return found


def environments(session: Session, ids: Collection[str]) -> dict[str, Environment]:
    """Return environments by id."""
    rows = session.exec(select(Environment).where(col(Environment.id).in_(sorted(ids))))
    return {row.id: row for row in rows}


def versions(session: Session) -> Sequence[GeneratorVersion]:
    """Return all generator versions, oldest first."""
    order = (col(GeneratorVersion.created_at), col(GeneratorVersion.id))
    return session.exec(select(GeneratorVersion).order_by(*order)).all()


def versions_with_images(session: Session) -> list[GeneratorVersion]:
    """Return the generator versions that have made images, oldest first."""
    made = set(session.exec(select(Image.version_id).where(Image.origin == "synthetic").distinct()))
    return [version for version in versions(session) if version.id in made]


def ancestry(session: Session, version_id: str) -> list[GeneratorVersion]:
    """Return a version and its parents, the version first."""
    line: list[GeneratorVersion] = []
    next_id: str | None = version_id
    while next_id is not None:
        version = session.get(GeneratorVersion, next_id)
        if version is None:
            raise StoreError(f"No generator version {next_id[:12]}. Run `curate doctor`.")
        line.append(version)
        next_id = version.parent_id
    return line


def rejected_versions(session: Session) -> dict[str, Round]:
    """Return the versions that a gate rejected and none promoted, with the rejecting round."""
    judged = session.exec(
        select(Round)
        .where(
            col(Round.state).in_(["promoted", "rejected"]), col(Round.new_version_id).is_not(None)
        )
        .order_by(col(Round.created_at))
    ).all()
    promoted = {row.new_version_id for row in judged if row.state == "promoted"}
    return {
        row.new_version_id: row
        for row in judged
        if row.state == "rejected" and row.new_version_id and row.new_version_id not in promoted
    }


def rounds_that_made(session: Session, version_ids: Collection[str]) -> dict[str, Round]:
    """Return, by version, the round that made it; the first when several gave the same weights."""
    rows = session.exec(
        select(Round)
        .where(col(Round.new_version_id).in_(sorted(version_ids)))
        .order_by(col(Round.created_at).desc())
    )
    return {row.new_version_id: row for row in rows if row.new_version_id}


def ratings_of_reward_models(
    session: Session, reward_model_ids: Collection[str]
) -> list[RatingOfRewardModel]:
    """Return the ratings that reward models were fitted to or tested on, oldest first."""
    query = (
        sa.select(*_RATING_OF_REWARD_MODEL)
        .select_from(RewardModelRating)
        .join(Rating, col(Rating.id) == col(RewardModelRating.rating_id))
        .join(Assignment, col(Assignment.id) == col(Rating.assignment_id))
        .join(Rater, col(Rater.id) == col(Assignment.rater_id))
        .join(Criterion, col(Criterion.id) == col(Rating.criterion_id))
        .join(Image, col(Image.id) == col(Assignment.image_id))
        .where(col(RewardModelRating.reward_model_id).in_(sorted(reward_model_ids)))
        .order_by(col(RewardModelRating.reward_model_id), col(Rating.rated_at), col(Rating.id))
    )
    return [RatingOfRewardModel(**row._mapping) for row in session.connection().execute(query)]


_RATING_OF_REWARD_MODEL: tuple[Any, ...] = (
    col(Rating.id).label("rating_id"),
    col(RewardModelRating.reward_model_id),
    col(RewardModelRating.use),
    col(Assignment.campaign_id),
    col(Assignment.rater_id),
    col(Rater.expert_level),
    col(Rater.simulated),
    col(Criterion.name).label("criterion"),
    col(Rating.value),
    col(Criterion.min_value),
    col(Criterion.max_value),
    col(Assignment.purpose),
    col(Rating.rated_at),
    col(Image.item_key),
    col(Image.file_sha256),
    col(Image.origin),
    col(Image.version_id),
)


def add_release(
    session: Session, release: Release, decisions: Sequence[ReleaseDecision]
) -> Release:
    """Add a release with its decisions in one commit; a known release is left as it is."""
    known = session.get(Release, release.id)
    if known is not None:
        return known
    session.add(release)
    session.flush()
    insert_new(session, ReleaseDecision, [row.model_dump() for row in decisions])
    session.commit()
    return release


def has_release(session: Session, release_id: str) -> bool:
    """Tell whether a release of this id was exported here."""
    return session.get(Release, release_id) is not None


def has_any_item(session: Session, item_keys: Sequence[str]) -> bool:
    """Tell whether any of these items was made here."""
    return any(
        session.exec(select(Image.id).where(col(Image.item_key).in_(part)).limit(1)).first()
        for part in _parts(item_keys)
    )


def releases(session: Session) -> Sequence[Release]:
    """Return all releases, oldest first."""
    return session.exec(select(Release).order_by(col(Release.created_at), col(Release.id))).all()


def decisions_of(session: Session, release_id: str) -> Sequence[ReleaseDecision]:
    """Return what a release decided, one row an image."""
    return session.exec(
        select(ReleaseDecision)
        .where(ReleaseDecision.release_id == release_id)
        .order_by(col(ReleaseDecision.image_id))
    ).all()


def _parts(ids: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(ids), IDS_A_QUERY):
        yield ids[start : start + IDS_A_QUERY]
