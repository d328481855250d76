"""What the workflow asks of the database, as small functions on a session.

`add_*`, `advance_round` and `record_event` for whole steps (a version, a round's next state, an
event) commit. Parts of a batch (files, prompts, the rubric) do not: the caller commits the batch.
Files are durable in the store before any row names them.
"""

import datetime as dt
import getpass
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import aliased
from sqlmodel import Session, SQLModel, col, select

from db.errors import StoreError
from db.models import (
    ROUND_STATES,
    Assignment,
    AuditEvent,
    Campaign,
    Comparison,
    Criterion,
    File,
    Generator,
    GeneratorVersion,
    GeneratorVersionFile,
    Image,
    Prompt,
    PromptCondition,
    Rater,
    Rating,
    Release,
    RewardModel,
    Round,
    Rubric,
    Run,
    Score,
    utc_now,
)
from db.store import FileStore

HEX_DIGITS = frozenset("0123456789abcdef")
MAX_IN = 10_000  # SQLite takes 32,766 values a statement, PostgreSQL 65,535
NUM_SHOWN = 8  # versions that an error names
DEFAULT_WORDING = {
    "1": "Unusable: wrong modality, or not a plausible image",
    "2": "Plausible, but with flaws or not quite what was asked",
    "3": "Shows what was asked and is fit for training",
}


@dataclass(frozen=True)
class RatingView:
    """A rating that counts, with what it is about and who gave it."""

    rating_id: UUID
    image_id: UUID
    prompt_id: str
    modality: str
    text: str
    label: str | None
    rater: str
    expert_level: int
    simulated: bool
    criterion: str
    value: int
    min_value: int
    max_value: int
    polarity: str
    purpose: str
    campaign_id: UUID
    file_sha256: str
    version_id: str | None
    origin: str
    rated_at: dt.datetime
    kind: str = "scale"  # of the criterion; or "origin" (1 looks real, 2 synthetic, 3 unsure)
    spoiled: str | None = None  # a known-bad control: how the image was spoiled before it was shown


# -- hashes ------------------------------------------------------------------------------------


def json_hash(value: object) -> str:
    """Return the SHA-256 of a value's one canonical JSON form: keys sorted, no spaces, UTF-8."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def prompts_of(session: Session, images: Sequence[Image]) -> list[Prompt]:
    """Return what each image was asked to show, in their order."""
    ids = {image.prompt_id for image in images}
    found = {
        prompt.id: prompt for prompt in session.exec(select(Prompt).where(col(Prompt.id).in_(ids)))
    }
    return [found[image.prompt_id] for image in images]


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


def tree_hash(files: Mapping[str, str]) -> str:
    """Return the hash of a folder given as {relative path: SHA-256}."""
    return json_hash(dict(files))


# -- files and prompts -------------------------------------------------------------------------


def add_files(session: Session, store: FileStore, items: Sequence[tuple[bytes, str]]) -> list[str]:
    """Keep (bytes, media type) pairs: the files first, then their rows. Return the SHA-256s."""
    hashes = store.put_many([content for content, _ in items])
    rows = {
        sha: {"sha256": sha, "num_bytes": len(content), "media_type": media_type}
        for sha, (content, media_type) in zip(hashes, items, strict=True)
    }
    insert_new(session, File, [row | {"created_at": utc_now()} for row in rows.values()])
    return hashes


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


def insert_new(session: Session, model: type[SQLModel], rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows, passing over those whose key is there already, also from another process."""
    if not rows:
        return
    connection = session.connection()
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    table: sa.Table = model.__table__  # type: ignore[attr-defined]
    connection.execute(insert(table).on_conflict_do_nothing(), [dict(row) for row in rows])


# -- generator versions ------------------------------------------------------------------------


def add_generator_version(
    session: Session,
    *,
    generator_name: str,
    family: str,
    files: Mapping[str, str],
    how_made: str,
    parent_id: str | None = None,
    weights: str = "full",
    config: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
    reward_model_id: str | None = None,
) -> GeneratorVersion:
    """Return the version with these files, added if it is new. `files`: {path: SHA-256 kept}.

    Its id is the hash of the tree. An adapter means nothing without its parent, so the tree of a
    LoRA counts its parent in, under the name `.parent`.
    """
    tree = dict(files) if weights == "full" else {**files, ".parent": parent_id or ""}
    version_id = tree_hash(tree)
    known = session.get(GeneratorVersion, version_id)
    if known is not None:
        return known
    _get_or_add_generator(session, generator_name, family)
    version = GeneratorVersion(
        id=version_id,
        generator_name=generator_name,
        parent_id=parent_id,
        weights=weights,
        how_made=how_made,
        config=dict(config or {}),
        metrics=dict(metrics or {}),
        reward_model_id=reward_model_id,
    )
    session.add(version)
    session.flush()
    session.add_all(
        GeneratorVersionFile(version_id=version_id, path=path, file_sha256=sha)
        for path, sha in files.items()
    )
    session.commit()
    return version


def _get_or_add_generator(session: Session, name: str, family: str) -> None:
    known = session.get(Generator, name)
    if known is None:
        session.add(Generator(name=name, family=family))
        session.flush()
    elif known.family != family:
        raise StoreError(
            f"Generator {name!r} is of family {known.family!r}, the new version of {family!r}. "
            "Give the new one another name."
        )


def family_of(session: Session, version: GeneratorVersion) -> str:
    """Return the family that opens a version's folder."""
    return session.get_one(Generator, version.generator_name).family


def version_files(session: Session, version_id: str) -> dict[str, str]:
    """Return a version's own files as {path: SHA-256}."""
    rows = session.exec(
        select(GeneratorVersionFile)
        .where(GeneratorVersionFile.version_id == version_id)
        .order_by(GeneratorVersionFile.path)
    )
    return {row.path: row.file_sha256 for row in rows}


def latest_version(session: Session) -> GeneratorVersion | None:
    """Return the newest version, passing over those that a round made and has not promoted."""
    waiting = select(Round.new_version_id).where(
        Round.state != "promoted", col(Round.new_version_id).is_not(None)
    )
    return session.exec(
        select(GeneratorVersion)
        .where(col(GeneratorVersion.id).not_in(waiting))
        .order_by(col(GeneratorVersion.created_at).desc())
    ).first()


def find_version(session: Session, name: str) -> GeneratorVersion:
    """Return the version whose id begins with `name`, or the newest for "latest"."""
    if name == "latest":
        found = [version for version in [latest_version(session)] if version is not None]
    elif name and HEX_DIGITS.issuperset(name):
        begins = col(GeneratorVersion.id).startswith(name)
        found = list(session.exec(select(GeneratorVersion).where(begins)))
    else:
        found = []
    if len(found) == 1:
        return found[0]
    if found:
        raise StoreError(
            f"{len(found)} generator versions begin with {name!r}: {_shown(found)}. "
            "Give more digits."
        )
    newest = col(GeneratorVersion.created_at).desc()
    known = session.exec(select(GeneratorVersion).order_by(newest)).all()
    raise StoreError(
        f"No generator version {name!r}. Known, newest first: {_shown(known) or 'none'}. "
        "Give the first digits of an id from `curate generators list`, or `latest`."
    )


def _shown(versions: Sequence[GeneratorVersion]) -> str:
    names = [f"{version.id[:12]} ({version.generator_name})" for version in versions[:NUM_SHOWN]]
    more = len(versions) - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "")


# -- images ------------------------------------------------------------------------------------


def images(
    session: Session,
    *,
    origin: str | None = None,
    version_id: str | None = None,
    run_id: str | None = None,
    modality: str | None = None,
    split: str | None = None,
    limit: int | None = None,
) -> list[tuple[Image, Prompt]]:
    """Return images with their prompts, in the order they were made; None asks for any."""
    wanted = {
        col(Image.origin): origin,
        col(Image.version_id): version_id,
        col(Image.run_id): run_id,
        col(Prompt.modality): modality,
        col(Image.split): split,
    }
    rows = session.exec(
        select(Image, Prompt)
        .join(Prompt, col(Prompt.id) == col(Image.prompt_id))
        .where(*[column == value for column, value in wanted.items() if value is not None])
        .order_by(col(Image.created_at), col(Image.run_index), col(Image.id))
        .limit(limit)
    )
    return [(image, prompt) for image, prompt in rows]


def seeds_done(
    session: Session, *, version_id: str, prompt_id: str, settings_hash: str, low: int, high: int
) -> set[int]:
    """Return which seeds from `low` to `high`, both included, have an image of this item."""
    rows = session.exec(
        select(Image.seed).where(
            Image.version_id == version_id,
            Image.settings_hash == settings_hash,
            Image.prompt_id == prompt_id,
            col(Image.seed).between(low, high),
        )
    )
    return {seed for seed in rows if seed is not None}


# -- ratings -----------------------------------------------------------------------------------


def current_ratings(
    session: Session,
    *,
    campaign_id: UUID | None = None,
    purposes: Sequence[str] | None = None,
    kinds: Sequence[str] = ("scale",),
    spoiled: bool = False,
) -> list[RatingView]:
    """Return the ratings that count: each the last revision of its answer, and not withdrawn.

    Left out unless asked for: other kinds of question than how good an image is, and verdicts on
    images that were `spoiled` before they were shown, which say nothing of the images.
    """
    statement = (
        sa.select(*_RATING_VIEW)
        .join(Assignment, col(Assignment.id) == col(Rating.assignment_id))
        .join(Criterion, col(Criterion.id) == col(Rating.criterion_id))
        .join(Rater, col(Rater.id) == col(Assignment.rater_id))
        .join(Image, col(Image.id) == col(Assignment.image_id))
        .join(Prompt, col(Prompt.id) == col(Image.prompt_id))
        .where(_counts_now(), col(Criterion.kind).in_(kinds))
        .order_by(col(Rating.rated_at), col(Rating.id))
    )
    if not spoiled:
        statement = statement.where(col(Assignment.spoiled).is_(None))
    if campaign_id is not None:
        statement = statement.where(col(Assignment.campaign_id) == campaign_id)
    if purposes is not None:
        statement = statement.where(col(Assignment.purpose).in_(purposes))
    rows = session.connection().execute(statement)
    return [RatingView(**row._mapping) for row in rows]


_RATING_VIEW: tuple[Any, ...] = (
    col(Rating.id).label("rating_id"),
    col(Image.id).label("image_id"),
    col(Prompt.id).label("prompt_id"),
    col(Prompt.modality),
    col(Prompt.text),
    col(Prompt.label),
    col(Rater.name).label("rater"),
    col(Rater.expert_level),
    col(Rater.simulated),
    col(Criterion.name).label("criterion"),
    col(Rating.value),
    col(Criterion.min_value),
    col(Criterion.max_value),
    col(Criterion.polarity),
    col(Assignment.purpose),
    col(Assignment.campaign_id),
    col(Image.file_sha256),
    col(Image.version_id),
    col(Image.origin),
    col(Rating.rated_at),
    col(Criterion.kind),
    col(Assignment.spoiled),
)


def _counts_now() -> sa.ColumnElement[bool]:
    later = aliased(Rating)
    is_changed = sa.exists().where(
        col(later.assignment_id) == col(Rating.assignment_id),
        col(later.criterion_id) == col(Rating.criterion_id),
        col(later.revision) > col(Rating.revision),
    )
    return col(Rating.value).is_not(None) & ~is_changed


def default_rubric(session: Session) -> tuple[Rubric, list[Criterion]]:
    """Return MINIM's rubric, added if it is new: one criterion, quality, 1 to 3, 3 best."""
    rubric = session.exec(select(Rubric).where(Rubric.name == "minim", Rubric.version == 1)).first()
    if rubric is None:
        rubric = Rubric(name="minim", version=1)
        criterion = Criterion(
            rubric_id=rubric.id,
            name="quality",
            question="Does the image show what was asked, and would you train on it?",
            min_value=1,
            max_value=3,
            wording=DEFAULT_WORDING,
        )
        session.add(rubric)
        session.flush()
        session.add(criterion)
        session.flush()
    criteria = session.exec(select(Criterion).where(Criterion.rubric_id == rubric.id))
    return rubric, list(criteria)


# -- rounds, counts, the audit trail -----------------------------------------------------------


def advance_round(session: Session, round: Round, state: str, **fields: Any) -> None:
    """Bring a round to its next state with what that step made, and commit both together.

    States follow each other as in ROUND_STATES; a round may be rejected from any but a last one.
    Raises StoreError when another process has moved the round on meanwhile.
    """
    if state not in next_states(round.state):
        raise ValueError(f"a round that is {round.state} cannot become {state}")
    unknown = fields.keys() - Round.model_fields.keys()
    if unknown:
        raise ValueError(f"a round has no {', '.join(sorted(unknown))}")
    moved = session.connection().execute(
        sa.update(Round)
        .where(col(Round.id) == round.id, col(Round.state) == round.state)
        .values(state=state, updated_at=utc_now(), **fields)
    )
    if moved.rowcount != 1:
        session.rollback()
        raise StoreError(
            f"Round {round.number} of loop {round.loop_name!r} was moved on by another process. "
            "Let that one finish, then run the same command again."
        )
    session.commit()
    session.refresh(round)


def next_states(state: str) -> tuple[str, ...]:
    """Return the states that may follow."""
    if state in ("promoted", "rejected"):
        return ()
    if state == "gate_rated":
        return ("promoted", "rejected")
    return (ROUND_STATES[ROUND_STATES.index(state) + 1], "rejected")


def counts(session: Session) -> dict[str, int]:
    """Return how many rows of each kind there are; at a million images still well under a second.

    Of the images only the real ones are looked for by origin: they are the few. Ratings that count:
    from all answers those are taken off that a later revision has changed, which few have.
    """
    real_images = session.exec(
        select(sa.func.count()).select_from(Image).where(Image.origin == "real")
    ).one()
    tables: dict[str, type[SQLModel]] = {
        "prompts": Prompt,
        "generator_versions": GeneratorVersion,
        "campaigns": Campaign,
        "comparisons": Comparison,
        "reward_models": RewardModel,
        "scores": Score,
        "rounds": Round,
        "releases": Release,
    }
    return {
        "real_images": real_images,
        "synthetic_images": _num_rows(session, Image) - real_images,
        "ratings": _num_current_ratings(session),
    } | {name: _num_rows(session, table) for name, table in tables.items()}


def _num_current_ratings(session: Session) -> int:
    answers = select(sa.func.count()).select_from(Rating).where(col(Rating.value).is_not(None))
    later = aliased(Rating)
    is_changed = (
        (col(later.assignment_id) == col(Rating.assignment_id))
        & (col(later.criterion_id) == col(Rating.criterion_id))
        & (col(later.revision) > col(Rating.revision))
    )
    changed = (
        select(sa.func.count(sa.distinct(col(Rating.id))))
        .select_from(later)
        .join(Rating, is_changed)
        .where(col(later.revision) > 1, col(Rating.value).is_not(None))
    )
    return session.exec(answers).one() - session.exec(changed).one()


def _num_rows(session: Session, table: type[SQLModel]) -> int:
    return session.exec(select(sa.func.count()).select_from(table)).one()


def last_run(session: Session) -> Run | None:
    """Return the run that was planned last."""
    return session.exec(select(Run).order_by(col(Run.created_at).desc())).first()


def num_items_done(session: Session, run: Run) -> int:
    """Count the items of a plan that have an image, whichever run made it."""
    statement = select(sa.func.count()).where(
        Image.version_id == run.version_id,
        Image.settings_hash == json_hash(run.settings),
        col(Image.seed).between(run.first_seed, run.first_seed + run.count - 1),
    )
    return sum(
        session.exec(
            statement.where(col(Image.prompt_id).in_(run.prompt_ids[i : i + MAX_IN]))
        ).one()
        for i in range(0, len(run.prompt_ids), MAX_IN)
    )


def record_event(session: Session, command: str, details: Mapping[str, Any]) -> None:
    """Write to the audit trail who ran which command with what result, and commit."""
    session.add(AuditEvent(actor=_actor(), command=command, details=dict(details)))
    session.commit()


def _actor() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return f"uid {os.getuid()}"
