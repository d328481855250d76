"""`curate loop`, and `curate gate`, the last step of a round that is taken by single commands."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from curate.commands.shared import DryRun, Json, Workspace, say, tell
from curate.errors import CurateError
from curate.loop.config import LoopConfig, LoopOptions
from curate.rating.config import Pictures
from curate.settings import Given, takes_settings
from curate.training.config import TrackerOptions

if TYPE_CHECKING:
    from curate.loop.rounds import Looped


@takes_settings
def loop(
    options: LoopOptions,
    settings: Given[LoopConfig],
    trackers: TrackerOptions,
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Keep running and continue as people answer."),
    ] = False,
    dry_run: DryRun = False,
    workspace: Workspace = Path("."),
    as_json: Json = False,
) -> None:
    """Run the whole loop: generate, rate, train the reward model, RL step, gate.

    Stopped anywhere, the same command resumes; options not given stay as they were when the
    loop began. With people it does what is possible now and says what it is waiting for.

    Example: curate loop --rounds 3
    """
    from curate.loop.whole import loop_rounds, watch_loop, would_loop
    from curate.production.work import at_work
    from curate.tracking import tracked_by
    from curate.workspace import dry_workspace, init_workspace, open_workspace

    if dry_run:
        if options.demo is not None:
            raise CurateError("--dry-run with --demo: docs/tutorial.md says what a demo does.")
        with dry_workspace(workspace) as ws:
            foreseen = would_loop(ws, options, settings)
        tell(as_json, foreseen.to_json(), foreseen.lines())
        return
    if options.demo is not None:
        from curate.demos.base import find_demo
        from curate.demos.circle import run_circle

        demo = find_demo(options.demo)
        if not (workspace / "curate.json").exists():
            init_workspace(workspace)
        with open_workspace(workspace) as ws, at_work(ws.folder, "loop", options.demo):
            seed = settings.over(LoopConfig()).seed
            result = run_circle(ws, demo.config(seed), demo.begin(ws, say, seed), say=say)
        tell(as_json, result.to_json(), result.table())
        return
    with (
        open_workspace(workspace) as ws,
        at_work(ws.folder, "loop", options.name),
        tracked_by(trackers.report_to),
    ):
        looped = (watch_loop if watch else loop_rounds)(ws, options, settings, say=say)
        tell(as_json, looped.to_json(), looped_lines(looped))


@takes_settings
def gate(
    pictures: Pictures,
    loop: Annotated[str, typer.Option(help="Loop whose new version is rated.")] = LoopConfig.name,
    machines: Annotated[
        list[str] | None,
        typer.Option(
            "--count-machine",
            help="Machine whose ratings of the gate's images count as a rater's; again for more.",
        ),
    ] = None,
    workspace: Workspace = Path("."),
    as_json: Json = False,
) -> None:
    """Ask raters blind whether a round's new version is better; promote or reject it.

    The last step of a round run by single commands, each with `--loop NAME`.

    Example: curate gate --loop first
    """
    from curate.loop.by_hand import gate as pass_gate
    from curate.workspace import open_workspace

    with open_workspace(workspace) as ws:
        looped = pass_gate(
            ws, loop, images_from=pictures.images_from, say=say, machines=machines or ()
        )
        tell(as_json, looped.to_json(), looped_lines(looped)[-1:])


def looped_lines(looped: "Looped") -> list[str]:
    """Return a line a round: its end and why, or what it waits for."""
    ended = looped.rounds if looped.waits_for is None else looped.rounds[:-1]
    lines = [
        f"round {row.number} of {row.loop_name}: {row.state}: {'; '.join(row.reasons)}"
        f"{' (simulated ratings)' if row.config.get('raters') == 'simulated' else ''}"
        for row in ended
    ]
    return lines if looped.waits_for is None else [*lines, looped.waits_for]
