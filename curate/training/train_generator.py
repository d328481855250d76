"""A fine-tuning as it is asked for: its start and prompts are found, its progress shown."""

from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from curate.cluster.on_ray import version_made_on_ray
from curate.errors import CurateError
from curate.production.config import GeneratorChoice, RayConfig
from curate.production.versions import id_of_choice, version_to_use
from curate.progress import progress
from curate.prompts.plan import sheet_rows
from curate.settings import Given
from curate.training.begin import begun_version
from curate.training.config import FamilyChoice, LessonConfig
from curate.training.finetune import TrainingTask, train_generator
from curate.training.selection import select_images
from curate.workspace import Workspace
from db import queries
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


def settings_like(
    ws: Workspace, like: str, given: Given[TrainingConfig], lesson: Given[LessonConfig]
) -> tuple[TrainingConfig, LessonConfig]:
    """Return the settings that a version was trained with, those that were named in their place."""
    config = queries.versions.find_version(ws.session, like).config
    if config is None or "training" not in config:
        raise CurateError(f"--like {like}: no `curate train-generator` made that version.")
    training = given.over(TrainingConfig.from_json(config["training"]))
    return training, lesson.over(LessonConfig.from_json(config["lesson"]))


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


@dataclass(frozen=True)
class WouldTrain:
    """What a training would learn, and how often it would see each image."""

    start: str  # a version's id, or the family that it begins
    steps: int
    batch_size: int
    images: dict[str, int]  # by modality, those that are learned
    num_replayed: int
    num_validated: int
    num_to_caption: int
    notes: list[str]

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Return it for a person to read."""
        total, seen = sum(self.images.values()), self.steps * self.batch_size
        by = ", ".join(f"{name} {num:,}" for name, num in sorted(self.images.items()))
        captions = f"; {self.num_to_caption:,} would get a caption" if self.num_to_caption else ""
        return [
            *(f"Note: {note}" for note in self.notes),
            f"would train {self.start} for {self.steps:,} steps of {self.batch_size} images, each "
            f"of {total:,} about {seen / total:.1f} times ({by}){captions}",
            f"{self.num_replayed:,} images replayed, {self.num_validated:,} held out; nothing is "
            "written (--dry-run)",
        ]


def would_train(
    ws: Workspace,
    training: TrainingConfig,
    lesson: LessonConfig,
    *,
    choice: GeneratorChoice,
    family: FamilyChoice,
) -> WouldTrain:
    """Choose the images as the training would, in a workspace that takes back what is written."""
    chosen = select_images(ws, lesson)
    begins = f"a new generator of family {family.family}"
    return WouldTrain(
        start=begins if family.family else f"version {id_of_choice(ws, choice)[:12]}",
        steps=training.num_steps,
        batch_size=training.batch_size,
        images=dict(Counter(image.modality for image in chosen.learned)),
        num_replayed=len(chosen.replayed),
        num_validated=len(chosen.validated),
        num_to_caption=len(chosen.to_caption),
        notes=chosen.notes,
    )


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
