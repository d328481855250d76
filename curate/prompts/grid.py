"""One prior at several scales of text and image, as images of the workspace and as one picture."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageDraw

from curate.production.config import GenerateOptions
from curate.production.plan import settings_hash
from curate.production.run import run_plan
from curate.prompts.generate import Made, MakeRun, generate_images
from curate.samples.formats import decode
from curate.samples.pixels import png_bytes
from curate.samples.renderings import eight_bits, rgb
from curate.workspace import Workspace
from db import queries
from db.models import Image, Run
from generators.framing import framed

TEXT_SCALES = (0.5, 1.0, 2.0)  # of --guidance, a row each
IMAGE_SCALES = (0.5, 1.0, 1.5)  # of --image-guidance, a column each
TILE = 192  # pixels


def make_grid(ws: Workspace, options: GenerateOptions, make: MakeRun = run_plan) -> Made:
    """Make what is missing of the nine images and draw them, the prior before each row.

    The scales are multiples of those asked for. The images have equal noise, rows and keys as any
    others: the one that is chosen is made already.
    """
    text, image = options.settings.guidance, options.settings.image_guidance or 1.0
    rows: list[list[tuple[str, Image | None]]] = []
    runs: list[Made] = []
    for guidance in (text * scale for scale in TEXT_SCALES):
        rows.append([])
        for image_guidance in (image * scale for scale in IMAGE_SCALES):
            settings = replace(options.settings, guidance=guidance, image_guidance=image_guidance)
            runs.append(generate_images(ws, replace(options, count=1, settings=settings), make))
            named = f"text {guidance:g}, image {image_guidance:g}"
            run = ws.session.get(Run, runs[-1].runs[0].run_id)
            found = run and queries.runs.images_of_run(ws.session, run, settings_hash(run.settings))
            rows[-1].append((named, found[0] if found else None))
    made = replace(runs[0], runs=[run for one in runs for run in one.runs])
    if options.grid is None or options.dry_run or not made.is_whole:
        return made
    options.grid.parent.mkdir(parents=True, exist_ok=True)
    options.grid.write_bytes(png_bytes(_picture(ws, rows)))
    return replace(made, notes=[*made.notes, f"The grid is {options.grid}."])


def _picture(ws: Workspace, rows: list[list[tuple[str, Image | None]]]) -> NDArray[np.uint8]:
    """Return rows of tiles, each with its scales; the prior stands first in every row."""
    [prompt_id] = {image.prompt_id for row in rows for _, image in row if image is not None}
    prior = queries.prompts.conditions_of(ws.session, [prompt_id])[prompt_id]["prior"]
    lines = [
        np.hstack(
            [
                _tile(ws, "prior", prior),
                *(_tile(ws, named, image.file_sha256) for named, image in row if image is not None),
            ]
        )
        for row in rows
    ]
    return np.vstack(lines)


def _tile(ws: Workspace, named: str, sha256: str) -> NDArray[np.uint8]:
    """Return a stored picture at the tiles' size with its name in the corner."""
    pixels = rgb(decode(ws.store.get(sha256)))
    canvas = Pillow.fromarray(eight_bits(framed(pixels, TILE, TILE, "crop"))).convert("RGB")
    draw = ImageDraw.Draw(canvas)
    draw.rectangle((0, 0, 6 * len(named) + 4, 13), fill=(0, 0, 0))
    draw.text((3, 1), named, fill=(255, 255, 0))
    return np.asarray(canvas)
