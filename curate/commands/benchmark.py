"""`curate benchmark`."""

from pathlib import Path
from typing import Annotated

from curate.commands.shared import Json, Workspace, say, tell
from curate.production.config import BenchmarkConfig, GeneratorChoice
from curate.settings import Only, takes_settings
from generators.config import SamplingSettings


@takes_settings
def benchmark(
    choice: Annotated[GeneratorChoice, Only("version")],
    settings: Annotated[SamplingSettings, Only("num_steps", "guidance", "sampler")],
    config: BenchmarkConfig,
    workspace: Workspace = Path("."),
    as_json: Json = False,
) -> None:
    """Measure a generator on this machine and name the fastest batch shape and settings.

    Example: curate benchmark --steps 20
    """
    from curate.production.benchmark import best, command, measure
    from curate.production.versions import version_to_use
    from curate.workspace import open_workspace

    with open_workspace(workspace) as ws:
        version_id = version_to_use(ws, choice.version).id
        found = measure(ws, version_id, settings, **vars(config), say=say)
    fastest = best(found)
    tell(
        as_json,
        {
            "speeds": [speed.to_json() for speed in found],
            "best": fastest.to_json(),
            "command": command(fastest.settings),
        },
        [
            f"Fastest here, {fastest.images_per_second:.2f} images/s:",
            f"  {command(fastest.settings)}",
            "An image's bytes depend on these settings: choose them before a study, and keep them.",
        ],
    )
