"""`curate train-generator`: find what the training needs, show its progress, tell what it made."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from curate.commands.generate import rows_of, version_to_use
from curate.errors import CurateError
from curate.production.versions import import_version
from curate.progress import Advance, progress
from curate.prompts.plan import read_sheet
from curate.training.config import LessonConfig
from curate.training.finetune import Task, train_generator
from curate.training.kept_table import table_lines
from curate.workspace import Workspace
from db.models import GeneratorVersion
from db.models import Prompt as PromptRow
from generators.training.config import TrainingConfig
from generators.training.processes import joined_processes

Say = Callable[[str], None]


def run_train_generator(
    ws: Workspace,
    training: TrainingConfig,
    lesson: LessonConfig,
    *,
    version: str | None,
    base: str | None,
    unet: str | None,
    replay_prompts: Path | None,
    say: Say,
) -> GeneratorVersion | None:
    """Train from a version of the workspace, or from a checkpoint that is brought in first.

    Returns None in all processes but the one that tells what was made.
    """
    if base is not None and version is not None:
        raise CurateError("Both --version and --base: give one of them.")
    processes = joined_processes()
    tell, show = (say, progress) if processes.is_first else (_say_nothing, _show_nothing)
    with processes.first_goes_ahead():
        start = version_to_use(ws, version) if base is None else import_version(ws, base, unet=unet)
        prompts = _sheet_prompts(ws, replay_prompts, tell) if replay_prompts is not None else []
        ws.session.commit()
    task = Task(start, training, lesson, replay_prompts=prompts)
    made = train_generator(ws, task, say=tell, show=show)
    return made if processes.is_first else None


def _say_nothing(line: str) -> None:
    """Leave it to the first process."""


@contextmanager
def _show_nothing(total: int, what: str) -> Iterator[Advance]:
    yield lambda count: None


def _sheet_prompts(ws: Workspace, path: Path, say: Say) -> list[PromptRow]:
    sheet = read_sheet(ws, path)
    for remark in (*sheet.notes, *sheet.refused):
        say(str(remark))
    return rows_of(ws, sheet.prompts)


def summary(version: GeneratorVersion) -> dict[str, Any]:
    """Return the training's outcome in plain values."""
    told = ("num_steps", "num_images", "kept", "images_per_second", "peak_bytes", "samples")
    return {
        "version": version.id,
        "parent": version.parent_id,
        "weights": version.weights,
        **{name: version.metrics[name] for name in told},
    }


def in_lines(version: GeneratorVersion) -> list[str]:
    """Return the training's outcome for people."""
    metrics = version.metrics
    images = metrics["num_images"]
    return [
        f"Generator version {version.id[:12]} from {(version.parent_id or '')[:12]}",
        f"{metrics['num_steps']} steps on {images['learned']} images ({images['replayed']} "
        f"replayed, {images['validated']} held out), {metrics['images_per_second']:.1f} images/s "
        f"on {metrics['device']}, at most {metrics['peak_bytes'] / 2**30:.1f} GiB",
        *(["Validation loss:", *table_lines(metrics["kept"])] if metrics["kept"] else []),
        *([f"Samples: {metrics['samples']}"] if metrics["samples"] else []),
    ]
