"""The loop and its RL step."""

from pathlib import Path
from typing import Annotated

import typer

from curate.cli.shared import Json, Loop, Ray, RayWorkers, Workspace, print_json, say
from generators.rl.config import ALGORITHMS as RL_ALGORITHMS
from generators.rl.config import LORA_TARGETS, RLConfig

commands = typer.Typer()


@commands.command()
def loop(
    rounds: Annotated[int, typer.Option(help="Rounds in all; earlier ones are kept.")] = 1,
    prompts: Annotated[
        Path | None,
        typer.Option(
            help="CSV: modality,text and optionally label.", show_default="the embedded model's"
        ),
    ] = None,
    version: Annotated[
        str | None,
        typer.Option(
            help="Generator version to begin with.",
            show_default="latest, or the embedded model",
        ),
    ] = None,
    name: Annotated[str, typer.Option(help="Of the loop; another name is another loop.")] = "loop",
    raters: Annotated[
        str | None,
        typer.Option(help="simulated, or label-studio: people.", show_default="simulated"),
    ] = None,
    images_from: Annotated[
        str, typer.Option(help="For people: as in `curate rate push`.")
    ] = "local",
    watch: Annotated[
        bool, typer.Option("--watch", help="Stay, and go on whenever people have.")
    ] = False,
    images_per_prompt: Annotated[
        int | None, typer.Option(help="Rated a round.", show_default="16")
    ] = None,
    gate_images: Annotated[
        int | None,
        typer.Option(
            help="Of each version a prompt, rated before a round's version is kept.",
            show_default="8",
        ),
    ] = None,
    updates: Annotated[
        int | None, typer.Option(help="RL updates a round.", show_default="20")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of the whole loop.", show_default="0")] = None,
    workspace: Workspace = Path("."),
    as_json: Json = False,
) -> None:
    """Run the whole circle: generate, rate, learn, RL step, gate.

    Stopped anywhere, the same command goes on from there; options that are left away stay as the
    loop was begun. With people it does what is possible now and says what it waits for.

    Example: curate loop --rounds 3
    """
    from curate.commands.loop import (
        LoopOptions,
        loop_rounds,
        looped_json,
        looped_lines,
        watch_loop,
    )
    from curate.workspace import open_workspace

    options = LoopOptions(
        rounds=rounds,
        sheet=prompts,
        version=version,
        name=name,
        raters=raters,
        images_from=images_from,
        images_per_prompt=images_per_prompt,
        gate_images_per_prompt=gate_images,
        updates=updates,
        seed=seed,
    )
    with open_workspace(workspace) as ws:
        looped = (watch_loop if watch else loop_rounds)(ws, options, say=say)
        if as_json:
            print_json(looped_json(looped))
        else:
            typer.echo("\n".join(looped_lines(looped)))


@commands.command()
def gate(
    loop: Annotated[str, typer.Option(help="Whose round's new version.")] = "loop",
    images_from: Annotated[
        str, typer.Option(help="For people: as in `curate rate push`.")
    ] = "local",
    workspace: Workspace = Path("."),
    as_json: Json = False,
) -> None:
    """Ask raters blind whether a round's new version is better; promote or reject it.

    The last step of a round that is taken by single commands, `--loop NAME` with each of them.

    Example: curate gate --loop first
    """
    from curate.commands.by_hand import gate as pass_gate
    from curate.commands.loop import looped_json, looped_lines
    from curate.workspace import open_workspace

    with open_workspace(workspace) as ws:
        looped = pass_gate(ws, loop, images_from=images_from, say=say)
        if as_json:
            print_json(looped_json(looped))
        else:
            typer.echo(looped_lines(looped)[-1])


@commands.command()
def quickstart(
    folder: Annotated[
        Path, typer.Argument(metavar="[PATH]", help="Folder of the workspace that it makes.")
    ] = Path("quickstart"),
    rounds: Annotated[int, typer.Option(help="Rounds of the loop.")] = 2,
    seed: Annotated[int, typer.Option(help="Of everything that is drawn.")] = 0,
    as_json: Json = False,
) -> None:
    """Run all of it on the embedded model with simulated raters, in minutes.

    Example: curate quickstart
    """
    from curate.loop.config import quickstart_config
    from curate.quickstart import run_quickstart
    from curate.workspace import init_workspace, open_workspace

    if not (folder / "curate.json").exists():
        init_workspace(folder)
    with open_workspace(folder) as ws:
        result = run_quickstart(ws, quickstart_config(rounds=rounds, seed=seed), say=say)
    if as_json:
        print_json(result.to_json())
    else:
        typer.echo("\n".join(result.table()))


@commands.command("rl-step")
def rl_step(
    context: typer.Context,
    workspace: Workspace = Path("."),
    version: Annotated[
        str, typer.Option(help="Generator version to start from: an id's start.")
    ] = "latest",
    reward_model: Annotated[
        str, typer.Option(help="Reward model to follow: an id's start.")
    ] = "latest",
    prompts: Annotated[
        Path | None,
        typer.Option(
            help="CSV: modality,text and optionally label.",
            show_default="those of the rated images",
        ),
    ] = None,
    from_ratings: Annotated[
        bool, typer.Option("--from-ratings", help="nft: learn from rated images, no reward model.")
    ] = False,
    from_ddpo_config: Annotated[
        Path | None,
        typer.Option(help="JSON of TRL's DDPOConfig fields; options beside it are stronger."),
    ] = None,
    algorithm: Annotated[
        str, typer.Option(help=f"How to learn: {', '.join(RL_ALGORITHMS)}.")
    ] = RLConfig.algorithm,
    updates: Annotated[
        int, typer.Option(help="Updates; each makes, scores and learns from new images.")
    ] = RLConfig.num_updates,
    prompts_per_update: Annotated[
        int, typer.Option(help="Prompts an update.")
    ] = RLConfig.prompts_per_update,
    group_size: Annotated[
        int, typer.Option(help="Images a prompt, compared with each other.")
    ] = RLConfig.group_size,
    steps: Annotated[int, typer.Option(help="Sampling steps S.")] = RLConfig.num_steps,
    window: Annotated[
        int, typer.Option(help="window: steps K that are random and trained.")
    ] = RLConfig.window_size,
    sampler: Annotated[
        str, typer.Option(help="nft: makes the images; name the one that you generate with.")
    ] = RLConfig.sampler,
    guidance: Annotated[
        float, typer.Option(help="Classifier-free guidance; not 1 doubles the cost.")
    ] = RLConfig.guidance,
    lora_rank: Annotated[
        int, typer.Option(help="Rank of the adapters; 0 trains the full weights.")
    ] = RLConfig.lora_rank,
    lora_targets: Annotated[
        str, typer.Option(help=f"Where adapters sit: {' or '.join(LORA_TARGETS)}.")
    ] = RLConfig.lora_targets,
    learning_rate: Annotated[
        float, typer.Option(help="AdamW's; full weights need about a tenth.")
    ] = RLConfig.learning_rate,
    spread_penalty: Annotated[
        float, typer.Option(help="Reward = mean - this x spread, the posterior standard deviation.")
    ] = RLConfig.spread_penalty,
    kl_weight: Annotated[
        float, typer.Option(help="First weight of the anchor to the start.")
    ] = RLConfig.kl_weight,
    kl_target: Annotated[
        float, typer.Option(help="Mean squared change of predictions to spend; stops at 3 x.")
    ] = RLConfig.kl_target,
    rollout_dtype: Annotated[
        str, typer.Option(help="float32 or bfloat16, in rollouts.")
    ] = RLConfig.rollout_dtype,
    training_dtype: Annotated[
        str, typer.Option(help="float32 or bfloat16, in training.")
    ] = RLConfig.training_dtype,
    memory: Annotated[
        float, typer.Option(help="GiB on a CPU for backward passes; a GPU's is found by trying.")
    ] = RLConfig.memory_gib,
    compiled: Annotated[
        bool, typer.Option("--compile", help="torch.compile; minutes at first, then faster.")
    ] = RLConfig.compile,
    seed: Annotated[int, typer.Option(help="Of all that is drawn.")] = RLConfig.seed,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it would cost, and stop.")
    ] = False,
    loop: Loop = None,
    ray: Ray = None,
    ray_workers: RayWorkers = None,
    as_json: Json = False,
) -> None:
    """Improve a generator's U-Net by a reward model: a new version, its parent the start.

    It says its price first; --dry-run does nothing else. Stopped at any moment, the same command
    goes on after the last whole update. On several devices: `accelerate launch` (on processors
    `torchrun`) `-m cli rl-step ...`, or --ray.

    Example: curate rl-step --updates 20 --window 2
    """
    from functools import partial

    from curate.commands.by_hand import rl_step_for
    from curate.commands.on_ray import version_made_on_ray
    from curate.commands.rl_step import (
        given_options,
        in_lines,
        in_words,
        price_of_rl_step,
        run_rl_step,
        settings,
        summary,
    )
    from curate.errors import CurateError
    from curate.workspace import open_workspace

    options = dict(
        algorithm=algorithm,
        num_updates=updates,
        prompts_per_update=prompts_per_update,
        group_size=group_size,
        num_steps=steps,
        window_size=window,
        sampler=sampler,
        guidance=guidance,
        lora_rank=lora_rank,
        lora_targets=lora_targets,
        learning_rate=learning_rate,
        spread_penalty=spread_penalty,
        kl_weight=kl_weight,
        kl_target=kl_target,
        rollout_dtype=rollout_dtype,
        training_dtype=training_dtype,
        memory_gib=memory,
        compile=compiled,
        seed=seed,
    )
    config = settings(options, given_options(context), from_ddpo_config, say)
    take = run_rl_step if loop is None else partial(rl_step_for, loop=loop)
    if ray is not None:
        if loop is not None:
            raise CurateError("--ray with --loop: a loop's step is taken here. Drop one.")
        take = partial(version_made_on_ray, make=take, address=ray, num_workers=ray_workers)
    with open_workspace(workspace) as ws:
        if dry_run:
            price = price_of_rl_step(
                ws,
                config,
                version=version,
                reward_model=reward_model,
                sheet=prompts,
                from_people=from_ratings or config.algorithm == "dpo",
                say=say,
            )
            print_json(vars(price)) if as_json else typer.echo(in_words(price))
            return
        made = take(
            ws,
            config=config,
            version=version,
            reward_model=reward_model,
            sheet=prompts,
            from_people=from_ratings or config.algorithm == "dpo",
            say=say,
        )
        if made is None:  # another process of this step tells
            return
        if as_json:
            print_json(summary(made))
        else:
            typer.echo("\n".join(in_lines(made)))
