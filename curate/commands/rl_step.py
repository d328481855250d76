"""`curate rl-step`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from curate.commands.shared import Json, Loop, Workspace, say, tell
from curate.production.config import RayConfig
from curate.settings import Given, takes_settings
from curate.training.config import RLStepOptions
from generators.rl.config import RLConfig

if TYPE_CHECKING:
    from db.models import GeneratorVersion


@takes_settings
def rl_step(
    options: RLStepOptions,
    settings: Given[RLConfig],
    ray: RayConfig,
    from_ddpo_config: Annotated[
        Path | None,
        typer.Option(help="JSON of TRL's DDPOConfig fields; options beside it are stronger."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it would cost, and stop.")
    ] = False,
    loop: Loop = None,
    workspace: Workspace = Path("."),
    as_json: Json = False,
) -> None:
    """Improve a generator's U-Net by a reward model: a new version, its parent the start.

    It says its price first; --dry-run does nothing else. Stopped at any moment, the same command
    goes on after the last whole update. On several devices: `accelerate launch` (on processors
    `torchrun`) `-m cli rl-step ...`, or --ray.

    Example: curate rl-step --updates 20 --window 2
    """
    from curate.errors import CurateError

    if ray.address is not None and loop is not None:
        raise CurateError("--ray with --loop: a loop's step is taken here. Drop one.")
    from curate.loop.by_hand import rl_step_for
    from curate.training import rl_step as steps
    from curate.workspace import open_workspace

    config = steps.rl_config(settings, from_ddpo_config, say)
    with open_workspace(workspace) as ws:
        if dry_run:
            price = steps.price_of_rl_step(ws, config, options, say=say)
            tell(as_json, vars(price), [steps.in_words(price)])
            return
        if loop is not None:
            made = rl_step_for(ws, loop, config, options, say=say)
        elif ray.address is not None:
            made = steps.rl_step_on_ray(ws, config, options, ray, say=say)
        else:
            made = steps.run_rl_step(ws, config, options, say=say)
        if made is not None:  # another process of this step tells
            told = _plain(made)
            first, last = told["first"], told["last"]
            lines = [
                f"Generator version {made.id[:12]} from {(made.parent_id or '')[:12]}",
                f"reward {first['reward_mean']:.3f} -> {last['reward_mean']:.3f} "
                f"(sd among images {last['reward_sd']:.3f}, spread {last['spread_mean']:.3f})",
                f"{told['num_updates']} updates; predictions changed by "
                f"{last['squared_change']:.3g} (mean square)"
                + (f", KL {last['kl']:.3g} nats an image and step" if last["kl"] else ""),
            ]
            if told["stopped"]:
                lines.append("Stopped early: the KL budget was overspent. Lower --learning-rate.")
            tell(as_json, told, lines)


def _plain(version: "GeneratorVersion") -> dict[str, Any]:
    """Return the step's outcome in plain values: first and last update side by side."""
    updates = version.metrics["updates"]
    shown = ("reward_mean", "reward_sd", "spread_mean", "squared_change", "kl")
    return {
        "version": version.id,
        "parent": version.parent_id,
        "reward_model": version.reward_model_id,
        "weights": version.weights,
        "num_updates": len(updates),
        "stopped": version.metrics["stopped"],
        "first": {name: updates[0][name] for name in shown},
        "last": {name: updates[-1][name] for name in shown},
    }
