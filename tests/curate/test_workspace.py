import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from curate.errors import CurateError
from curate.workspace import Workspace, init_workspace, open_workspace
from db import queries
from db.errors import StoreError


def test_a_workspace_has_its_folders_and_settings(tmp_path: Path) -> None:
    init_workspace(tmp_path / "new" / "chest")
    names = {path.name for path in (tmp_path / "new" / "chest").iterdir()}
    assert {"curate.json", "curate.db", "cache", "releases", "reports"} <= names
    with open_workspace(tmp_path / "new" / "chest") as ws:
        assert ws.folder == tmp_path / "new" / "chest"
        assert ws.cache == ws.folder / "cache"
        ws.store.put_many([b"abc"])
    assert (tmp_path / "new" / "chest" / "files").is_dir()


def test_making_a_workspace_again_changes_nothing(workspace: Workspace) -> None:
    queries.audit.record_event(workspace.session, "test", {})
    init_workspace(workspace.folder)
    assert json.loads((workspace.folder / "curate.json").read_text()) == {
        "format": 1,
        "database_url": None,
        "storage_url": None,
        "own_noise": True,
    }


def test_a_workspace_is_not_remade_with_other_settings(workspace: Workspace) -> None:
    with pytest.raises(CurateError, match="workspace already, with other settings"):
        init_workspace(workspace.folder, storage_url="memory://elsewhere")


def test_a_workspace_that_cannot_be_made_is_not_half_made(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="nowhere"):
        init_workspace(tmp_path, database_url="postgresql://nobody@/x?host=/nowhere")
    assert not (tmp_path / "curate.json").exists()
    init_workspace(tmp_path)


def test_only_its_owner_reads_a_workspaces_rows(workspace: Workspace) -> None:
    """Raters' addresses are among them; what SQLite keeps beside the database is as closed."""
    queries.prompts.get_or_add_prompt(workspace.session, modality="OCT", text="drusen")
    modes = {path.name: path.stat().st_mode & 0o777 for path in workspace.folder.glob("curate.db*")}
    assert set(modes.values()) == {0o600} and "curate.db-wal" in modes


def test_a_workspace_can_be_moved(workspace: Workspace, tmp_path: Path) -> None:
    (sha,) = queries.files.add_files(workspace.session, workspace.store, [(b"abc", "text/plain")])
    workspace.session.commit()
    shutil.copytree(workspace.folder, tmp_path / "moved 100%")
    with open_workspace(tmp_path / "moved 100%") as moved:
        assert moved.store.get(sha) == b"abc"


def test_files_may_lie_elsewhere(tmp_path: Path) -> None:
    init_workspace(tmp_path, storage_url="memory://shared")
    with open_workspace(tmp_path) as ws:
        (sha,) = ws.store.put_many([b"abc"])
        assert ws.store.local_path(sha).is_relative_to(ws.cache)


def test_a_folder_without_a_workspace_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(CurateError, match="No workspace in .*`curate init.*--workspace"):
        with open_workspace(tmp_path):
            pass


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(CurateError, match="Cannot make a workspace in .*Not a directory"):
        init_workspace(tmp_path / "file" / "workspace")


@pytest.mark.parametrize(
    "settings", ["", "[]", '{"format": 2}', '{"database_url": null}', '{"format": 1, "colour": 3}']
)
def test_settings_that_cannot_be_read_are_named(workspace: Workspace, settings: str) -> None:
    (workspace.folder / "curate.json").write_text(settings)
    with pytest.raises(CurateError, match="curate.json cannot be read"):
        with open_workspace(workspace.folder):
            pass


def test_what_was_done_is_kept_at_a_clean_end_only(workspace: Workspace) -> None:
    with open_workspace(workspace.folder) as ws:
        kept = queries.prompts.get_or_add_prompt(ws.session, modality="OCT", text="kept").id
    with pytest.raises(KeyboardInterrupt):
        with open_workspace(workspace.folder) as ws:
            queries.prompts.get_or_add_prompt(ws.session, modality="OCT", text="lost")
            raise KeyboardInterrupt
    with open_workspace(workspace.folder) as ws:
        prompts = queries.audit.counts(ws.session)["prompts"]
        assert prompts == 1
        assert queries.prompts.get_or_add_prompt(ws.session, modality="OCT", text="kept").id == kept


def test_who_wants_a_workspace_alone_does_not_get_it_beside_another(workspace: Workspace) -> None:
    with pytest.raises(CurateError, match="Another curate command is at work"):
        with open_workspace(workspace.folder, alone=True):
            pass


def test_many_may_have_a_workspace_open(workspace: Workspace) -> None:
    with open_workspace(workspace.folder) as second:
        assert second.session is not workspace.session


def test_a_command_finds_the_workspace_above_it_or_the_one_that_the_environment_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import cli
    from curate.commands.shared import _nearest_workspace

    for name in ("above", "named"):
        init_workspace(tmp_path / name)
    with open_workspace(tmp_path / "named") as ws:
        queries.prompts.get_or_add_prompt(ws.session, modality="OCT", text="drusen")
    inner = tmp_path / "above" / "notes" / "today"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    assert _nearest_workspace(Path(".")) == tmp_path / "above"
    assert _nearest_workspace(Path("named")) == Path("named")

    def num_prompts(*arguments: str) -> int:
        found = CliRunner().invoke(cli.app, ["status", "--json", *arguments])
        return int(json.loads(found.stdout)["prompts"])

    assert num_prompts() == 0
    monkeypatch.setenv("CURATE_WORKSPACE", str(tmp_path / "named"))
    assert num_prompts() == 1 and num_prompts("-w", str(tmp_path / "above")) == 0
    monkeypatch.delenv("CURATE_WORKSPACE")
    monkeypatch.chdir(tmp_path)
    assert "No workspace in" in CliRunner().invoke(cli.app, ["status"]).output
