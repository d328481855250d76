"""An import ended by SIGKILL, at its worst moments, and repeated."""

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from curate.doctor import examine
from curate.importing import real_images
from curate.importing.config import ImportConfig
from curate.importing.real_images import import_table
from curate.workspace import Workspace, open_workspace
from db import queries
from tests.children import ended

NUM_IMAGES = 30


def import_and_die(folder: Path, table: Path, batch: int, moment: str) -> None:
    """Import in batches of 4, and end by SIGKILL in `batch`, before or after its rows."""
    add, batches = queries.images.add_real_images, []

    def add_or_die(*arguments: Any) -> None:
        batches.append(1)
        last = len(batches) == batch
        if last and moment == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        add(*arguments)
        if last:
            os.kill(os.getpid(), signal.SIGKILL)

    queries.images.add_real_images = add_or_die  # type: ignore[assignment]
    real_images.IMAGES_A_BATCH = 4
    with open_workspace(folder) as ws:
        import_table(ws, table, ImportConfig())


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rows = ["path,Text,modality"]
    for index in range(NUM_IMAGES):
        pixels = np.random.default_rng(index).integers(0, 256, (8, 8), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{index}.png")
        rows.append(f"{index}.png,image {index},OCT")
    (tmp_path / "data.csv").write_text("\n".join(rows))
    return tmp_path / "data.csv"


@pytest.mark.slow
def test_killed_imports_repeated_end_with_the_same_rows_and_files(
    workspace: Workspace, table: Path
) -> None:
    workspace.session.close()
    for batch, moment in [(2, "after"), (3, "before")]:
        killed = ended(import_and_die, workspace.folder, table, batch, moment)
        assert killed == -signal.SIGKILL
    # of 30 images, 8 + 8 have rows; 4 more have files only
    assert queries.audit.counts(workspace.session)["real_images"] == 16
    imported = import_table(workspace, table, ImportConfig())
    assert (imported.imported, imported.already_there) == (NUM_IMAGES - 16, 16)
    images = queries.images.images(workspace.session)
    assert sorted(str(image.source_path) for image, _ in images) == sorted(
        f"{index}.png" for index in range(NUM_IMAGES)
    )
    assert sorted(workspace.store.list()) == sorted(image.file_sha256 for image, _ in images)
    assert examine(workspace).findings == []
