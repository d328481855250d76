"""What `curate doctor` asks of the database: all files, what uses them, is it whole itself."""

from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, col, select

from db.models import (
    DerivedFile,
    Environment,
    File,
    GeneratorVersionFile,
    Image,
    PromptCondition,
    Release,
    RewardModel,
)

MAX_IN = 10_000  # SQLite takes 32,766 values a statement


def files_in_batches(session: Session, batch: int) -> Iterator[Sequence[tuple[str, int]]]:
    """Yield all files as (SHA-256, length in bytes), in the order of their hashes."""
    after = ""
    while rows := session.exec(
        select(File.sha256, File.num_bytes)
        .where(col(File.sha256) > after)
        .order_by(col(File.sha256))
        .limit(batch)
    ).all():
        yield rows
        after = rows[-1][0]


def num_files(session: Session) -> int:
    """Count the files that rows know."""
    return session.exec(select(sa.func.count()).select_from(File)).one()


def has_file(session: Session, sha256: str) -> bool:
    """Say whether a row names this file."""
    return session.exec(select(File.sha256).where(File.sha256 == sha256)).first() is not None


def uses_of_file(session: Session, sha256: str) -> list[str]:
    """Return in words what a file is used for; a synthetic image's words begin with "synthetic"."""
    images = session.exec(select(Image).where(Image.file_sha256 == sha256)).all()
    parts = session.exec(
        select(GeneratorVersionFile).where(GeneratorVersionFile.file_sha256 == sha256)
    ).all()
    conditions = select(PromptCondition).where(PromptCondition.file_sha256 == sha256)
    models = select(RewardModel.id).where(RewardModel.file_sha256 == sha256)
    releases = select(Release.name).where(Release.manifest_sha256 == sha256)
    derived = select(DerivedFile.key).where(DerivedFile.file_sha256 == sha256)
    return [
        *(_image_in_words(image) for image in images),
        *(f"{part.path} of generator version {part.version_id[:12]}" for part in parts),
        *(f"{row.role} of prompt {row.prompt_id[:12]}" for row in session.exec(conditions)),
        *(f"reward model {model_id[:12]}" for model_id in session.exec(models)),
        *(f"manifest of release {name}" for name in session.exec(releases)),
        *(f"computed value {key[:12]}" for key in session.exec(derived).all()[:1]),
    ]


def images_of_files(session: Session, hashes: Sequence[str]) -> list[tuple[Image, dict[str, Any]]]:
    """Return one synthetic image a file with the environment that made it."""
    found: dict[str, tuple[Image, dict[str, Any]]] = {}
    for start in range(0, len(hashes), MAX_IN):
        part = hashes[start : start + MAX_IN]
        rows = session.exec(
            select(Image, Environment)
            .join(Environment, col(Environment.id) == col(Image.environment_id), isouter=True)
            .where(col(Image.file_sha256).in_(part), Image.origin == "synthetic")
        )
        for image, environment in rows:
            found[image.file_sha256] = (image, environment.details if environment else {})
    return list(found.values())


def _image_in_words(image: Image) -> str:
    if image.origin == "synthetic":
        return (
            f"synthetic image {image.id} (run {(image.run_id or '')[:12]}, item {image.run_index})"
        )
    return f"real image {image.id} ({image.source_path})"


def database_problems(session: Session) -> list[str]:
    """Return what SQLite finds wrong with its pages and keys; PostgreSQL keeps its own watch."""
    connection = session.connection()
    if connection.dialect.name != "sqlite":
        return []
    pages = connection.execute(sa.text("PRAGMA integrity_check")).scalars().all()
    keys = connection.execute(sa.text("PRAGMA foreign_key_check")).all()
    return [f"integrity: {line}" for line in pages if line != "ok"] + [
        f"table {table}, row {row}: its {parent} is not there" for table, row, parent, _ in keys
    ]
