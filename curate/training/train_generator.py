"""A fine-tuning as it is asked for: its start and prompts are found, its progress shown."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from curate.cluster.on_ray import version_made_on_ray
from curate.production.config import GeneratorChoice, RayConfig
from curate.production.versions import version_to_use
from curate.progress import progress
from curate.prompts.plan import sheet_rows
from curate.settings import Given
from curate.training.begin import begun_version
from curate.training.config import FamilyChoice, LessonConfig
from curate.training.finetune import TrainingTask, train_generator
from curate.workspace import Workspace
from db.models import GeneratorVersion
from generators import registry
from generators.training.config import TrainingConfig
from generators.training.processes import joined_processes

Say = Callable[[str], None]
OF_NO_FAMILY = FamilyChoice()


def training_of(family: FamilyChoice, given: Given[TrainingConfig]) -> TrainingConfig:
    """Return a training's settings: what was given, over those that suit where it starts."""
    if family.family is None:
        return given.over(TrainingConfig())
    return given.over(registry.first_training(family.family))


def run_train_generator(
    ws: Workspace,
    training: TrainingConfig,
    lesson: LessonConfig,
    *,
    choice: GeneratorChoice,
    family: FamilyChoice = OF_NO_FAMILY,
    replay_prompts: Path | None,
    say: Say,
) -> GeneratorVersion | None:
    """Train from a version of the workspace, from a checkpoint, or what a family begins with.

    Returns None in all processes but the one that tells what was made.
    """
    processes = joined_processes()
    tell = say if processes.is_first else lambda line: None
    show = progress if processes.is_first else lambda total, what: nullcontext(lambda count: None)
    with processes.first_goes_ahead():
        start = begun_version(ws, family, choice, lesson, seed=training.seed)
        prompts = sheet_rows(ws, replay_prompts, tell) if replay_prompts is not None else []
        ws.session.commit()
    task = TrainingTask(start, training, lesson, replay_prompts=prompts)
    made = train_generator(ws, task, say=tell, show=show)
    return made if processes.is_first else None


def train_generator_on_ray(
    ws: Workspace,
    training: TrainingConfig,
    lesson: LessonConfig,
    ray: RayConfig,
    *,
    choice: GeneratorChoice,
    family: FamilyChoice = OF_NO_FAMILY,
    replay_prompts: Path | None,
    say: Say,
) -> GeneratorVersion:
    """Train in several processes of a Ray cluster that train together."""
    if family.family is not None:
        begun = begun_version(ws, family, choice, lesson, seed=training.seed)
        choice = GeneratorChoice(version=begun.id)
    elif choice.base is None:  # after the result is kept, "latest" would be the result
        choice = replace(choice, version=version_to_use(ws, choice.version).id)
    make = partial(
        run_train_generator,
        training=training,
        lesson=lesson,
        choice=choice,
        replay_prompts=replay_prompts,
        say=say,
    )
    return version_made_on_ray(ws, make, ray)


def summary(version: GeneratorVersion) -> dict[str, Any]:
    """Return the training's outcome in plain values."""
    told = ("num_steps", "num_images", "kept", "images_per_second", "peak_bytes", "samples")
    return {
        "version": version.id,
        "parent": version.parent_id,
        "weights": version.weights,
        **{name: version.metrics[name] for name in told},
    }
