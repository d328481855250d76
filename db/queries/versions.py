"""Generator versions: their files, parents and how they were made."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlmodel import Session, col, select

from db.errors import StoreError
from db.hashing import json_hash
from db.models import (
    Archived,
    Generator,
    GeneratorVersion,
    GeneratorVersionFile,
    Image,
    Round,
)
from db.queries.audit import add_result, record_result

TRAINED, CHECKPOINT = "train-generator", "checkpoint"  # at its end, and kept on its way
NOT_TO_USE = ("begun", CHECKPOINT, "elsewhere")  # never "latest"
HEX_DIGITS = frozenset("0123456789abcdef")


NUM_SHOWN = 8  # versions that an error names


@dataclass(frozen=True)
class MadeOf:
    """What a version was made of, and with which settings and results."""

    parent_id: str | None = None
    weights: str = "full"  # a whole folder; "lora": an adapter on the parent
    config: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    reward_model_id: str | None = None
    told: Mapping[str, Any] | None = None  # for the audit trail; None: no line


OF_NOTHING = MadeOf()


def tree_hash(files: Mapping[str, str]) -> str:
    """Return the hash of a folder given as {relative path: SHA-256}."""
    return json_hash(dict(files))


def add_generator_version(
    session: Session,
    *,
    generator_name: str,
    family: str,
    files: Mapping[str, str],
    how_made: str,
    made_of: MadeOf = OF_NOTHING,
) -> GeneratorVersion:
    """Return the version with these files, added if it is new. `files`: {path: SHA-256 kept}.

    Its id is the hash of the tree. An adapter means nothing without its parent, so the tree of a
    LoRA counts its parent in, under the name `.parent`. What is told of it comes into the audit
    trail in the same commit.
    """
    whole = made_of.weights == "full"
    tree = dict(files) if whole else {**files, ".parent": made_of.parent_id or ""}
    version_id = tree_hash(tree)
    about = {"version": version_id, "start": made_of.parent_id or ""}
    known = session.get(GeneratorVersion, version_id)
    if known is not None:
        if made_of.told is not None:  # the same weights, learned once more
            record_result(session, how_made, about, made_of.told)
        return known
    generator = session.get(Generator, generator_name)
    if generator is None:
        session.add(Generator(name=generator_name, family=family))
        session.flush()
    elif generator.family != family:
        raise StoreError(
            f"Generator {generator_name!r} is of family {generator.family!r}, the new version of "
            f"{family!r}. Give the new one another name."
        )
    version = GeneratorVersion(
        id=version_id,
        generator_name=generator_name,
        parent_id=made_of.parent_id,
        weights=made_of.weights,
        how_made=how_made,
        config=dict(made_of.config),
        metrics=dict(made_of.metrics),
        reward_model_id=made_of.reward_model_id,
    )
    session.add(version)
    session.flush()
    session.add_all(
        GeneratorVersionFile(version_id=version_id, path=path, file_sha256=sha)
        for path, sha in files.items()
    )
    if made_of.told is not None:
        add_result(session, how_made, about, made_of.told)
    session.commit()
    return version


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


def versions(session: Session) -> Sequence[GeneratorVersion]:
    """Return all generator versions, oldest first."""
    order = (col(GeneratorVersion.sequence), col(GeneratorVersion.id))
    return session.exec(select(GeneratorVersion).order_by(*order)).all()


def versions_with_images(session: Session) -> list[GeneratorVersion]:
    """Return the generator versions that have images, oldest first."""
    made = set(session.exec(select(Image.version_id).where(Image.origin == "synthetic").distinct()))
    return [version for version in versions(session) if version.id in made]


def latest_version(session: Session) -> GeneratorVersion | None:
    """Return the newest version that can be used.

    None that a round made and has not promoted, that was just begun, that a training left on its
    way, or that has no weights here.
    """
    waiting = select(Round.new_version_id).where(
        Round.state != "promoted", col(Round.new_version_id).is_not(None)
    )
    return session.exec(
        select(GeneratorVersion)
        .where(col(GeneratorVersion.id).not_in(waiting))
        .where(col(GeneratorVersion.how_made).not_in(NOT_TO_USE))
        .where(col(GeneratorVersion.id).not_in(_archived()))
        .order_by(col(GeneratorVersion.sequence).desc())
    ).first()


def _archived() -> Any:
    return select(Archived.id).where(Archived.kind == "version")


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
    newest = col(GeneratorVersion.sequence).desc()
    known = session.exec(select(GeneratorVersion).order_by(newest)).all()
    raise StoreError(
        f"No generator version {name!r}. Known, newest first: {_shown(known) or 'none'}. "
        "Give the first digits of an id from `curate generators list`, or `latest`."
    )


def _shown(versions: Sequence[GeneratorVersion]) -> str:
    names = [f"{version.id[:12]} ({version.generator_name})" for version in versions[:NUM_SHOWN]]
    more = len(versions) - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "")


def ancestry(session: Session, version_id: str) -> list[GeneratorVersion]:
    """Return a version and its parents, the version first."""
    line: list[GeneratorVersion] = []
    next_id: str | None = version_id
    while next_id is not None:
        version = session.get(GeneratorVersion, next_id)
        if version is None:
            raise StoreError(f"No generator version {next_id[:12]}. Run `curate doctor`.")
        line.append(version)
        next_id = version.parent_id
    return line


def find_rl_version(
    session: Session, *, parent_id: str, reward_model_id: str | None, config: Mapping[str, Any]
) -> GeneratorVersion | None:
    """Return the version that this very RL step made before, if it did."""
    rows = session.exec(
        select(GeneratorVersion).where(
            GeneratorVersion.parent_id == parent_id,
            GeneratorVersion.reward_model_id == reward_model_id,
            GeneratorVersion.how_made == "rl-step",
        )
    )
    return next((row for row in rows if row.config == dict(config)), None)


def checkpoints_of(session: Session, version: GeneratorVersion) -> list[GeneratorVersion]:
    """Return what the training that made a version kept on its way, in the order of steps."""
    rows = session.exec(
        select(GeneratorVersion).where(
            GeneratorVersion.parent_id == version.parent_id,
            GeneratorVersion.how_made == CHECKPOINT,
        )
    )
    own = [row for row in rows if {**version.config, "step": row.config["step"]} == row.config]
    return sorted(own, key=lambda row: int(row.config["step"]))


def find_trained_version(
    session: Session, *, parent_id: str, config: Mapping[str, Any]
) -> GeneratorVersion | None:
    """Return the version that this very training made before, if it did."""
    rows = session.exec(
        select(GeneratorVersion).where(
            GeneratorVersion.parent_id == parent_id, GeneratorVersion.how_made == TRAINED
        )
    )
    return next((row for row in rows if row.config == dict(config)), None)
