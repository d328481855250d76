"""Images, real and synthetic, with what they were asked to show."""

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import sqlalchemy as sa
from sqlmodel import Session, col, select

from db.bulk import in_parts, insert_new
from db.models import (
    Assignment,
    Environment,
    File,
    Image,
    Prompt,
    Score,
    utc_now,
)
from db.queries.prompts import NewPrompt, add_prompts

FURTHER = "caption-"  # begins the item key of a real image's row for each caption after the first


def _is_first() -> Any:
    """Return the condition that an image's row is that of its first caption, or its only one."""
    return sa.or_(col(Image.item_key).is_(None), ~col(Image.item_key).startswith(FURTHER))


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
class PromptedImage:
    """An image as a reward model sees it."""

    image_id: UUID
    file_sha256: str
    prompt_id: str
    modality: str
    text: str
    label: str | None
    patient: str | None


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


def images(
    session: Session,
    *,
    origin: str | None = None,
    version_id: str | None = None,
    run_id: str | None = None,
    modality: str | None = None,
    split: str | None = None,
    limit: int | None = None,
) -> list[tuple[Image, Prompt]]:
    """Return images with their prompts, in the order they were made; None asks for any."""
    wanted = {
        col(Image.origin): origin,
        col(Image.version_id): version_id,
        col(Image.run_id): run_id,
        col(Prompt.modality): modality,
        col(Image.split): split,
    }
    rows = session.exec(
        select(Image, Prompt)
        .join(Prompt, col(Prompt.id) == col(Image.prompt_id))
        .where(*[column == value for column, value in wanted.items() if value is not None])
        .order_by(col(Image.created_at), col(Image.run_index), col(Image.id))
        .limit(limit)
    )
    return [(image, prompt) for image, prompt in rows]


def images_by_id(session: Session, image_ids: Sequence[UUID]) -> dict[UUID, tuple[Image, Prompt]]:
    """Return images with their prompts by id."""
    found: dict[UUID, tuple[Image, Prompt]] = {}
    for some in in_parts(image_ids):
        query = (
            select(Image, Prompt)
            .join(Prompt, col(Prompt.id) == Image.prompt_id)
            .where(col(Image.id).in_(some))
        )
        found.update({image.id: (image, prompt) for image, prompt in session.exec(query)})
    return found


def prompted_images(session: Session, image_ids: Sequence[UUID]) -> list[PromptedImage]:
    """Return these images, in the order of `image_ids`."""
    statement: Any = (
        sa.select(
            col(Image.id).label("image_id"),
            col(Image.file_sha256),
            col(Prompt.id).label("prompt_id"),
            col(Prompt.modality),
            col(Prompt.text),
            col(Prompt.label),
            col(Image.patient),
        )
        .join(Prompt, col(Prompt.id) == col(Image.prompt_id))
        .where(col(Image.id).in_(sa.bindparam("ids", expanding=True)))
    )
    found: dict[UUID, PromptedImage] = {}
    for ids in in_parts(image_ids):
        for row in session.connection().execute(statement, {"ids": ids}):
            found[row.image_id] = PromptedImage(**row._mapping)
    return [found[image_id] for image_id in image_ids]


def images_of_files(
    session: Session, sha256s: Sequence[str]
) -> dict[str, list[tuple[Image, Prompt]]]:
    """Return {file SHA-256: its images with their prompts, oldest first}, known files only."""
    found: dict[str, list[tuple[Image, Prompt]]] = {}
    for some in in_parts(sha256s):
        query = _images_with_prompts().where(col(Image.file_sha256).in_(some))
        for image, prompt in session.exec(query):
            found.setdefault(image.file_sha256, []).append((image, prompt))
    return found


def made_images_of_files(
    session: Session, hashes: Sequence[str]
) -> list[tuple[Image, dict[str, Any]]]:
    """Return one synthetic image a file with the environment that made it."""
    found: dict[str, tuple[Image, dict[str, Any]]] = {}
    for some in in_parts(hashes):
        rows = session.exec(
            select(Image, Environment)
            .join(Environment, col(Environment.id) == col(Image.environment_id), isouter=True)
            .where(col(Image.file_sha256).in_(some), Image.origin == "synthetic")
        )
        for image, environment in rows:
            found[image.file_sha256] = (image, environment.details if environment else {})
    return list(found.values())


def images_of_source_paths(
    session: Session, paths: Sequence[str]
) -> dict[str, list[tuple[Image, Prompt]]]:
    """Return {path as the imported table wrote it: its images with their prompts}."""
    found: dict[str, list[tuple[Image, Prompt]]] = {}
    for some in in_parts(paths):
        query = _images_with_prompts().where(col(Image.source_path).in_(some))
        for image, prompt in session.exec(query):
            found.setdefault(image.source_path or "", []).append((image, prompt))
    return found


def _images_with_prompts() -> Any:
    query = select(Image, Prompt).join(Prompt, col(Prompt.id) == Image.prompt_id)
    return query.order_by(col(Image.created_at), col(Image.id))


def add_images(
    session: Session, files: Sequence[Mapping[str, Any]], images: Sequence[Mapping[str, Any]]
) -> int:
    """Insert the rows of image files and of the images in one commit; return how many were new.

    An item that another process made meanwhile is left as it is: its key is unique.
    """
    if not images:
        return 0
    now = utc_now()
    unique = {row["sha256"]: {**row, "created_at": now} for row in files}
    insert_new(session, File, list(unique.values()))
    keys = [row["item_key"] for row in images]
    known = sa.select(sa.func.count()).where(col(Image.item_key).in_(keys))
    before = int(session.connection().execute(known).scalar_one())
    insert_new(session, Image, [{"id": uuid4(), "created_at": now, **r} for r in images])
    session.commit()
    return len(images) - before


def num_images_of(session: Session, version_id: str) -> int:
    """Return how many images a version has made."""
    statement = select(sa.func.count()).where(Image.version_id == version_id)
    return session.exec(statement.select_from(Image)).one()


def has_any_item(session: Session, item_keys: Sequence[str]) -> bool:
    """Tell whether any of these items was made here."""
    return any(
        session.exec(select(Image.id).where(col(Image.item_key).in_(some)).limit(1)).first()
        for some in in_parts(item_keys)
    )


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
    for some in in_parts(image_ids):
        query = _with_scores(reward_model_id).where(col(Image.id).in_(some))
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


def add_real_images(
    session: Session, prompts: Sequence[NewPrompt], images: Sequence[Image]
) -> None:
    """Insert images and what they show, and commit; what another process added is left as it is."""
    add_prompts(session, prompts)
    insert_new(session, Image, [image.model_dump() for image in images])
    session.commit()


def fill_in(session: Session, values: Mapping[UUID, Mapping[str, Any]]) -> None:
    """Set columns of real images that had no value, and commit."""
    for image_id, columns in values.items():
        session.connection().execute(
            sa.update(Image).where(col(Image.id) == image_id).values(**columns)
        )
    session.commit()


def real_images(
    session: Session, *, splits: Collection[str | None], limit: int | None = None
) -> list[tuple[Image, Prompt]]:
    """Return real images of some splits (None: no split was given), ordered by pixel hash.

    Each once, with its first caption.
    """
    named = col(Image.split).in_([split for split in splits if split is not None])
    wanted = named | col(Image.split).is_(None) if None in splits else named
    query = (
        select(Image, Prompt)
        .join(Prompt, col(Prompt.id) == Image.prompt_id)
        .where(Image.origin == "real", wanted, _is_first())
        .order_by(col(Image.pixels_sha256), col(Image.id))
        .limit(limit)
    )
    return list(session.exec(query))


def real_images_with_pixels(
    session: Session, pixels_sha256s: Sequence[str]
) -> dict[str, tuple[Image, Prompt]]:
    """Return the real images with these pixels and their first caption, by the pixels' SHA-256."""
    captions = captions_of_pixels(session, pixels_sha256s)
    return {pixels: rows[0] for pixels, rows in captions.items()}


def captions_of_pixels(
    session: Session, pixels_sha256s: Sequence[str]
) -> dict[str, list[tuple[Image, Prompt]]]:
    """Return the real images with these pixels, a row a caption and the first of them first."""
    found: dict[str, list[tuple[Image, Prompt]]] = {}
    for keys in in_parts(pixels_sha256s):
        rows = session.exec(
            select(Image, Prompt)
            .join(Prompt, col(Prompt.id) == col(Image.prompt_id))
            .where(Image.origin == "real", col(Image.pixels_sha256).in_(keys))
            .order_by(_is_first().desc(), col(Image.item_key))
        )
        for image, prompt in rows:
            found.setdefault(image.pixels_sha256, []).append((image, prompt))
    return found


def images_of_pixels(
    session: Session, version_id: str, pixels_sha256s: Sequence[str]
) -> dict[str, list[tuple[Image, Prompt]]]:
    """Return a version's images with these pixels, by the pixels' SHA-256."""
    found: dict[str, list[tuple[Image, Prompt]]] = {}
    for keys in in_parts(pixels_sha256s):
        query = _images_with_prompts().where(
            col(Image.version_id) == version_id, col(Image.pixels_sha256).in_(keys)
        )
        for image, prompt in session.exec(query):
            found.setdefault(image.pixels_sha256, []).append((image, prompt))
    return found


def first_free_seed(session: Session, version_id: str) -> int:
    """Return the seed behind the highest that a version has an image of."""
    highest = sa.select(sa.func.max(col(Image.seed))).where(col(Image.version_id) == version_id)
    last = session.connection().execute(highest).scalar_one()
    return 0 if last is None else int(last) + 1


def real_pixels_among(session: Session, pixels: Sequence[str]) -> set[str]:
    """Return which of these pixel hashes belong to a real image."""
    found: set[str] = set()
    for some in in_parts(pixels):
        query = select(Image.pixels_sha256).where(
            Image.origin == "real", col(Image.pixels_sha256).in_(some)
        )
        found.update(session.exec(query))
    return found


def draw_real_images(session: Session, count: int, *, seed: int) -> list[Image]:
    """Return a seeded random draw of at most `count` real images."""
    statement = select(Image.id).where(Image.origin == "real", _is_first()).order_by(col(Image.id))
    ids = list(session.exec(statement))
    drawn = random.Random(seed).sample(ids, min(count, len(ids)))
    return list(session.exec(select(Image).where(col(Image.id).in_(drawn)).order_by(col(Image.id))))


def num_real_images_by_label(session: Session) -> dict[tuple[str, str | None], int]:
    """Count the real images of each modality and label."""
    query = (
        sa.select(col(Prompt.modality), col(Prompt.label), sa.func.count())
        .join(Image, col(Image.prompt_id) == col(Prompt.id))
        .where(col(Image.origin) == "real", _is_first())
        .group_by(col(Prompt.modality), col(Prompt.label))
    )
    rows = session.connection().execute(query)
    return {(modality, label): count for modality, label, count in rows}


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
        sa.select(*_IMAGE_TO_LEARN)
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


_IMAGE_TO_LEARN: tuple[Any, ...] = (
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
    query = query.where(Image.origin == origin, ~assigned, _is_first())
    if modalities is not None:
        query = query.where(col(Prompt.modality).in_(modalities))
    if version_id is not None:
        query = query.where(Image.version_id == version_id)
    order = (col(Image.created_at), col(Image.run_index), col(Image.file_sha256), col(Image.id))
    return session.exec(query.order_by(*order)).all()
