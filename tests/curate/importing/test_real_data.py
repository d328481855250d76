"""The whole real table, where it is: `CURATE_DATA` names the folder that holds data.csv."""

import csv
import os
from collections import Counter
from pathlib import Path

import pytest

from curate.importing.config import ImportConfig
from curate.importing.real_images import import_table
from curate.workspace import Workspace
from db import queries

DEFAULT = Path(__file__).parents[4] / "shared" / "data" / "medical"


@pytest.fixture
def table() -> Path:
    path = Path(os.environ.get("CURATE_DATA", DEFAULT)) / "data.csv"
    if not path.is_file():
        pytest.skip("no real images here: set CURATE_DATA to the folder that holds data.csv")
    return path


@pytest.mark.slow
@pytest.mark.apart
def test_every_row_of_the_real_table_goes_in_and_again_adds_nothing(
    workspace: Workspace, table: Path
) -> None:
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    imported = import_table(workspace, table, ImportConfig(strict=True))
    assert (imported.imported, imported.refused) == (len(rows), [])
    stored = queries.images.images(workspace.session)
    assert Counter(prompt.modality for _, prompt in stored) == Counter(
        row["modality"] for row in rows
    )
    assert Counter((prompt.label, image.split) for image, prompt in stored) == Counter(
        (row["label"] or None, row["split"] or None) for row in rows
    )
    again = import_table(workspace, table, ImportConfig())
    assert (again.imported, again.already_there) == (0, len(rows))
