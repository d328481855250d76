"""Killed at random moments, by SIGKILL, a training ends as if nothing had happened."""

import os
import random
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from curate.doctor import examine
from curate.production.versions import save_version
from curate.training.finetune import train_generator
from curate.workspace import init_workspace, open_workspace
from db import queries
from generators.diffusion.generator import DiffusionGenerator
from tests.children import worked
from tests.curate.training.conftest import add_pictures, quick_task

KILLS = int(os.environ.get("CURATE_TEST_KILLS", "4"))
NUM_STEPS = 12 * KILLS


@contextmanager
def silent(total: int, what: str) -> Iterator[Any]:
    yield lambda count: None


def train_in_child(folder: Path) -> None:
    """Train, every third step kept."""
    with open_workspace(folder) as ws:
        start = queries.versions.versions(ws.session)[0]
        task = quick_task(
            start,
            num_steps=NUM_STEPS,
            batch_size=2,
            checkpoint_every=3,
            validate_every=20,
            lora_rank=2,
        )
        train_generator(ws, task, say=lambda line: None, show=silent)


@pytest.mark.slow
def test_killed_again_and_again_a_training_ends_with_the_same_weights(
    tmp_path: Path, tiny_generator: DiffusionGenerator
) -> None:
    tiny_generator.save(tmp_path / "tiny")
    for name in ("whole", "killed"):
        init_workspace(tmp_path / name)
        with open_workspace(tmp_path / name) as ws:
            add_pictures(ws, "OCT", "drusen", 3, "train")
            add_pictures(ws, "OCT", "drusen", 1, "val")
            save_version(
                ws,
                tmp_path / "tiny",
                generator_name="tiny",
                family="text-to-image",
                how_made="imported",
            )

    exit_code, num_syncs = worked(train_in_child, tmp_path / "whole")
    assert exit_code == 0
    chance = random.Random(0)
    for _ in range(KILLS):
        kill_at = chance.randint(1, num_syncs // KILLS)
        assert worked(train_in_child, tmp_path / "killed", kill_at)[0] == -signal.SIGKILL
    assert worked(train_in_child, tmp_path / "killed")[0] == 0
    with open_workspace(tmp_path / "whole") as whole, open_workspace(tmp_path / "killed") as killed:
        ids = [version.id for version in queries.versions.versions(whole.session)]
        assert len(ids) == 2
        assert [version.id for version in queries.versions.versions(killed.session)] == ids
        assert examine(killed).findings == []
        made = queries.versions.find_version(killed.session, ids[1])
        assert made.metrics["num_steps"] == NUM_STEPS
