"""A data folder to make tables and images in, and one call that imports a table."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from curate.importing.config import ImportConfig
from curate.importing.real_images import Imported, import_table
from curate.workspace import Workspace


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder with four small images that differ: a.png .. d.png."""
    path = tmp_path / "data"
    path.mkdir()
    for seed, name in enumerate(["a.png", "b.png", "c.png", "d.png"]):
        pixels = np.random.default_rng(seed).integers(0, 256, (12, 10), dtype=np.uint8)
        Image.fromarray(pixels).save(path / name)
    return path


@pytest.fixture
def import_text(workspace: Workspace, folder: Path) -> Callable[..., Imported]:
    """Write a table into the data folder as data.csv and import it."""

    def write_and_import(table: str, **config: Any) -> Imported:
        (folder / "data.csv").write_text(table)
        return import_table(workspace, folder / "data.csv", ImportConfig(**config))

    return write_and_import
