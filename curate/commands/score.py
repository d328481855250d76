"""`curate score`."""

from pathlib import Path
from typing import Annotated

from curate.commands.shared import Json, Workspace, tell
from curate.production.config import RayConfig
from curate.scoring.config import ScoreOptions
from curate.settings import Only, takes_settings


@takes_settings
def score(
    options: ScoreOptions,
    ray: Annotated[RayConfig, Only("address")],
    workspace: Workspace = Path("."),
    as_json: Json = False,
) -> None:
    """Score images with a reward model; images it has scored are skipped.

    Example: curate score
    """
    from curate.cluster.on_ray import score as score_what_is_missing
    from curate.production.work import at_work
    from curate.workspace import open_workspace

    with open_workspace(workspace) as ws, at_work(ws.folder, "score", options):
        done = score_what_is_missing(ws, options, ray=ray.address)
    kind = " (fitted to simulated ratings)" if done.simulated else ""
    lines = [
        f"reward model {done.reward_model_id[:12]}{kind}: {done.new} images scored, "
        f"{done.already} were already"
    ]
    if done.unknown:
        lines.append(f"{done.unknown} images without a score: their modality was never rated")
    tell(as_json, done.to_json(), lines)
