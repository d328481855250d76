"""`curate search`."""

from pathlib import Path
from typing import Annotated

import typer

from curate.atlas.config import FOR, SearchOptions
from curate.commands.shared import Json, Workspace, say, table, tell
from curate.settings import takes_settings


@takes_settings
def search(
    wanted: Annotated[
        str, typer.Argument(metavar="IMAGE|TEXT", help="An image's file or id, or words.")
    ],
    options: SearchOptions,
    workspace: Workspace = Path("."),
    as_json: Json = False,
) -> None:
    """Find the nearest vetted images, real and synthetic: for research and teaching only.

    Shown are real images and synthetic ones that a release kept; never those of test patients or of
    a campaign that is open. An image is compared by the frozen encoder, words with the prompts'.

    Example: curate search "OCT: drusen"
    """
    from curate.atlas.likeness import search as find
    from curate.workspace import read_workspace

    with read_workspace(workspace) as ws:
        found = find(ws, wanted, options)
    say(FOR)
    rows = [
        (
            one.image_id,
            one.origin,
            one.modality,
            one.finding or one.text[:40],
            f"{one.distance:.3f}",
            "" if one.score is None else f"{one.score:.2f}{' (simulated)' * one.simulated_score}",
            f"{one.num_good} of {one.num_looks}{' (simulated)' * one.simulated_ratings}",
            one.release or one.source or "",
        )
        for one in found
    ]
    header = ("image", "origin", "modality", "finding", "distance", "score", "good", "from")
    none = ["No vetted image fits. Synthetic images are vetted by `curate export`."]
    tell(as_json, [one.to_json() for one in found], table(header, rows) if rows else none)
