"""`curate rl-step`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from curate.commands.shared import Json, Like, Loop, Workspace, say, tell
from curate.production.config import RayConfig
from curate.settings import Given, takes_settings
from curate.training.config import RLStepOptions, TrackerOptions
from generators.rl.config import RLConfig

if TYPE_CHECKING:
    from db.models import GeneratorVersion


@takes_settings
def rl_step(
    options: RLStepOptions,
    settings: Given[RLConfig],
    ray: RayConfig,
    trackers: TrackerOptions,
    from_ddpo_config: Annotated[
        Path | None,
        typer.Option(
            help="JSON of TRL's DDPOConfig fields; options given beside it take precedence."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print what it would cost.")
    ] = False,
    like: Like = None,
    loop: Loop = None,
    workspace: Workspace = Path("."),
    as_json: Json = False,
) -> None:
    """Improve a generator's U-Net with a reward model and store it as a new version.

    It prints its cost first; --dry-run only that. Stopped at any moment, the same command
    resumes after the last complete update. On several devices: `accelerate launch` (on processors
    `torchrun`) `-m cli rl-step ...`, or --ray.

    Example: curate rl-step --updates 20 --window 2
    """
    from curate.errors import CurateError

    if ray.address is not None and loop is not None:
        raise CurateError(
            "--ray with --loop: the RL step of a loop runs on this machine. Drop one of the two."
        )
    from curate.loop.by_hand import rl_step_for
    from curate.tracking import tracked_by
    from curate.training import rl
    from curate.training import rl_step as steps
    from curate.workspace import open_workspace

    with open_workspace(workspace) as ws, tracked_by(trackers.report_to):
        named = steps.version_like(ws, like)
        config = steps.rl_config(settings, from_ddpo_config, say, roots=options.roots, like=named)
        if loop is None:
            config = rl.as_begun(ws, config, options, settings)
        if dry_run:
            price = steps.price_of_rl_step(ws, config, options, say=say)
            tell(as_json, vars(price), [steps.in_words(price)])
            return
        if loop is not None:
            made = rl_step_for(ws, loop, config, options, say=say)
        elif ray.address is not None:
            made = rl.rl_step_on_ray(ws, config, options, ray, say=say)
        else:
            made = rl.run_rl_step(ws, config, options, say=say)
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
                lines.append(
                    "Stopped early: the KL budget was exceeded, by this step (lower "
                    "--learning-rate) or by the steps before it (raise --base-target)."
                )
            if told["best_update"] is not None:
                lines.append(
                    f"The result is the version after update {told['best_update'] + 1}: of "
                    f"{told['num_checks']} checked, the reward's best, {told['best_check']:.3f}"
                )
            tell(as_json, told, lines)


def _plain(version: "GeneratorVersion") -> dict[str, Any]:
    """Return the step's outcome in plain values: first and last update side by side."""
    updates = version.metrics["updates"]
    shown = ("reward_mean", "reward_sd", "spread_mean", "squared_change", "kl")
    checked = [one for one in updates if one.get("checked") is not None]
    best = max(checked, key=lambda one: float(one["checked"]), default=None)
    return {
        "version": version.id,
        "parent": version.parent_id,
        "reward_model": version.reward_model_id,
        "weights": version.weights,
        "num_updates": len(updates),
        "stopped": version.metrics["stopped"],
        "num_checks": len(checked),
        "best_update": best and best["update"],
        "best_check": best and best["checked"],
        "first": {name: updates[0][name] for name in shown},
        "last": {name: updates[-1][name] for name in shown},
    }
