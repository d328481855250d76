"""`curate evaluate`."""

from pathlib import Path

from curate.commands.shared import Json, Workspace, tell
from curate.evaluation.config import EvaluationConfig
from curate.settings import takes_settings


@takes_settings
def evaluate(
    config: EvaluationConfig, workspace: Workspace = Path("."), as_json: Json = False
) -> None:
    """Measure every generator version: judged quality, likeness to real images, variety, copies.

    Example: curate evaluate
    """
    from curate.evaluation.table import evaluate as measure
    from curate.progress import progress
    from curate.workspace import open_workspace

    with open_workspace(workspace) as ws:
        found = measure(ws, config, progress)
    tell(as_json, found.to_json(), found.lines())
