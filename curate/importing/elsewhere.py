"""`curate import --synthetic`: images that another generator made, as a version without weights."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from curate.errors import CurateError
from curate.importing.check import Candidate
from curate.importing.conditions import ConditionImages
from curate.importing.config import ImportConfig
from curate.importing.dicom import Pseudonym
from curate.importing.picture import Picture
from curate.importing.real_images import (
    IMAGES_A_BATCH,
    Imported,
    checked,
    outcome,
    prompt_of,
    read_again,
    restore,
)
from curate.importing.rows import read_rows
from curate.importing.table import remark_on
from curate.production.plan import Plan, item_key, settings_hash
from curate.progress import progress
from curate.workspace import Workspace
from db import queries
from db.engine import Session
from db.models import Image, Prompt, Run
from db.queries.prompts import NewPrompt
from generators.families.elsewhere import FAMILY, FILE, SETTINGS, described


def import_made_elsewhere(ws: Workspace, table: Path, config: ImportConfig) -> Imported:
    """Import the images that a CSV names as synthetic ones of the generator `config.generator`.

    All rows are written at once, when all files are durable: killed and repeated, the images are
    there once. Raises CurateError when the table cannot be read or no generator is named.
    """
    if not config.generator:
        raise CurateError("--synthetic needs --generator NAME: what made these images?")
    read = read_rows(table, config)
    read.rows[:] = [replace(row, patient=None, split=None) for row in read.rows]
    version_id = _version_id(config.generator)
    names: Pseudonym = str  # a generated image has no patient
    found = checked(ws, table, read, config, names, partial(_stored, version_id))
    refuse = remark_on(table.name, read.refused)
    real = queries.images.real_pixels_among(ws.session, [one.pixels_sha256 for one in found.new])
    for one in found.new:
        if one.pixels_sha256 in real:
            refuse(one.row.line, f"{one.name} has the pixels of a real image of this workspace")
        elif one.is_further:
            refuse(one.row.line, f"duplicate: {one.name} stands here with another Text already")
    new = [one for one in found.new if one.pixels_sha256 not in real and not one.is_further]
    found = replace(found, new=new, filled_in={})
    stopped = config.strict and bool(read.refused)
    restored = 0 if stopped or config.dry_run else restore(ws, found, config, names)
    if (new or found.known) and not stopped and not config.dry_run:
        if new:
            _write(ws, table, config, config.generator, new)
        about = {**queries.audit.file_named(table), "made by": config.generator}
        there = {"images": len(new) + len(found.known)}
        queries.audit.record_result(ws.session, "import", about, there)
    return outcome(found, read, restored, stopped=stopped, dry_run=config.dry_run)


def _version_id(generator: str) -> str:
    sha256 = hashlib.sha256(described(generator)).hexdigest()
    return queries.versions.tree_hash({FILE: sha256})


def _stored(
    version_id: str, session: Session, pixels: Sequence[str]
) -> Mapping[str, Sequence[tuple[Image, Prompt]]]:
    return queries.images.images_of_pixels(session, version_id, pixels)


def _write(
    ws: Workspace, table: Path, config: ImportConfig, generator: str, new: list[Candidate]
) -> None:
    conditions = ConditionImages(ws, config.folder or table.parent, config, keep=True)
    kept: list[tuple[Mapping[str, Any], NewPrompt]] = []
    again: Iterator[tuple[Candidate, Picture]] = read_again(new, config, str)
    with progress(len(new), "images kept") as advance:
        while batch := list(islice(again, IMAGES_A_BATCH)):
            files = [(picture.encoded, picture.media_type) for _, picture in batch]
            hashes = queries.files.add_files(ws.session, ws.store, files)
            ws.session.commit()
            for (candidate, picture), sha256 in zip(batch, hashes, strict=True):
                kept.append((_facts(candidate, picture, sha256), prompt_of(candidate, conditions)))
            advance(len(batch))
    [sha256] = queries.files.add_files(
        ws.session, ws.store, [(described(generator), "application/json")]
    )
    version = queries.versions.add_generator_version(
        ws.session,
        generator_name=generator,
        family=FAMILY,
        files={FILE: sha256},
        how_made=FAMILY,
    )
    queries.prompts.add_prompts(ws.session, [prompt for _, prompt in kept])
    run, rows = _run_of(ws, version.id, kept)
    queries.runs.add_made_elsewhere(ws.session, run, rows)


def _facts(candidate: Candidate, picture: Picture, sha256: str) -> Mapping[str, Any]:
    return {
        "file_sha256": sha256,
        "pixels_sha256": candidate.pixels_sha256,
        "shape": picture.shape,
        "unit": "HU" if picture.kind == "HU" else "intensity",
        "spacing_mm": picture.spacing_mm,
        "affine": picture.affine,
        "source_path": candidate.name,
        "source": candidate.row.source,
        "licence": candidate.row.licence,
    }


def _run_of(
    ws: Workspace, version_id: str, kept: Sequence[tuple[Mapping[str, Any], NewPrompt]]
) -> tuple[Run, list[dict[str, Any]]]:
    """Return a run that looks made, and its images: a seed is an image's place in its prompt.

    The places go on where an import of the same generator ended before.
    """
    prompt_ids = list(dict.fromkeys(prompt.prompt_id for _, prompt in kept))
    first = queries.images.first_free_seed(ws.session, version_id)
    places: Counter[str] = Counter()
    rows = []
    for index, (facts, prompt) in enumerate(kept):
        seed = first + places[prompt.prompt_id]
        places[prompt.prompt_id] += 1
        key = item_key(version_id, prompt.prompt_id, seed, SETTINGS)
        rows.append(
            {
                **facts,
                "origin": "synthetic",
                "prompt_id": prompt.prompt_id,
                "version_id": version_id,
                "run_index": index,
                "seed": seed,
                "settings": SETTINGS,
                "settings_hash": settings_hash(SETTINGS),
                "item_key": key,
            }
        )
    plan = Plan(version_id, prompt_ids, max(places.values()), first, SETTINGS)
    run = plan.row()
    run.num_items = len(rows)  # some prompts have fewer images than others
    return run, [row | {"run_id": run.id} for row in rows]
