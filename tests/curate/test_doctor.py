import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from curate.doctor import DoctorReport, examine, repair
from curate.production.plan import plan_run
from curate.production.run import run_plan
from curate.production.versions import embedded_version, save_version, version_folder
from curate.workspace import Workspace, init_workspace, open_workspace
from db import queries
from db.models import Environment, Image, Run
from db.store import UNFINISHED, file_key
from generators.config import SamplingSettings
from generators.diffusion.generator import DiffusionGenerator


@pytest.fixture(params=["local", "memory"])
def ws(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Workspace]:
    """A workspace opened alone, as repairing wants it, on two kinds of store."""
    storage_url = f"memory://{tmp_path.name}" if request.param == "memory" else None
    init_workspace(tmp_path / "workspace", storage_url=storage_url)
    with open_workspace(tmp_path / "workspace", alone=True) as opened:
        yield opened


def sha_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def add_file(ws: Workspace, content: bytes) -> str:
    (sha,) = queries.files.add_files(ws.session, ws.store, [(content, "image/png")])
    ws.session.commit()
    return sha


def write_raw(ws: Workspace, key: str, content: bytes) -> None:
    """Write past the store, as an accident would."""
    if ws.settings.storage_url is None:
        path = ws.folder / "files" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    else:
        store = ws.store
        store.files.pipe_file(f"{store.root}/{key}", content)  # type: ignore[attr-defined]


def kinds(report: DoctorReport) -> list[tuple[str, str]]:
    return [(finding.kind, finding.name) for finding in report.findings]


def test_a_whole_workspace_is_found_whole(ws: Workspace) -> None:
    add_file(ws, b"abc")
    add_file(ws, b"")
    report = examine(ws)
    assert (report.is_whole, report.num_files, list(report.findings)) == (True, 2, [])


def test_a_torn_file_is_found(ws: Workspace) -> None:
    sha = add_file(ws, b"abcdef")
    write_raw(ws, file_key(sha), b"abc")
    (finding,) = examine(ws).findings
    assert (finding.kind, finding.name) == ("torn", sha)
    assert "3 of 6 bytes" in finding.detail


@pytest.mark.parametrize("content", [b"abcdeX", b"abcdef and more"])
def test_an_altered_file_is_found(ws: Workspace, content: bytes) -> None:
    sha = add_file(ws, b"abcdef")
    write_raw(ws, file_key(sha), content)
    assert kinds(examine(ws)) == [("altered", sha)]


def test_a_missing_file_is_found(ws: Workspace) -> None:
    sha = add_file(ws, b"abc")
    ws.store.delete(sha)
    report = examine(ws)
    assert kinds(report) == [("missing", sha)]
    assert not report.is_whole
    assert kinds(repair(ws, report)) == [("missing", sha)]


def test_an_orphan_is_found_and_moved_to_the_quarantine(ws: Workspace) -> None:
    (sha,) = ws.store.put_many([b"nobody's"])
    report = examine(ws)
    assert kinds(report) == [("orphan", sha)]
    repaired = repair(ws, report)
    assert repaired.is_whole
    assert repaired.quarantine is not None
    assert (Path(repaired.quarantine) / file_key(sha)).read_bytes() == b"nobody's"
    assert examine(ws).findings == []


@pytest.mark.parametrize(
    ("key", "kind"), [(f"{UNFINISHED}/0a", "temporary"), ("notes.txt", "foreign")]
)
def test_what_is_no_file_of_the_store_is_found_and_moved(
    ws: Workspace, key: str, kind: str
) -> None:
    write_raw(ws, key, b"half a fi")
    report = examine(ws)
    assert kinds(report) == [(kind, key)]
    assert repair(ws, report).is_whole
    assert list(ws.store.strays()) == []


def test_a_damaged_file_moved_away_can_be_put_back(ws: Workspace) -> None:
    sha = add_file(ws, b"abcdef")
    write_raw(ws, file_key(sha), b"abcdeX")
    repaired = repair(ws, examine(ws))
    assert not repaired.is_whole  # its place is empty until the bytes come back
    assert kinds(examine(ws)) == [("missing", sha)]
    add_file(ws, b"abcdef")
    assert examine(ws).is_whole


def test_two_repairs_do_not_overwrite_each_other(ws: Workspace) -> None:
    sha = add_file(ws, b"abcdef")
    quarantined = []
    for content in (b"abcdeX", b"abcdeY"):
        write_raw(ws, file_key(sha), content)
        report = repair(ws, examine(ws))
        quarantined.append((Path(str(report.quarantine)) / file_key(sha)).read_bytes())
    assert quarantined == [b"abcdeX", b"abcdeY"]
    assert len(list((ws.folder / "quarantine").iterdir())) == 2


def test_a_missing_synthetic_image_can_be_made_again_and_a_real_one_cannot(ws: Workspace) -> None:
    synthetic, real, weights = (add_file(ws, content) for content in (b"s", b"r", b"w"))
    prompt = queries.prompts.get_or_add_prompt(ws.session, modality="OCT", text="drusen")
    version = queries.versions.add_generator_version(
        ws.session, generator_name="g", family="f", files={"unet": weights}, how_made="x"
    )
    run = Run(
        id=sha_of(b"run"),
        version_id=version.id,
        prompt_ids=[prompt.id],
        count=1,
        first_seed=0,
        num_items=1,
        settings={},
    )
    ws.session.add(run)
    ws.session.add(Environment(id="cpu", details={}))
    ws.session.flush()
    common: dict[str, Any] = {
        "pixels_sha256": sha_of(b"p"),
        "prompt_id": prompt.id,
        "shape": [1, 8, 8],
    }
    ws.session.add(
        Image(
            **common,
            file_sha256=synthetic,
            origin="synthetic",
            version_id=version.id,
            run_id=run.id,
            run_index=0,
            seed=0,
            item_key="key",
        )
    )
    ws.session.add(Image(**common, file_sha256=real, origin="real", source_path="eyes/1.png"))
    ws.session.commit()
    for sha in (synthetic, real, weights):
        ws.store.delete(sha)
    findings = {finding.name: finding for finding in examine(ws).findings}
    assert findings[synthetic].remakeable
    assert "item 0" in findings[synthetic].detail
    assert "can be made again" in findings[synthetic].detail
    assert not findings[real].remakeable
    assert "eyes/1.png" in findings[real].detail
    assert not findings[weights].remakeable
    assert f"unet of generator version {version.id[:12]}" in findings[weights].detail


def test_a_row_whose_parent_is_gone_is_found(workspace: Workspace) -> None:
    connection = workspace.session.connection()
    connection.execute(sa.text("PRAGMA foreign_keys = OFF"))
    connection.execute(sa.text("INSERT INTO sync_mark VALUES ('0', 'there', '2026-01-01')"))
    (finding,) = examine(workspace).findings
    assert finding.kind == "database"
    assert "table sync_mark, row 1: its campaign is not there" in finding.detail


def test_more_files_than_a_batch_are_all_read(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("curate.doctor.BATCH_FILES", 3)
    contents = [bytes([number]) for number in range(8)]
    queries.files.add_files(workspace.session, workspace.store, [(c, "x") for c in contents])
    workspace.store.delete(sha_of(contents[7]))
    report = examine(workspace)
    assert report.num_files == 8
    assert kinds(report) == [("missing", sha_of(contents[7]))]


def test_a_finding_is_one_line(workspace: Workspace) -> None:
    sha = add_file(workspace, b"abc")
    workspace.store.delete(sha)
    finding, total = examine(workspace).lines()
    assert finding == f"missing    {sha}  used by nothing"
    assert total == "1 files read, 1 things wrong"


def test_lost_synthetic_images_are_made_again_with_the_same_bytes(
    ws: Workspace, tiny_generator: DiffusionGenerator, tmp_path: Path
) -> None:
    tiny_generator.save(tmp_path / "tiny")
    version = save_version(
        ws, tmp_path / "tiny", generator_name="t", family="text-to-image", how_made="imported"
    )
    prompts = [
        queries.prompts.get_or_add_prompt(ws.session, modality="OCT", text=text) for text in "ab"
    ]
    settings = SamplingSettings(num_steps=2, batch_size=4)
    run = plan_run(ws, version, prompts, count=3, settings=settings)
    run_plan(ws, run, lambda done: None)
    (torn, *lost) = [image.file_sha256 for image, _ in queries.images.images(ws.session)][:4]
    for sha in lost:
        ws.store.delete(sha)
    write_raw(ws, file_key(torn), b"half")
    report = examine(ws)
    assert len(report.findings) == 4
    repaired = repair(ws, report)
    assert repaired.is_whole
    assert "made again, the same bytes" in repaired.findings[0].detail
    assert examine(ws).findings == []


def test_an_image_that_cannot_be_made_with_the_same_bytes_stays_a_finding(
    ws: Workspace, tiny_generator: DiffusionGenerator, tmp_path: Path
) -> None:
    tiny_generator.save(tmp_path / "tiny")
    version = save_version(
        ws, tmp_path / "tiny", generator_name="t", family="text-to-image", how_made="imported"
    )
    prompt = queries.prompts.get_or_add_prompt(ws.session, modality="OCT", text="a")
    settings = SamplingSettings(num_steps=2, batch_size=4)
    run_plan(ws, plan_run(ws, version, [prompt], count=1, settings=settings), lambda done: None)
    ((image, _),) = queries.images.images(ws.session)
    ws.store.delete(image.file_sha256)
    image.seed = 5  # as if another device had made it: here this row gives other bytes
    ws.session.add(image)
    ws.session.commit()
    (finding,) = repair(ws, examine(ws)).findings
    assert not finding.repaired
    assert "other bytes" in finding.detail


def test_weights_that_ship_are_restored_from_the_installation(ws: Workspace) -> None:
    version = embedded_version(ws)
    ws.session.commit()
    files = queries.versions.version_files(ws.session, version.id)
    gone, altered = files["unet/config.json"], files["scheduler/scheduler_config.json"]
    ws.store.delete(gone)
    write_raw(ws, file_key(altered), b"{}")
    report = repair(ws, examine(ws))
    assert report.is_whole and len(report.findings) == 2
    assert examine(ws).findings == []


def test_damaged_weights_in_the_cache_are_found_and_removed(ws: Workspace) -> None:
    version = embedded_version(ws)
    folder = version_folder(ws, version.id)
    (folder / "unet" / "config.json").write_bytes(b"{}")
    report = examine(ws)
    name = f"cache/versions/{version.id}/unet/config.json"
    assert kinds(report) == [("cache", name)]
    assert repair(ws, report).is_whole
    assert not folder.exists()
    assert examine(ws).findings == []
