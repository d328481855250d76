"""Files, prompts, plans, and the images that come of them or are imported."""

import datetime as dt
from typing import Any
from uuid import UUID, uuid4

import sqlalchemy as sa
from sqlalchemy import CheckConstraint, Index, UniqueConstraint
from sqlmodel import JSON, Column, Field, SQLModel

from db.models.base import UtcDateTime, one_of, sequence, utc_now

ORIGINS = ("real", "synthetic")


class File(SQLModel, table=True):
    """A file in the store, known by its bytes."""

    __table_args__ = (
        CheckConstraint("length(sha256) = 64", name="sha256_is_a_hash"),
        CheckConstraint("num_bytes >= 0", name="num_bytes_is_not_negative"),
    )
    sha256: str = Field(primary_key=True)
    num_bytes: int = Field(sa_type=sa.BigInteger)
    media_type: str  # "image/png", "application/x-safetensors", ...
    created_at: dt.datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)


class DerivedFile(SQLModel, table=True):
    """A stored value computed from other things, by the hash of what it was computed from.

    A cache that every machine of a project shares: latents, text embeddings, captions. Several keys
    may share one file, in which each has its own entry.
    """

    __tablename__ = "derived_file"
    __table_args__ = (CheckConstraint("length(key) = 64", name="key_is_a_hash"),)
    key: str = Field(primary_key=True)
    file_sha256: str = Field(foreign_key="file.sha256", index=True)
    created_at: dt.datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)


class Prompt(SQLModel, table=True):
    """What an image should show, or what a real one shows. Its id hashes all it says."""

    __table_args__ = (CheckConstraint("length(id) = 64", name="id_is_a_hash"),)
    id: str = Field(primary_key=True)
    modality: str = Field(index=True)
    text: str
    label: str | None = Field(default=None, index=True)
    record: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    created_at: dt.datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)


class PromptCondition(SQLModel, table=True):
    """A condition image of a prompt, by its role: any lower-case name; a family says its own.

    The usual ones: mask (its pixels are classes), prior (an earlier image), source (one to change).
    """

    __tablename__ = "prompt_condition"
    __table_args__ = (
        CheckConstraint("role <> '' AND role = lower(role)", name="role_is_lower_case"),
    )
    prompt_id: str = Field(foreign_key="prompt.id", primary_key=True)
    role: str = Field(primary_key=True)
    file_sha256: str = Field(foreign_key="file.sha256")
    # the image of this workspace that the file is: whose patient, where it lies
    image_id: UUID | None = Field(default=None, foreign_key="image.id")


class Run(SQLModel, table=True):
    """One plan of images: item i is prompt i // count with seed first_seed + i % count."""

    __table_args__ = (
        CheckConstraint("length(id) = 64", name="id_is_a_hash"),
        CheckConstraint("count >= 1", name="count_is_positive"),
        CheckConstraint("num_items >= 1", name="num_items_is_positive"),
    )
    id: str = Field(primary_key=True)  # hash of the plan
    version_id: str = Field(foreign_key="generator_version.id", index=True)
    prompt_ids: list[str] = Field(sa_column=Column(JSON, nullable=False))  # in plan order
    count: int  # images a prompt
    first_seed: int = Field(sa_type=sa.BigInteger)
    num_items: int = Field(sa_type=sa.BigInteger)
    settings: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    created_at: dt.datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    sequence: int | None = sequence("run")


class Environment(SQLModel, table=True):
    """Library versions and device that made images; its id hashes them."""

    id: str = Field(primary_key=True)
    details: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))


class Image(SQLModel, table=True):
    """A file with an origin. A synthetic one can be made again; a real one says whence it came."""

    __table_args__ = (
        CheckConstraint(one_of("origin", ORIGINS), name="origin_is_known"),
        CheckConstraint(
            "origin <> 'synthetic' OR (version_id IS NOT NULL AND run_id IS NOT NULL"
            " AND run_index IS NOT NULL AND seed IS NOT NULL AND item_key IS NOT NULL)",
            name="synthetic_can_be_made_again",
        ),
        CheckConstraint("origin <> 'real' OR version_id IS NULL", name="real_has_no_version"),
        CheckConstraint(
            "split IS NULL OR split IN ('train', 'val', 'test')", name="split_is_known"
        ),
        CheckConstraint("length(pixels_sha256) = 64", name="pixels_sha256_is_a_hash"),
        Index("ix_image_item", "version_id", "settings_hash", "prompt_id", "seed"),
        Index("ix_image_run", "run_id", "run_index"),
        Index("ix_image_newest", "created_at", "id"),
        Index("ix_image_newest_of_origin", "origin", "created_at", "id"),
        Index("ix_image_newest_of_version", "version_id", "created_at", "id"),
        Index("ix_image_seed", "seed"),
        Index("ix_image_newest_of_prompt", "prompt_id", "created_at", "id"),
    )
    id: UUID = Field(default_factory=uuid4, primary_key=True)
    file_sha256: str = Field(foreign_key="file.sha256", index=True)
    pixels_sha256: str = Field(index=True)  # of the decoded array's bytes, shape and dtype
    origin: str = Field(index=True)
    prompt_id: str = Field(foreign_key="prompt.id", index=True)
    shape: list[int] = Field(sa_column=Column(JSON, nullable=False))  # [channels, *spatial]
    spacing_mm: list[float] | None = Field(default=None, sa_column=Column(JSON(none_as_null=True)))
    unit: str = "intensity"  # or "HU"
    affine: list[list[float]] | None = Field(
        default=None, sa_column=Column(JSON(none_as_null=True))
    )  # voxel -> mm
    # synthetic only
    version_id: str | None = Field(default=None, foreign_key="generator_version.id")
    run_id: str | None = Field(default=None, foreign_key="run.id")
    run_index: int | None = Field(default=None, sa_type=sa.BigInteger)
    seed: int | None = Field(default=None, sa_type=sa.BigInteger)
    # of a synthetic image how it was sampled, of a real one from a scan its slice and window
    settings: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON(none_as_null=True)))
    settings_hash: str | None = None
    item_key: str | None = Field(default=None, unique=True)  # version, prompt, seed, settings
    environment_id: str | None = Field(default=None, foreign_key="environment.id")
    # real only
    source_path: str | None = None  # as the imported table wrote it
    patient: str | None = Field(default=None, index=True)
    split: str | None = None
    source: str | None = None
    licence: str | None = None
    created_at: dt.datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)


class Standing(SQLModel, table=True):
    """What an image is ordered by beside its scores, as it was when that last became known."""

    __table_args__ = (
        CheckConstraint("train_distance >= 0", name="train_distance_is_not_negative"),
        CheckConstraint("disagreement >= 0 AND disagreement <= 1", name="disagreement_is_in_range"),
        Index("ix_standing_nearest_training", "train_distance", "image_id"),
        Index("ix_standing_disagreement", "disagreement", "image_id"),
    )
    image_id: UUID = Field(foreign_key="image.id", primary_key=True)
    train_distance: float | None = None  # to the nearest training image, in network D's features
    disagreement: float | None = None  # of raters; `db.queries.standings` says what it is


class ImageStudy(SQLModel, table=True):
    """What a real image is of: which study of its patient, when, from which side, what was said."""

    __tablename__ = "image_study"
    image_id: UUID = Field(foreign_key="image.id", primary_key=True)
    patient: str = Field(index=True)
    study: str
    # ISO; of DICOM files shifted by days that are the patient's secret, so that intervals hold
    study_date: str | None = None
    position: float  # where among the patient's studies: what a layout orders them by
    view: str  # AP, PA, LATERAL ...; "" where the table does not say
    language: str = "en"  # of the report
    findings: str = ""  # the report's sections
    impression: str = ""
    progression: str = ""  # the user's own words on what changed
    labels: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    place: str  # FILE:LINE that it was read from


class Journey(SQLModel, table=True):
    """Two images of one patient, the prior taken strictly before the new one, and what changed."""

    __table_args__ = (
        UniqueConstraint("prior_image_id", "new_image_id"),
        CheckConstraint("prior_image_id <> new_image_id", name="journey_has_two_images"),
        CheckConstraint("days IS NULL OR days >= 1", name="prior_is_earlier"),
        CheckConstraint("split IN ('train', 'val', 'test')", name="split_is_known"),
        CheckConstraint(
            "text_source IS NULL OR text_source IN ('column', 'rules', 'api')",
            name="text_source_is_known",
        ),
        CheckConstraint("ncc IS NULL OR (ncc >= -1 AND ncc <= 1)", name="ncc_is_a_correlation"),
    )
    id: UUID = Field(default_factory=uuid4, primary_key=True)
    prior_image_id: UUID = Field(foreign_key="image.id", index=True)
    new_image_id: UUID = Field(foreign_key="image.id", index=True)
    patient: str = Field(index=True)
    days: int | None = None  # between the two; None where a layout knows their order only
    split: str  # of the patient
    # what changed, in words
    text: str | None = None
    text_source: str | None = None
    text_key: str | None = None  # hash of all that the text was made from
    text_details: dict[str, Any] = Field(
        default_factory=dict, sa_column=Column(JSON, nullable=False)
    )
    unchanged: bool | None = None  # the text says that nothing changed
    # the new image laid onto the prior
    registered_sha256: str | None = Field(default=None, foreign_key="file.sha256")
    transform: dict[str, Any] | None = Field(
        default=None, sa_column=Column(JSON(none_as_null=True))
    )
    ncc: float | None = None
    overlap: float | None = None  # share of the prior's field that the new image covers
    refused: str | None = None  # why it is not trained on; None: it is
