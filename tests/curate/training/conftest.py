"""A workspace with a tiny generator and small real pictures of two modalities."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.generators.rl.conftest import brightness, prompts, small

__all__ = ["brightness", "prompts", "small"]  # fixtures that RL's tests share

if TYPE_CHECKING:
    from curate.training.config import LessonConfig
    from curate.training.finetune import TrainingTask
    from curate.workspace import Workspace
    from db.models import GeneratorVersion
    from generators.diffusion.generator import DiffusionGenerator


def add_pictures(ws: "Workspace", modality: str, text: str, count: int, split: str | None) -> None:
    """Add `count` grey 20 x 24 pictures that differ by modality, text and number."""
    from curate.samples.pixels import pixels_hash, png_bytes
    from db import queries
    from db.hashing import json_hash
    from db.models import Image

    prompt = queries.prompts.get_or_add_prompt(
        ws.session, modality=modality, text=text, label=text or None
    )
    for number in range(count):
        seed = json_hash([modality, text, split, number])
        random = np.random.default_rng(int(seed[:8], 16))
        levels = random.integers(0, 256, (20, 24), dtype=np.uint8)
        [sha] = queries.files.add_files(ws.session, ws.store, [(png_bytes(levels), "image/png")])
        ws.session.add(
            Image(
                file_sha256=sha,
                pixels_sha256=pixels_hash(levels),
                origin="real",
                prompt_id=prompt.id,
                shape=[1, 20, 24],
                patient=f"{modality} {text} {number}",
                split=split,
            )
        )
    ws.session.commit()


@pytest.fixture
def start(
    workspace: "Workspace", tiny_generator: "DiffusionGenerator", tmp_path: Path
) -> "GeneratorVersion":
    """The version to start from."""
    from curate.production.versions import save_version

    tiny_generator.save(tmp_path / "tiny")
    return save_version(
        workspace,
        tmp_path / "tiny",
        generator_name="tiny",
        family="text-to-image",
        how_made="imported",
    )


@pytest.fixture
def pictures(workspace: "Workspace") -> "Workspace":
    """OCT and CXR, six and four to learn, two each to validate on."""
    add_pictures(workspace, "OCT", "drusen", 4, "train")
    add_pictures(workspace, "OCT", "normal", 2, "train")
    add_pictures(workspace, "CXR", "normal", 4, "train")
    add_pictures(workspace, "OCT", "drusen", 2, "val")
    add_pictures(workspace, "CXR", "normal", 2, "val")
    return workspace


def quick_task(
    start: "GeneratorVersion", lesson: "LessonConfig | None" = None, **training: object
) -> "TrainingTask":
    """Return a training of a second."""
    from curate.training.config import LessonConfig
    from curate.training.finetune import TrainingTask
    from generators.training.config import TrainingConfig

    settings: dict = {
        "num_steps": 4,
        "batch_size": 4,
        "learning_rate": 1e-3,
        "warmup_steps": 0,
        "validate_every": 2,
        "validation_noises": 2,
        "checkpoint_every": 1,
    } | training
    lesson = lesson or LessonConfig(num_samples=2, sample_steps=2)
    return TrainingTask(start, TrainingConfig(**settings), lesson)
