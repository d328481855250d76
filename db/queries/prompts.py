"""Prompts: what images were asked to show, with their condition images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlmodel import Session, col, select

from db.bulk import in_parts, insert_new
from db.hashing import json_hash
from db.models import (
    Image,
    Prompt,
    PromptCondition,
    utc_now,
)


@dataclass(frozen=True, kw_only=True)
class NewPrompt:
    """All that a prompt says."""

    modality: str  # canonical
    text: str
    label: str | None = None
    record: Mapping[str, Any] = field(default_factory=dict)
    conditions: Mapping[str, str] = field(default_factory=dict)  # {role: SHA-256 of a known file}
    images: Mapping[str, UUID] = field(default_factory=dict)  # which conditions are images here

    @cached_property
    def prompt_id(self) -> str:
        """Return the id of the prompt that says just this."""
        return prompt_hash(
            modality=self.modality,
            text=self.text,
            label=self.label,
            record=self.record,
            conditions=self.conditions,
        )


def prompt_hash(
    *,
    modality: str,
    text: str,
    label: str | None = None,
    record: Mapping[str, Any] | None = None,
    conditions: Mapping[str, str] | None = None,
) -> str:
    """Return a prompt's id: the hash of all that it says."""
    return json_hash([modality, text, label, dict(record or {}), dict(conditions or {})])


def add_prompts(session: Session, prompts: Sequence[NewPrompt]) -> list[str]:
    """Add those that are new, with records and condition images; return all ids in their order.

    One statement a table, however many they are.
    """
    now = utc_now()
    rows = [
        {
            "id": prompt.prompt_id,
            "modality": prompt.modality,
            "text": prompt.text,
            "label": prompt.label,
            "record": dict(prompt.record),
            "created_at": now,
        }
        for prompt in prompts
    ]
    conditions = [
        {
            "prompt_id": prompt.prompt_id,
            "role": role,
            "file_sha256": sha256,
            "image_id": prompt.images.get(role),
        }
        for prompt in prompts
        for role, sha256 in prompt.conditions.items()
    ]
    insert_new(session, Prompt, rows)
    insert_new(session, PromptCondition, conditions)
    return [prompt.prompt_id for prompt in prompts]


def get_or_add_prompt(
    session: Session,
    *,
    modality: str,
    text: str,
    label: str | None = None,
    record: Mapping[str, Any] | None = None,
    conditions: Mapping[str, str] | None = None,
) -> Prompt:
    """Return the prompt that says just this. `conditions` are {role: SHA-256} of known files."""
    prompt = NewPrompt(
        modality=modality,
        text=text,
        label=label,
        record=record or {},
        conditions=conditions or {},
    )
    known = session.get(Prompt, prompt.prompt_id)
    if known is None:
        add_prompts(session, [prompt])
    return known or session.get_one(Prompt, prompt.prompt_id)


def prompts_by_id(session: Session, prompt_ids: Sequence[str]) -> dict[str, Prompt]:
    """Return prompts by id; those that are not there are left out."""
    found: dict[str, Prompt] = {}
    for some in in_parts(prompt_ids):
        rows = session.exec(select(Prompt).where(col(Prompt.id).in_(some)))
        found.update({prompt.id: prompt for prompt in rows})
    return found


def prompts_of(session: Session, images: Sequence[Image]) -> list[Prompt]:
    """Return what each image was asked to show, in their order."""
    found = prompts_by_id(session, [image.prompt_id for image in images])
    return [found[image.prompt_id] for image in images]


def conditions_of(session: Session, prompt_ids: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return {prompt: {role: SHA-256}} of those prompts that have condition images."""
    found: dict[str, dict[str, str]] = {}
    for some in in_parts(prompt_ids):
        rows = session.exec(select(PromptCondition).where(col(PromptCondition.prompt_id).in_(some)))
        for row in rows:
            found.setdefault(row.prompt_id, {})[row.role] = row.file_sha256
    return found


@dataclass(frozen=True)
class Behind:
    """A real image that is a prompt's condition image."""

    role: str
    file_sha256: str
    patient: str | None
    split: str | None  # that it was imported for


def images_behind(session: Session, prompt_ids: Sequence[str]) -> dict[str, list[Behind]]:
    """Return, for every prompt, the real images that are its conditions."""
    found: dict[str, list[Behind]] = {prompt_id: [] for prompt_id in prompt_ids}
    for some in in_parts(list(found)):
        columns: Any = (
            PromptCondition.prompt_id,
            PromptCondition.role,
            Image.file_sha256,
            Image.patient,
            Image.split,
        )
        query = (
            sa.select(*columns)
            .select_from(PromptCondition)
            .join(
                Image,
                (col(Image.id) == col(PromptCondition.image_id))
                | (col(Image.file_sha256) == col(PromptCondition.file_sha256)),
            )
            .where(col(PromptCondition.prompt_id).in_(some), col(Image.origin) == "real")
        )
        for prompt_id, *values in session.execute(query):
            found[prompt_id].append(Behind(*values))
    return found


def patients_behind(session: Session, prompt_ids: Sequence[str]) -> dict[str, set[str | None]]:
    """Return, for every prompt, the patients whose images are its conditions."""
    return {
        prompt_id: {one.patient for one in some if one.patient is not None}
        for prompt_id, some in images_behind(session, prompt_ids).items()
    }
