"""Fine-tune a generator."""

from pathlib import Path
from typing import Annotated

import typer

from curate.cli.shared import Json, Ray, RayWorkers, Workspace, print_json, say
from curate.training.config import LessonConfig
from generators.training.config import TrainingConfig

commands = typer.Typer()


@commands.command("train-generator")
def train_generator(
    workspace: Workspace = Path("."),
    version: Annotated[
        str | None,
        typer.Option(
            help="Generator version to start from: an id's start.",
            show_default="latest, or the embedded model",
        ),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(
            help="Start from a Stable Diffusion 1.x folder or hub name.", show_default=False
        ),
    ] = None,
    unet: Annotated[
        str | None, typer.Option(help="A separate U-Net folder for --base.", show_default=False)
    ] = None,
    modality: Annotated[
        list[str] | None,
        typer.Option(help="Learn only this one; again for more.", show_default="all"),
    ] = None,
    real: Annotated[
        bool, typer.Option("--real/--no-real", help="Learn imported images that have a text.")
    ] = LessonConfig.real,
    captioner: Annotated[
        str | None,
        typer.Option(
            help="Learn images without a text too, captioned by this transformers folder or name.",
            show_default=False,
        ),
    ] = None,
    synthetic: Annotated[
        bool, typer.Option("--synthetic", help="Learn generated images with their prompts too.")
    ] = LessonConfig.synthetic,
    least_score: Annotated[
        float | None,
        typer.Option(help="Of --synthetic, by the newest reward model.", show_default="any"),
    ] = None,
    rated: Annotated[
        bool, typer.Option("--rated", help="Learn images that people rated well too.")
    ] = LessonConfig.rated,
    least_rating: Annotated[
        float, typer.Option(help="Mean rating of --rated.")
    ] = LessonConfig.least_rating,
    balance: Annotated[
        bool, typer.Option("--balance", help="Show rare modalities and labels as often as others.")
    ] = LessonConfig.balance,
    replay: Annotated[
        str, typer.Option(help="Show the old again: none, images or prompts.")
    ] = LessonConfig.replay,
    replay_prompts: Annotated[
        Path | None,
        typer.Option(
            help="CSV: what the start version makes for --replay prompts.", show_default=False
        ),
    ] = None,
    replay_share: Annotated[
        float, typer.Option(help="Share of each step that is replayed.")
    ] = LessonConfig.replay_share,
    size: Annotated[
        int | None, typer.Option(help="Pixels of a side.", show_default="the generator's own")
    ] = None,
    fit: Annotated[
        str, typer.Option(help="crop the margins, or pad with black; aspect is kept.")
    ] = LessonConfig.fit,
    mirror: Annotated[
        bool,
        typer.Option("--mirror", help="Show half mirrored; refused where a text names a side."),
    ] = LessonConfig.mirror,
    steps: Annotated[int, typer.Option(help="Optimiser steps.")] = TrainingConfig.num_steps,
    batch_size: Annotated[
        int, typer.Option(help="Images a step, over all processes.")
    ] = TrainingConfig.batch_size,
    micro_batch: Annotated[
        int, typer.Option(help="Images a backward pass: memory only.")
    ] = TrainingConfig.micro_batch,
    learning_rate: Annotated[
        float, typer.Option(help="AdamW's; adapters take ten times more.")
    ] = TrainingConfig.learning_rate,
    lr_schedule: Annotated[
        str, typer.Option(help="constant, linear or cosine.")
    ] = TrainingConfig.lr_schedule,
    warmup: Annotated[
        int, typer.Option(help="Steps in which the rate rises.")
    ] = TrainingConfig.warmup_steps,
    weight_decay: Annotated[float, typer.Option(help="AdamW's.")] = TrainingConfig.weight_decay,
    max_grad_norm: Annotated[
        float, typer.Option(help="Longer gradients are cut.")
    ] = TrainingConfig.max_grad_norm,
    ema: Annotated[
        float, typer.Option(help="Decay of the averaged weights; 0: none.")
    ] = TrainingConfig.ema_decay,
    lora_rank: Annotated[
        int, typer.Option(help="Rank of the adapters; 0 trains the full weights.")
    ] = TrainingConfig.lora_rank,
    lora_alpha: Annotated[
        float | None, typer.Option(help="alpha / rank scales the adapters.", show_default="rank")
    ] = None,
    lora_targets: Annotated[
        str, typer.Option(help="attention, or attention+convolutions.")
    ] = TrainingConfig.lora_targets,
    train_text_encoder: Annotated[
        bool, typer.Option("--train-text-encoder", help="Let the text encoder learn too.")
    ] = TrainingConfig.train_text_encoder,
    prediction_type: Annotated[
        str | None,
        typer.Option(help="epsilon or v_prediction.", show_default="the generator's own"),
    ] = None,
    min_snr: Annotated[
        float, typer.Option(help="Gamma of the min-SNR weights; 0: all alike.")
    ] = TrainingConfig.min_snr_gamma,
    noise_offset: Annotated[
        float, typer.Option(help="Share of noise that is one number a channel.")
    ] = TrainingConfig.noise_offset,
    input_perturbation: Annotated[
        float, typer.Option(help="Noise that goes in and is not asked back.")
    ] = TrainingConfig.input_perturbation,
    drop: Annotated[
        float, typer.Option(help="Share shown without any condition, for guidance.")
    ] = TrainingConfig.drop_conditions,
    drop_text: Annotated[
        float, typer.Option(help="Share shown without text, modality kept.")
    ] = TrainingConfig.drop_text,
    drop_modality: Annotated[
        float, typer.Option(help="Share shown without modality, text kept.")
    ] = TrainingConfig.drop_modality,
    drop_images: Annotated[
        float, typer.Option(help="Share shown without condition images.")
    ] = TrainingConfig.drop_images,
    dtype: Annotated[str, typer.Option(help="float32 or bfloat16.")] = TrainingConfig.dtype,
    gradient_checkpointing: Annotated[
        bool, typer.Option("--gradient-checkpointing", help="Less memory, a third more time.")
    ] = TrainingConfig.gradient_checkpointing,
    validate_every: Annotated[
        int, typer.Option(help="Steps between validations.")
    ] = TrainingConfig.validate_every,
    validation_share: Annotated[
        float, typer.Option(help="Of patients held out, where the import names no split.")
    ] = LessonConfig.validation_share,
    samples: Annotated[
        int, typer.Option(help="Images in the grid made at each validation; 0: none.")
    ] = LessonConfig.num_samples,
    checkpoint_every: Annotated[
        int, typer.Option(help="Steps that a kill may cost.")
    ] = TrainingConfig.checkpoint_every,
    seed: Annotated[int, typer.Option(help="Of all that is drawn.")] = TrainingConfig.seed,
    ray: Ray = None,
    ray_workers: RayWorkers = None,
    as_json: Json = False,
) -> None:
    """Fine-tune a generator on the workspace's images: a new version, its parent the start.

    Stopped at any moment, the same command goes on from the last checkpoint. On several
    devices: `accelerate launch` (on processors `torchrun`) `-m cli train-generator ...`, or --ray.

    Example: curate train-generator --modality OCT --steps 2000 --lora-rank 16 --learning-rate 1e-4
    """
    from functools import partial

    from curate.commands.on_ray import version_made_on_ray
    from curate.commands.train_generator import in_lines, run_train_generator, summary
    from curate.workspace import open_workspace

    training = TrainingConfig(
        num_steps=steps,
        batch_size=batch_size,
        micro_batch=micro_batch,
        learning_rate=learning_rate,
        lr_schedule=lr_schedule,
        warmup_steps=warmup,
        weight_decay=weight_decay,
        max_grad_norm=max_grad_norm,
        ema_decay=ema,
        lora_rank=lora_rank,
        lora_alpha=lora_alpha,
        lora_targets=lora_targets,
        train_text_encoder=train_text_encoder,
        prediction_type=prediction_type,
        min_snr_gamma=min_snr,
        noise_offset=noise_offset,
        input_perturbation=input_perturbation,
        drop_conditions=drop,
        drop_text=drop_text,
        drop_modality=drop_modality,
        drop_images=drop_images,
        dtype=dtype,
        gradient_checkpointing=gradient_checkpointing,
        validate_every=validate_every,
        checkpoint_every=checkpoint_every,
        seed=seed,
    )
    lesson = LessonConfig(
        modalities=tuple(modality or ()),
        real=real,
        captioner=captioner,
        synthetic=synthetic,
        least_score=least_score,
        rated=rated,
        least_rating=least_rating,
        balance=balance,
        replay=replay,
        replay_share=replay_share,
        size=size,
        fit=fit,
        mirror=mirror,
        validation_share=validation_share,
        num_samples=samples,
    )
    make = run_train_generator
    if ray is not None:
        make = partial(version_made_on_ray, make=make, address=ray, num_workers=ray_workers)
    with open_workspace(workspace) as ws:
        made = make(
            ws,
            training,
            lesson,
            version=version,
            base=base,
            unet=unet,
            replay_prompts=replay_prompts,
            say=say,
        )
        if made is None:  # another process of this training tells
            return
        if as_json:
            print_json(summary(made))
        else:
            typer.echo("\n".join(in_lines(made)))
