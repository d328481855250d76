"""Images that another generator made: everything but being made again, or learned from."""

import json
import os
import signal
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli import app
from curate.doctor import examine, repair
from curate.errors import CurateError
from curate.importing.config import ImportConfig
from curate.importing.elsewhere import import_made_elsewhere
from curate.importing.real_images import Imported, import_table
from curate.samples.marks import marked
from curate.workspace import Workspace, open_workspace
from db import queries
from db.models import RewardModel, Score
from tests.children import ended
from tests.curate.evaluation.pictured import write_set

ASKED = {"drusen": ("disc", 4), "normal": ("none", 3)}


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Seven pictures of two labels, marked as synthetic as their maker should."""
    path = write_set(tmp_path / "made", ASKED, seed=3)
    for file in path.parent.glob("*.png"):
        file.write_bytes(marked(file.read_bytes()))
    return path


def imported(ws: Workspace, table: Path, name: str = "GigaGAN", dry_run: bool = False) -> Imported:
    config = ImportConfig(synthetic=True, generator=name, dry_run=dry_run)
    return import_made_elsewhere(ws, table, config)


def run(ws: Workspace, *arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "--workspace", str(ws.folder)])


def test_they_are_synthetic_images_of_a_version_without_weights(
    workspace: Workspace, table: Path
) -> None:
    assert imported(workspace, table, dry_run=True).imported == 7
    assert queries.versions.versions(workspace.session) == []
    assert imported(workspace, table).imported == 7
    found = queries.images.images(workspace.session, origin="synthetic")
    assert [image.seed for image, _ in found] == [0, 1, 2, 3, 0, 1, 2]
    assert {prompt.label for _, prompt in found} == {"drusen", "normal"}
    assert all(image.patient is None and image.split is None for image, _ in found)
    [version] = queries.versions.versions(workspace.session)
    assert (version.generator_name, version.how_made) == ("GigaGAN", "elsewhere")
    assert queries.versions.latest_version(workspace.session) is None
    again = imported(workspace, table)
    assert (again.imported, again.already_there) == (0, 7)
    more = imported(workspace, write_set(table.parent / "more", {"drusen": ("disc", 2)}, seed=4))
    assert more.imported == 2
    assert max(i.seed or 0 for i, _ in queries.images.images(workspace.session)) == 5
    assert imported(workspace, table, "StyleGAN-T").imported == 7  # another maker, another version
    assert len(queries.versions.versions(workspace.session)) == 2
    last = json.loads(run(workspace, "status", "--json").stdout)["last_run"]
    assert (last["done"], last["planned"]) == (7, 7)  # nothing to resume
    assert examine(workspace).is_whole


def test_real_and_synthetic_are_never_mixed_up(workspace: Workspace, table: Path) -> None:
    with pytest.raises(CurateError, match="--synthetic needs --generator NAME"):
        import_made_elsewhere(workspace, table, ImportConfig(synthetic=True))
    with pytest.raises(CurateError, match="give --synthetic, too"):
        import_table(workspace, table, ImportConfig(generator="GigaGAN"))
    refused = import_table(workspace, table, ImportConfig())
    assert refused.imported == 0 and "--synthetic --generator NAME" in str(refused.refused[0])
    real = write_set(table.parent / "real", {"drusen": ("disc", 2)}, seed=5)
    assert import_table(workspace, real, ImportConfig()).imported == 2
    claimed = imported(workspace, real)
    assert claimed.imported == 0
    assert "has the pixels of a real image" in str(claimed.refused[0])
    assert queries.versions.versions(workspace.session) == []


def test_a_lost_file_comes_back_with_the_table(workspace: Workspace, table: Path) -> None:
    imported(workspace, table)
    [(image, _), *_] = queries.images.images(workspace.session)
    workspace.store.delete(image.file_sha256)
    [finding] = repair(workspace, examine(workspace)).findings
    assert "the same `curate import --synthetic` restores it" in finding.detail
    assert imported(workspace, table).restored == 1
    assert examine(workspace).is_whole


@pytest.mark.slow
def test_they_leave_in_a_release_and_are_neither_made_again_nor_trained(
    workspace: Workspace, table: Path, tmp_path: Path
) -> None:
    imported(workspace, table)
    [sha] = queries.files.add_files(workspace.session, workspace.store, [(b"heads", "x/y")])
    row = RewardModel(
        id="c" * 64, backbone="embedded", file_sha256=sha, simulated=True, num_ratings=0
    )
    workspace.session.add(row)
    workspace.session.flush()
    for image, _ in queries.images.images(workspace.session):
        workspace.session.add(Score(reward_model_id=row.id, image_id=image.id, mean=0.9, spread=0))
    workspace.session.commit()
    release = tmp_path / "release"
    made = run(workspace, "export", str(release))
    assert made.exit_code == 0, made.output
    assert "GigaGAN, elsewhere" in (release / "README.md").read_text()
    proof = run(workspace, "export", "--verify", str(release))
    assert proof.exit_code == 0, proof.output
    assert "7 images were made elsewhere: they are not made again" in proof.output
    version = queries.versions.versions(workspace.session)[0].id[:12]
    sheet = tmp_path / "sheet.csv"
    sheet.write_text("Text,modality\ndrusen,OCT\n")
    for arguments in (
        ("generate", "--version", version, "--prompt", "OCT: drusen", "--count", "1"),
        ("rl-step", "--version", version, "--prompts", str(sheet)),
        ("generate", "--from-manifest", str(release), "--out", str(tmp_path / "again")),
    ):
        refused = run(workspace, *arguments)
        assert refused.exit_code == 1 and "elsewhere" in refused.output, arguments
        assert refused.output.splitlines()[-1].startswith("Error: "), refused.output


def killed_before_the_rows(folder: Path, table: Path) -> None:
    """Import, and die when all files are durable and no row is."""
    queries.runs.add_made_elsewhere = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    with open_workspace(folder) as ws:
        imported(ws, table)


@pytest.mark.slow
def test_killed_the_same_import_ends_with_each_image_once(
    workspace: Workspace, table: Path
) -> None:
    assert ended(killed_before_the_rows, workspace.folder, table) == -signal.SIGKILL
    assert queries.images.images(workspace.session) == []
    assert imported(workspace, table).imported == 7
    assert examine(workspace).is_whole
