"""`curate train-generator`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from curate.commands.shared import DryRun, Json, Like, Workspace, say, tell
from curate.production.config import GeneratorChoice, RayConfig
from curate.settings import Given, takes_settings
from curate.training.config import FamilyChoice, LessonConfig, TrackerOptions
from generators.training.config import TrainingConfig


@takes_settings
def train_generator(
    choice: GeneratorChoice,
    family: FamilyChoice,
    given_lesson: Given[LessonConfig],
    given: Given[TrainingConfig],
    ray: RayConfig,
    trackers: TrackerOptions,
    replay_prompts: Annotated[
        Path | None,
        typer.Option(
            help="For --replay prompts: CSV of prompts whose images the start version makes.",
            show_default=False,
            rich_help_panel="Continual learning",
        ),
    ] = None,
    like: Like = None,
    dry_run: DryRun = False,
    workspace: Workspace = Path("."),
    as_json: Json = False,
) -> None:
    """Fine-tune a generator on the workspace's images and store it as a new version.

    With --family, begin a generator of that family and train it by the family's own defaults.

    Stopped at any moment, the same command resumes from the last checkpoint. On several
    devices: `accelerate launch` (on processors `torchrun`) `-m cli train-generator ...`, or --ray.

    Example: curate train-generator --modality OCT --steps 2000 --lora-rank 16 --learning-rate 1e-4
    """
    from curate.tracking import tracked_by
    from curate.training.train_generator import (
        run_train_generator,
        settings_like,
        summary,
        train_generator_on_ray,
        training_of,
        would_train,
    )
    from curate.workspace import dry_workspace, open_workspace

    how: dict[str, Any] = {
        "choice": choice,
        "family": family,
        "replay_prompts": replay_prompts,
        "say": say,
    }
    training, lesson = training_of(family, given), given_lesson.over(LessonConfig())
    opened = dry_workspace if dry_run else open_workspace
    with opened(workspace) as ws, tracked_by(trackers.report_to):
        if like is not None:
            training, lesson = settings_like(ws, like, given, given_lesson)
        if dry_run:
            foreseen = would_train(ws, training, lesson, choice=choice, family=family)
            tell(as_json, foreseen.to_json(), foreseen.lines())
            return
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
