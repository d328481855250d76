"""The tables. Everything has a parent: image -> version -> round -> reward model -> rating.

Rules that must hold live in the database: foreign keys, CHECKs, unique keys, and triggers (in the
migrations) that keep ratings, comparisons and the audit trail append-only. A hash is 64 lower-case
hexadecimal digits of SHA-256. Times are UTC.
"""

from db.models.base import UtcDateTime, utc_now
from db.models.generators import Generator, GeneratorVersion, GeneratorVersionFile
from db.models.images import (
    ORIGINS,
    DerivedFile,
    Environment,
    File,
    Image,
    ImageStudy,
    Journey,
    Prompt,
    PromptCondition,
    Run,
)
from db.models.ratings import (
    CRITERION_KINDS,
    PURPOSES,
    SHOWN_ROLES,
    SIDES,
    Assignment,
    Campaign,
    Comparison,
    Criterion,
    QuarantinedAnswer,
    Rater,
    Rating,
    RewardModel,
    RewardModelRating,
    Rubric,
    Score,
    SyncMark,
)
from db.models.rounds import (
    ROUND_STATES,
    Archived,
    AuditEvent,
    Release,
    ReleaseDecision,
    Round,
)

__all__ = [
    "Archived",
    "Assignment",
    "AuditEvent",
    "CRITERION_KINDS",
    "Campaign",
    "Comparison",
    "Criterion",
    "DerivedFile",
    "Environment",
    "File",
    "Generator",
    "GeneratorVersion",
    "GeneratorVersionFile",
    "Image",
    "ImageStudy",
    "Journey",
    "ORIGINS",
    "PURPOSES",
    "Prompt",
    "PromptCondition",
    "QuarantinedAnswer",
    "ROUND_STATES",
    "Rater",
    "Rating",
    "Release",
    "ReleaseDecision",
    "RewardModel",
    "RewardModelRating",
    "Round",
    "Rubric",
    "Run",
    "SHOWN_ROLES",
    "SIDES",
    "Score",
    "SyncMark",
    "UtcDateTime",
    "utc_now",
]
