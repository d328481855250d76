"""`curate train-generator`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from curate.commands.shared import Json, Workspace, say, tell
from curate.production.config import GeneratorChoice, RayConfig
from curate.settings import Given, takes_settings
from curate.training.config import FamilyChoice, LessonConfig
from generators.training.config import TrainingConfig


@takes_settings
def train_generator(
    choice: GeneratorChoice,
    family: FamilyChoice,
    lesson: LessonConfig,
    given: Given[TrainingConfig],
    ray: RayConfig,
    replay_prompts: Annotated[
        Path | None,
        typer.Option(
            help="CSV of prompts that the start version makes images of, for --replay prompts.",
            show_default=False,
            rich_help_panel="Continual learning",
        ),
    ] = None,
    workspace: Workspace = Path("."),
    as_json: Json = False,
) -> None:
    """Fine-tune a generator on the workspace's images: a new version, its parent the start.

    With --family a generator is begun and trained: its family's own way unless told otherwise.

    Stopped at any moment, the same command goes on from the last checkpoint. On several
    devices: `accelerate launch` (on processors `torchrun`) `-m cli train-generator ...`, or --ray.

    Example: curate train-generator --modality OCT --steps 2000 --lora-rank 16 --learning-rate 1e-4
    """
    from curate.training.train_generator import (
        run_train_generator,
        summary,
        train_generator_on_ray,
        training_of,
    )
    from curate.workspace import open_workspace

    how: dict[str, Any] = {
        "choice": choice,
        "family": family,
        "replay_prompts": replay_prompts,
        "say": say,
    }
    training = training_of(family, given)
    with open_workspace(workspace) as ws:
        if ray.address is None:
            made = run_train_generator(ws, training, lesson, **how)
        else:
            made = train_generator_on_ray(ws, training, lesson, ray, **how)
        if made is not None:  # another process of this training tells
            from curate.clinical.effect import after_training
            from curate.training.kept_table import table_lines

            metrics = made.metrics
            images = metrics["num_images"]
            lines = [
                f"Generator version {made.id[:12]} from {(made.parent_id or '')[:12]}",
                f"{metrics['num_steps']} steps on {images['learned']} images "
                f"({images['replayed']} replayed, {images['validated']} held out), "
                f"{metrics['images_per_second']:.1f} images/s on {metrics['device']}, at most "
                f"{metrics['peak_bytes'] / 2**30:.1f} GiB",
            ]
            if metrics["kept"]:
                lines += ["Validation loss:", *table_lines(metrics["kept"])]
            if metrics["samples"]:
                lines.append(f"Samples: {metrics['samples']}")
            lines += [] if as_json else after_training(ws, made.id)
            tell(as_json, summary(made), lines)
