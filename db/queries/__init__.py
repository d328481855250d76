"""What the workflow asks of the database, by noun, as small functions on a session.

`add_*`, `advance_round` and `record_event` for whole steps (a version, a round's next state, an
event) commit. Parts of a batch (files, prompts, the rubric) do not: the caller commits the batch.
Files are durable in the store before any row names them.
"""

from db.queries import (
    archive,
    atlas,
    audit,
    campaigns,
    draws,
    files,
    gallery,
    images,
    journeys,
    practices,
    prompts,
    ratings,
    releases,
    reward_models,
    rounds,
    runs,
    standings,
    versions,
)

__all__ = [
    "archive",
    "atlas",
    "audit",
    "campaigns",
    "draws",
    "files",
    "gallery",
    "images",
    "journeys",
    "practices",
    "prompts",
    "ratings",
    "releases",
    "reward_models",
    "rounds",
    "runs",
    "standings",
    "versions",
]
