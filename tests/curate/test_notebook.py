"""A workspace in a notebook: read, never written, and the same numbers as the rows."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

import curate
from curate.errors import CurateError
from curate.progress import Advance
from curate.release.config import ExportConfig
from curate.release.publish import export_release
from curate.samples.pixels import array_of
from curate.workspace import Workspace, init_workspace, locked_workspace, read_workspace
from db import queries
from db.errors import StoreError
from generators.config import SamplingSettings
from generators.diffusion.generator import DiffusionGenerator
from tests.curate.generated import add_scored_images

ROOT = Path(__file__).parents[2]
SETTINGS = SamplingSettings(num_steps=2, batch_size=2, own_noise=True)


@contextmanager
def _silent(total: int, what: str) -> Iterator[Advance]:
    yield lambda number: None


@pytest.fixture
def made(workspace: Workspace, tiny_generator: DiffusionGenerator, tmp_path: Path) -> Workspace:
    """Three scored images of a saved tiny generator, and a release of two of them."""
    add_scored_images(
        workspace,
        tiny_generator,
        tmp_path / "tiny",
        SETTINGS,
        {"drusen": "amd"},
        lambda place, image: 0.9 - 0.3 * (image.seed or 0),
    )
    export_release(workspace, None, ExportConfig(), _silent)
    return workspace


def test_tables_have_the_rows_of_the_workspace(story: Any) -> None:
    ws = curate.open(story.ws.folder)
    images = ws.images(modality="optical coherence tomography", order="best")
    scores = {row.image_id: row.mean for row in queries.reward_models.scores(story.ws.session)}
    assert set(images.modality) == {"OCT"} and images.score.is_monotonic_decreasing
    assert [scores[image_id] for image_id in images.image_id] == list(images.score)
    assert len(ws.images(limit=3)) == 3 and len(ws.images(label="of nobody")) == 0
    assert list(ws.versions().id) == [version.id for version in story.versions]
    assert len(ws.scores()) == len(scores)
    assert ws.ratings().simulated.all() and (ws.ratings().campaign == story.campaign.name).all()
    assert len(ws.ratings()) == len(queries.ratings.current_ratings(story.ws.session))
    assert len(ws.rounds()) == len(queries.rounds.rounds(story.ws.session))
    assert list(ws.releases().columns)[:2] == ["id", "name"]


def test_nothing_is_written_and_no_lock_is_held(story: Any, tmp_path: Path) -> None:
    story.ws.session.close()
    before = hashlib.sha256((story.ws.folder / "curate.db").read_bytes()).hexdigest()
    with read_workspace(story.ws.folder) as ws:
        with pytest.raises((StoreError, sa.exc.OperationalError), match="readonly"):
            queries.audit.record_event(ws.session, "test", {})
    after = hashlib.sha256((story.ws.folder / "curate.db").read_bytes()).hexdigest()
    assert before == after
    init_workspace(tmp_path / "busy")
    with locked_workspace(tmp_path / "busy"):  # as `curate prune` holds it
        assert len(curate.open(tmp_path / "busy").images()) == 0


def test_tables_of_an_older_curate_are_not_brought_up_to_date(workspace: Workspace) -> None:
    workspace.session.connection().execute(sa.text("UPDATE alembic_version SET version_num='0001'"))
    workspace.session.commit()
    with pytest.raises(StoreError, match="revision 0001.*curate status"):
        curate.open(workspace.folder)


def test_an_image_its_lineage_and_itself_again(made: Workspace) -> None:
    ws = curate.open(made.folder)
    row = ws.images(order="best", limit=1).iloc[0]
    picture = ws.image(str(row.image_id))
    stored = array_of(made.store.get(row.file_sha256))
    assert np.array_equal(np.asarray(picture.pil()), stored)
    assert list(picture.lineage().version_id) == [row.version_id]
    assert picture.again().likeness == "bit-identical"
    with pytest.raises(CurateError, match="No image 'x' here"):
        ws.image("x")


def test_a_generator_makes_what_generate_makes_and_keeps_none(made: Workspace) -> None:
    ws = curate.open(made.folder)
    num = len(ws.images())
    pictures = ws.generator()("OCT: drusen", seeds=range(3), settings=SETTINGS)
    stored = ws.images().sort_values("seed").file_sha256
    for picture, sha256, seed in zip(pictures, stored, range(3), strict=True):
        # the prompt of the workspace has a label, and noise hangs on the prompt
        assert picture.size == ws.image(ws.images(seed=seed).image_id[0]).pil().size, sha256
    assert len(ws.images()) == num


def test_a_release_is_a_sequence_of_pictures_with_texts(made: Workspace) -> None:
    ws = curate.open(made.folder)
    dataset = ws.release().dataset()
    assert len(dataset) == 2 == len(dataset[:]) and set(dataset.table.origin) == {"synthetic"}
    assert dataset[0]["text"] == "drusen" and dataset[0]["label"] == "amd"
    stored = array_of(made.store.get(dataset.table.file_sha256[0]))
    assert np.array_equal(np.asarray(dataset[0]["image"]), stored)
    with pytest.raises(CurateError, match="0 releases go by 'none'"):
        ws.release("none")


@pytest.mark.parametrize("name", ["db.py", "cli.py"])
def test_a_file_that_hides_a_part_of_curate_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("x = 1\n")
    done = subprocess.run(
        [sys.executable, "-c", "import curate; curate.open('.')"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"{tmp_path / name} stands before curate's own '{name[:-3]}'" in done.stderr


def test_every_cell_of_the_notebook_runs(made: Workspace) -> None:
    cells = json.loads((ROOT / "examples" / "study.ipynb").read_text())["cells"]
    names: dict[str, Any] = {}
    for cell in cells:
        if cell["cell_type"] != "code":
            continue
        source = "".join(cell["source"]).replace('"study"', repr(str(made.folder)))
        source = source.replace("num_steps=20", "num_steps=2")
        exec(compile(source, cell["id"], "exec"), names)
    assert names["again"].likeness == "bit-identical"
    assert len(names["pictures"]) == 4 and len(names["dataset"]) == 2
