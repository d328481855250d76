"""A study in which everything that is stored would tell real from synthetic and good from bad."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np
from PIL import Image as PillowImage
from PIL import PngImagePlugin

from annotation.base import RaterProfile
from curate.production.environment import environment_row
from curate.samples.pixels import array_of, pixels_hash
from curate.workspace import Workspace
from db import queries
from db.hashing import json_hash
from db.models import Campaign, Image, Prompt, Run
from tests.curate.campaigns import create_campaign

SYNTHETIC_SIDE, REAL_SIZE = 16, (20, 28)  # pixels


@dataclass(frozen=True)
class Truth:
    """What a rater must not learn of an image."""

    is_real: bool
    is_good: bool


def make_study(
    ws: Workspace,
    *,
    num_images: int,
    num_raters: int = 2,
    conditions: Mapping[str, bytes] | None = None,
) -> Campaign:
    """Show `add_images` to raters, each of them all."""
    raters = [
        RaterProfile(name=f"rater {n}", config={"email": f"r{n}@example.org"})
        for n in range(num_raters)
    ]
    return create_campaign(
        ws,
        name="study",
        images=add_images(ws, num_images, conditions=conditions),
        raters=raters,
        overlap=num_raters,
        backend="label-studio",
    )


def add_images(
    ws: Workspace, num_images: int, *, conditions: Mapping[str, bytes] | None = None
) -> list[Image]:
    """Half real, half synthetic; half good, half bad; first the real ones, the good ones first."""
    given = {
        role: queries.files.add_files(ws.session, ws.store, [(encoded, "image/png")])[0]
        for role, encoded in (conditions or {}).items()
    }
    prompt = queries.prompts.get_or_add_prompt(
        ws.session, modality="OCT", text="drusen", conditions=given
    )
    half = num_images // 2
    real = [_real(number, number < half // 2) for number in range(half)]
    synthetic = [_synthetic(number, number < half // 2) for number in range(num_images - half)]
    files = [(encoded, "image/png") for encoded, _ in real + synthetic]
    hashes = queries.files.add_files(ws.session, ws.store, files)
    run = _run(ws, prompt, len(synthetic))
    images = [
        Image(
            file_sha256=sha,
            pixels_sha256=pixels_hash(array),
            prompt_id=prompt.id,
            shape=[1 if array.ndim == 2 else 3, *array.shape[:2]],
            **(_real_row(number) if number < half else _synthetic_row(ws, run, number - half)),
        )
        for number, (sha, (_, array)) in enumerate(zip(hashes, real + synthetic, strict=True))
    ]
    ws.session.add_all(images)
    ws.session.commit()
    return images


def truths(ws: Workspace, campaign: Campaign) -> dict[UUID, Truth]:
    """Return what is to stay hidden of each assignment."""
    hidden = {}
    for view in queries.campaigns.assignments(ws.session, campaign.id):
        image = ws.session.get(Image, view.image_id)
        assert image is not None
        pixels = array_of(ws.store.get(view.file_sha256))
        spread = pixels.std() / (257 if pixels.dtype == np.uint16 else 1)
        hidden[view.id] = Truth(image.origin == "real", bool(spread < 20))
    return hidden


def _pixels(size: tuple[int, int], seed: int, good: bool) -> np.ndarray:
    random = np.random.default_rng(seed)
    spread = 2 if good else 60  # smooth files are short, noisy ones long
    return random.normal(128, spread, size).clip(0, 255).astype(np.uint8)


def _real(number: int, good: bool) -> tuple[bytes, np.ndarray]:
    """16 bits deep, with the scanner's name in the file."""
    array = _pixels(REAL_SIZE, number, good).astype(np.uint16) * 257
    text = PngImagePlugin.PngInfo()
    text.add_text("Source", "scanner 3")
    buffer = io.BytesIO()
    PillowImage.fromarray(array).save(buffer, format="PNG", pnginfo=text)
    return buffer.getvalue(), array


def _synthetic(number: int, good: bool) -> tuple[bytes, np.ndarray]:
    grey = _pixels((SYNTHETIC_SIDE, SYNTHETIC_SIDE), 10_000 + number, good)
    array = np.repeat(grey[..., None], 3, axis=2)
    buffer = io.BytesIO()
    PillowImage.fromarray(array).save(buffer, format="PNG")
    return buffer.getvalue(), array


def _run(ws: Workspace, prompt: Prompt, count: int) -> Run:
    [sha] = queries.files.add_files(ws.session, ws.store, [(b"weights", "application/json")])
    version = queries.versions.add_generator_version(
        ws.session,
        generator_name="tiny",
        family="text-to-image",
        files={"model_index.json": sha},
        how_made="imported",
    )
    plan: dict[str, Any] = {
        "version_id": version.id,
        "prompt_ids": [prompt.id],
        "count": count,
        "first_seed": 0,
    }
    row = Run(id=json_hash(plan), num_items=count, settings={}, **plan)
    return queries.runs.get_or_add_run(ws.session, row)


def _real_row(number: int) -> dict:
    return {"origin": "real", "source_path": f"real/{number}.png"}


def _synthetic_row(ws: Workspace, run: Run, number: int) -> dict:
    environment = queries.runs.get_or_add_environment(
        ws.session, environment_row({"torch": "2.15.0", "device": "cpu"})
    )
    return {
        "origin": "synthetic",
        "version_id": run.version_id,
        "run_id": run.id,
        "run_index": number,
        "seed": number,
        "settings": {},
        "settings_hash": json_hash({}),
        "item_key": json_hash([run.id, number]),
        "environment_id": environment,
    }
