"""Reward models: fitted to ratings, asked about images."""

from pathlib import Path
from typing import Annotated, Any

import typer

from curate.cli.shared import Json, Loop, Ray, Workspace, print_json
from rewards.config import RewardConfig

commands = typer.Typer()


@commands.command()
def train_reward(
    as_judge: Annotated[
        bool,
        typer.Option("--as-judge", help="A model that only measures: other raters and backbone."),
    ] = False,
    campaign: Annotated[
        list[str] | None, typer.Option(help="Only these; again for more.", show_default=False)
    ] = None,
    rater: Annotated[
        list[str] | None, typer.Option(help="Only theirs; again for more.", show_default=False)
    ] = None,
    criterion: Annotated[
        list[str] | None,
        typer.Option(help="Only this question; again for more.", show_default=False),
    ] = None,
    backbone: Annotated[
        str,
        typer.Option(
            help="embedded, features, torchvision/NAME, a transformers folder or OWNER/NAME."
        ),
    ] = RewardConfig.backbone,
    min_ratings: Annotated[int, typer.Option(help="Refuse fewer.")] = RewardConfig.min_ratings,
    seed: Annotated[int, typer.Option(help="Of the fit.")] = RewardConfig.seed,
    loop: Loop = None,
    workspace: Workspace = Path("."),
    as_json: Json = False,
) -> None:
    """Fit a reward model to the ratings; print its quality on held-out prompts.

    Example: curate train-reward
    """
    from curate.commands.rewards import describe_reward_model, reward_model_lines
    from curate.errors import CurateError
    from curate.scoring.fit import train_reward as fit
    from curate.workspace import open_workspace

    config = RewardConfig(backbone=backbone, min_ratings=min_ratings, seed=seed)
    narrowed: dict[str, Any] = {
        "campaigns": campaign or (),
        "raters": rater or (),
        "criteria": criterion or (),
    }
    if loop and as_judge:
        raise CurateError("--as-judge with --loop: a judge has no part in a loop. Drop one.")
    with open_workspace(workspace) as ws:
        if loop is None:
            row = fit(ws, config, role="judge" if as_judge else "reward", **narrowed)
        else:
            from curate.commands.by_hand import train_for

            row = train_for(ws, loop, config, **narrowed)
    if as_json:
        print_json(describe_reward_model(row))
    else:
        typer.echo("\n".join(reward_model_lines(row)))


@commands.command()
def score(
    reward_model: Annotated[str, typer.Option(help="An id's start, or latest.")] = "latest",
    version: Annotated[
        str | None, typer.Option(help="Only this generator version's.", show_default=False)
    ] = None,
    origin: Annotated[
        str | None, typer.Option(help="Only real, or only synthetic.", show_default=False)
    ] = None,
    ray: Ray = None,
    workspace: Workspace = Path("."),
    as_json: Json = False,
) -> None:
    """Score images with a reward model; what has a score of it is not scored again.

    Example: curate score
    """
    from curate.commands import rewards as commands
    from curate.workspace import open_workspace

    with open_workspace(workspace) as ws:
        which = commands.which_images(ws, version, origin)
        done = commands.score(ws, reward_model, which, ray=ray)
    if as_json:
        print_json(done.to_json())
    else:
        typer.echo("\n".join(commands.score_lines(done)))
