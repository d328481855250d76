"""An import ended by SIGKILL, at its worst moments, and repeated."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from curate.doctor import examine
from curate.importing.config import ImportConfig
from curate.importing.real_images import import_table
from curate.workspace import Workspace
from db import queries

ROOT = Path(__file__).parents[3]
NUM_IMAGES = 30
# Imports in batches of 4 and kills itself in the batch that it is told, before or after its rows.
KILLED = """
import os, signal, sys
from pathlib import Path
from curate.importing import real_images
from curate.importing.config import ImportConfig
from curate.workspace import open_workspace
from db import queries

folder, table, batch, moment = sys.argv[1:]
add, batches = queries.images.add_real_images, []

def add_or_die(*arguments):
    batches.append(1)
    last = len(batches) == int(batch)
    if last and moment == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    add(*arguments)
    if last:
        os.kill(os.getpid(), signal.SIGKILL)

queries.images.add_real_images = add_or_die
real_images.IMAGES_A_BATCH = 4
with open_workspace(folder) as ws:
    real_images.import_table(ws, Path(table), ImportConfig())
"""


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
        done = subprocess.run(
            [sys.executable, "-c", KILLED, str(workspace.folder), str(table), str(batch), moment],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
        )
        assert done.returncode == -signal.SIGKILL, done.stderr.decode()
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
