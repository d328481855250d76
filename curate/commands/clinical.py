"""`curate clinical ...`."""

from pathlib import Path

import typer

from curate.clinical.config import DemoConfig
from curate.commands.shared import Json, Workspace, say, tell
from curate.settings import takes_settings

clinical = typer.Typer(no_args_is_help=True, help="Records and masks to volumes: a demo.")


@clinical.command("demo")
@takes_settings
def demo(config: DemoConfig, workspace: Workspace = Path("."), as_json: Json = False) -> None:
    """Make chests with planted effects, import them, train a clinical generator and test it.

    Takes minutes on a laptop. All data is procedural: no patient is in it.

    Example: curate clinical demo --workspace chests
    """
    from curate.clinical.config import EffectConfig
    from curate.clinical.demo import adherence, make_demo
    from curate.clinical.effect import find_effects, lines
    from curate.progress import progress
    from curate.workspace import open_workspace

    with open_workspace(workspace) as ws:
        made = make_demo(ws, config, say)
        if made is None:
            tell(as_json, {"version": None, "effects": []}, [])
            return
        asked = EffectConfig(version=made.id)
        with progress(asked.count, "cases compared") as advance:
            study = find_effects(ws, asked, advance)
        overlap = adherence(ws, made, config)
        plain = {**study.to_json(), "lungs_dice": overlap}
        tell(as_json, plain, [*lines(study), f"Lungs follow unseen masks: Dice {overlap:.3f}"])
