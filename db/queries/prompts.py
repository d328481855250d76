"""Prompts: what images were asked to show, with their condition images."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlmodel import Session, col, select

from db.bulk import in_parts, insert_new
from db.hashing import json_hash
from db.models import (
    Image,
    Prompt,
    PromptCondition,
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
    prompt_id = prompt_hash(
        modality=modality, text=text, label=label, record=record, conditions=conditions
    )
    known = session.get(Prompt, prompt_id)
    if known is not None:
        return known
    prompt = Prompt(
        id=prompt_id, modality=modality, text=text, label=label, record=dict(record or {})
    )
    insert_new(session, Prompt, [prompt.model_dump()])
    insert_new(
        session,
        PromptCondition,
        [
            {"prompt_id": prompt_id, "role": role, "file_sha256": sha}
            for role, sha in (conditions or {}).items()
        ],
    )
    return session.get_one(Prompt, prompt_id)


def add_prompts(session: Session, prompts: Sequence[Prompt]) -> None:
    """Add those of the prompts that are new, in one statement; they have no condition images."""
    insert_new(session, Prompt, [prompt.model_dump() for prompt in prompts])


def prompts_of(session: Session, images: Sequence[Image]) -> list[Prompt]:
    """Return what each image was asked to show, in their order."""
    ids = {image.prompt_id for image in images}
    found = {
        prompt.id: prompt for prompt in session.exec(select(Prompt).where(col(Prompt.id).in_(ids)))
    }
    return [found[image.prompt_id] for image in images]


def conditions_of(session: Session, prompt_id: str) -> dict[str, str]:
    """Return a prompt's condition images as {role: SHA-256}."""
    rows = session.exec(select(PromptCondition).where(PromptCondition.prompt_id == prompt_id))
    return {row.role: row.file_sha256 for row in rows}


def prompts_with_conditions(
    session: Session, prompt_ids: Sequence[str]
) -> dict[str, tuple[Prompt, dict[str, str]]]:
    """Return prompts by id, each with its condition images as {role: SHA-256}."""
    rows = session.exec(select(Prompt).where(col(Prompt.id).in_(prompt_ids)))
    found: dict[str, tuple[Prompt, dict[str, str]]] = {row.id: (row, {}) for row in rows}
    conditions = select(PromptCondition).where(col(PromptCondition.prompt_id).in_(prompt_ids))
    for condition in session.exec(conditions):
        found[condition.prompt_id][1][condition.role] = condition.file_sha256
    return found


def condition_files(session: Session, prompt_ids: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return {prompt: {role: SHA-256}} of those prompts that have condition images."""
    found: dict[str, dict[str, str]] = {}
    for some in in_parts(prompt_ids):
        rows = session.exec(select(PromptCondition).where(col(PromptCondition.prompt_id).in_(some)))
        for row in rows:
            found.setdefault(row.prompt_id, {})[row.role] = row.file_sha256
    return found


def patients_behind(session: Session, prompt_ids: Sequence[str]) -> dict[str, set[str | None]]:
    """Return, for every prompt, the patients whose images are its conditions."""
    found: dict[str, set[str | None]] = {prompt_id: set() for prompt_id in prompt_ids}
    for some in in_parts(list(found)):
        query = (
            select(PromptCondition.prompt_id, Image.patient)
            .join(Image, col(Image.file_sha256) == col(PromptCondition.file_sha256))
            .where(col(PromptCondition.prompt_id).in_(some), col(Image.patient).is_not(None))
        )
        for prompt_id, patient in session.exec(query):
            found[prompt_id].add(patient)
    return found
