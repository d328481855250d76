"""`curate benchmark`: measure here, and say which settings to generate with."""

from collections.abc import Callable
from typing import Any

from curate.commands.generate import version_to_use
from curate.production.benchmark import Speed, best, command, measure
from curate.workspace import Workspace
from generators.config import SamplingSettings


def run_benchmark(
    ws: Workspace,
    version: str | None,
    settings: SamplingSettings,
    *,
    device: str,
    largest_batch: int,
    compiling: bool,
    say: Callable[[str], None],
) -> list[Speed]:
    """Return the speeds of a version here, the best first."""
    row = version_to_use(ws, version)
    return measure(
        ws,
        row.id,
        settings,
        device=device,
        largest_batch=largest_batch,
        compiling=compiling,
        say=say,
    )


def describe(found: list[Speed]) -> dict[str, Any]:
    """Return the speeds and the settings that win, for a program."""
    chosen = best(found)
    speeds = [speed.to_json() for speed in found]
    return {"speeds": speeds, "best": chosen.to_json(), "command": command(chosen.settings)}


def lines(found: list[Speed]) -> list[str]:
    """Return what to do with the result."""
    return [
        f"Fastest here, {best(found).images_per_second:.2f} images/s:",
        f"  {command(best(found).settings)}",
        "An image's bytes depend on these settings: choose them before a study, and keep them.",
    ]
