"""What an import asks of the database: which real images it has, and new ones in bulk."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlmodel import Session, col, select

from db.models import Image, Prompt
from db.queries import insert_new

KEYS_A_QUERY = 500  # SQLite takes at most some thousands of values in one statement


def real_images_with_pixels(
    session: Session, pixels_sha256s: Sequence[str]
) -> dict[str, tuple[Image, Prompt]]:
    """Return the real images with these pixels, by the pixels' SHA-256."""
    found: dict[str, tuple[Image, Prompt]] = {}
    for start in range(0, len(pixels_sha256s), KEYS_A_QUERY):
        keys = pixels_sha256s[start : start + KEYS_A_QUERY]
        rows = session.exec(
            select(Image, Prompt)
            .join(Prompt, col(Prompt.id) == col(Image.prompt_id))
            .where(Image.origin == "real", col(Image.pixels_sha256).in_(keys))
        )
        found.update({image.pixels_sha256: (image, prompt) for image, prompt in rows})
    return found


def add_real_images(session: Session, prompts: Sequence[Prompt], images: Sequence[Image]) -> None:
    """Insert images and what they show, and commit; what another process added is left as it is."""
    insert_new(session, Prompt, [prompt.model_dump() for prompt in prompts])
    insert_new(session, Image, [image.model_dump() for image in images])
    session.commit()


def fill_in(session: Session, values: Mapping[UUID, Mapping[str, Any]]) -> None:
    """Set columns of real images that had no value, and commit."""
    for image_id, columns in values.items():
        session.connection().execute(
            sa.update(Image).where(col(Image.id) == image_id).values(**columns)
        )
    session.commit()
