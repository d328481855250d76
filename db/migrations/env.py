"""Alembic's entry: runs the migrations on the connection that `db.engine` hands over."""

from alembic import context
from sqlmodel import SQLModel

import db.models  # noqa: F401  (its tables register themselves on SQLModel.metadata)

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=SQLModel.metadata,
    render_as_batch=True,
)
context.run_migrations()
