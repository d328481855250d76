"""What mass production asks of the database: runs, environments and images in bulk."""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col, select

from db.models import Environment, GeneratorVersion, Image, PromptCondition, Run


def get_or_add_run(session: Session, run: Run) -> Run:
    """Return the stored run of this plan, adding it first when it is new."""
    known = session.get(Run, run.id)
    if known is not None:
        return known
    session.add(run)
    session.commit()
    return run


def get_or_add_environment(session: Session, environment: Environment) -> str:
    """Return the id of the environment, adding its row when it is new."""
    if session.get(Environment, environment.id) is None:
        session.add(environment)
        session.commit()
    return environment.id


def conditions_of(session: Session, prompt_id: str) -> dict[str, str]:
    """Return a prompt's condition images as {role: SHA-256}."""
    rows = session.exec(select(PromptCondition).where(PromptCondition.prompt_id == prompt_id))
    return {row.role: row.file_sha256 for row in rows}


def add_images(session: Session, images: Sequence[Image]) -> int:
    """Insert image rows in one commit; return how many were new.

    An item that another process made meanwhile is left as it is: its key is unique.
    """
    if not images:
        return 0
    table = Image.__table__  # type: ignore[attr-defined]
    dialect = session.connection().dialect.name
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    keys = [image.item_key for image in images]
    known = sa.select(sa.func.count()).where(col(Image.item_key).in_(keys))
    before = session.connection().execute(known).scalar_one()
    statement = insert(table).on_conflict_do_nothing(index_elements=["item_key"])
    session.connection().execute(statement, [image.model_dump() for image in images])
    session.commit()
    return len(images) - int(before)


def images_of_run(session: Session, run: Run, settings_hash: str) -> Sequence[Image]:
    """Return the images of a plan in plan order, whichever run made them first."""
    order = {prompt_id: index for index, prompt_id in enumerate(run.prompt_ids)}
    rows = session.exec(
        select(Image).where(
            Image.version_id == run.version_id,
            Image.settings_hash == settings_hash,
            col(Image.prompt_id).in_(run.prompt_ids),
            col(Image.seed) >= run.first_seed,
            col(Image.seed) < run.first_seed + run.count,
        )
    ).all()
    return sorted(rows, key=lambda image: (order[image.prompt_id], image.seed or 0))


def versions(session: Session) -> Sequence[GeneratorVersion]:
    """Return all generator versions, oldest first."""
    order = (col(GeneratorVersion.created_at), col(GeneratorVersion.id))
    return session.exec(select(GeneratorVersion).order_by(*order)).all()


def num_images_of(session: Session, version_id: str) -> int:
    """Return how many images a version has made."""
    statement = select(sa.func.count()).where(Image.version_id == version_id)
    return session.exec(statement.select_from(Image)).one()
