"""`curate effect`."""

from pathlib import Path

from curate.clinical.config import EffectConfig
from curate.commands.shared import Json, Workspace, tell
from curate.settings import takes_settings


@takes_settings
def effect(config: EffectConfig, workspace: Workspace = Path("."), as_json: Json = False) -> None:
    """Show whether and how a field of the record changes images.

    The same masks, the same noise, one field changed: differences by region of the mask, in HU,
    with intervals, a correction for multiple testing, and random fields to compare with.

    Example: curate effect --field smoking --values never,current
    """
    from curate.clinical.effect import find_effects, lines
    from curate.progress import progress
    from curate.workspace import open_workspace

    with open_workspace(workspace) as ws, progress(config.count, "cases compared") as advance:
        study = find_effects(ws, config, advance)
    tell(as_json, study.to_json(), lines(study))
