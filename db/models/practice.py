"""What raters practise on before a campaign: images whose answers are known, and what they said.

None of it is a rating: nothing that learns, decides or measures reads these tables.
"""

import datetime as dt
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import CheckConstraint, UniqueConstraint
from sqlmodel import JSON, Column, Field, SQLModel

from db.models.base import UtcDateTime, sequence, utc_now

FROM_HERE = "local"  # pictures that the managed Label Studio serves from this machine


class Practice(SQLModel, table=True):
    """Images of known answers for one version of a rubric, and the bar that a rater has to meet."""

    __table_args__ = (
        CheckConstraint("bar > 0 AND bar <= 1", name="bar_is_a_share"),
        CheckConstraint("pass_size >= 1", name="pass_size_is_positive"),
    )
    id: UUID = Field(default_factory=uuid4, primary_key=True)
    name: str = Field(unique=True)
    rubric_id: UUID = Field(foreign_key="rubric.id")
    seed: int
    bar: float  # share of a pass's images that must be right
    pass_size: int  # images of one pass
    config: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    created_at: dt.datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    sequence: int | None = sequence("practice")


class PracticeItem(SQLModel, table=True):
    """One image of a practice, with what is known of it."""

    __tablename__ = "practice_item"
    __table_args__ = (
        UniqueConstraint("practice_id", "position"),
        CheckConstraint("position >= 0", name="position_is_not_negative"),
    )
    id: UUID = Field(default_factory=uuid4, primary_key=True)
    practice_id: UUID = Field(foreign_key="practice.id")
    position: int  # 0-based; passes take the items in this order, round and round
    image_id: UUID = Field(foreign_key="image.id", index=True)
    spoiled: str | None = None  # how it is spoiled before it is shown
    # {criterion: [least, most] right value}; a criterion that is left out is not judged
    known: dict[str, list[int]] = Field(sa_column=Column(JSON, nullable=False))
    why: str = ""  # what the rater is told afterwards


class PracticeAnswer(SQLModel, table=True):
    """What a rater said of one practice image. Append-only: what was seen is not answered anew."""

    __tablename__ = "practice_answer"
    __table_args__ = (
        UniqueConstraint("practice_id", "rater_id", "number"),
        CheckConstraint("number >= 0", name="number_is_not_negative"),
    )
    id: UUID = Field(default_factory=uuid4, primary_key=True)
    practice_id: UUID = Field(foreign_key="practice.id")
    rater_id: UUID = Field(foreign_key="rater.id", index=True)
    number: int  # 0-based: this rater's first, second ... answer in the practice
    item_id: UUID = Field(foreign_key="practice_item.id", index=True)
    verdicts: dict[str, int] = Field(sa_column=Column(JSON, nullable=False))  # by criterion
    answered_at: dt.datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)


class CampaignPractice(SQLModel, table=True):
    """The practice that a rater has to pass before a campaign's images are shown."""

    __tablename__ = "campaign_practice"
    campaign_id: UUID = Field(foreign_key="campaign.id", primary_key=True)
    practice_id: UUID = Field(foreign_key="practice.id", index=True)
    images_from: str = FROM_HERE  # where the campaign's pictures come from, once it may be sent
