"""What is known of files, and of values computed once and kept in them."""

from collections.abc import Iterator, Mapping, Sequence

import sqlalchemy as sa
from sqlmodel import Session, col, select

from db.bulk import in_parts, insert_new
from db.models import (
    DerivedFile,
    File,
    GeneratorVersionFile,
    Image,
    PromptCondition,
    Release,
    RewardModel,
    utc_now,
)
from db.store import FileStore


def add_files(session: Session, store: FileStore, items: Sequence[tuple[bytes, str]]) -> list[str]:
    """Keep (bytes, media type) pairs: the files first, then their rows. Return the SHA-256s."""
    hashes = store.put_many([content for content, _ in items])
    rows = {
        sha: {"sha256": sha, "num_bytes": len(content), "media_type": media_type}
        for sha, (content, media_type) in zip(hashes, items, strict=True)
    }
    insert_new(session, File, [row | {"created_at": utc_now()} for row in rows.values()])
    return hashes


def media_types(session: Session, sha256s: Sequence[str]) -> dict[str, str]:
    """Return {file SHA-256: media type}."""
    found: dict[str, str] = {}
    for some in in_parts(sha256s):
        query = select(File.sha256, File.media_type).where(col(File.sha256).in_(some))
        found.update(dict(session.exec(query).all()))
    return found


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
        *(
            f"synthetic image {image.id} (run {(image.run_id or '')[:12]}, item {image.run_index})"
            if image.origin == "synthetic"
            else f"real image {image.id} ({image.source_path})"
            for image in images
        ),
        *(f"{part.path} of generator version {part.version_id[:12]}" for part in parts),
        *(f"{row.role} of prompt {row.prompt_id[:12]}" for row in session.exec(conditions)),
        *(f"reward model {model_id[:12]}" for model_id in session.exec(models)),
        *(f"manifest of release {name}" for name in session.exec(releases)),
        *(f"computed value {key[:12]}" for key in session.exec(derived).all()[:1]),
    ]


def derived_files(session: Session, keys: Sequence[str]) -> dict[str, str]:
    """Return {key: SHA-256 of the file with its value} of those that are kept already."""
    found: dict[str, str] = {}
    for some in in_parts(keys):
        rows = session.exec(
            select(DerivedFile.key, DerivedFile.file_sha256).where(col(DerivedFile.key).in_(some))
        )
        found.update({key: sha256 for key, sha256 in rows})
    return found


def add_derived_files(session: Session, files: Mapping[str, str]) -> None:
    """Record which file, already in the store and with a row, holds which value; and commit.

    A key that another process recorded meanwhile is left as it is: its value is the same.
    """
    now = utc_now()
    rows = [{"key": key, "file_sha256": sha, "created_at": now} for key, sha in files.items()]
    insert_new(session, DerivedFile, rows)
    session.commit()
