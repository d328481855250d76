"""What is archived is out of the way; what nothing needs is deleted, killed or not."""

from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from curate.doctor import examine
from curate.production.described import describe_versions
from curate.prune import archive, prune
from curate.rating.pull import campaigns_of_people
from curate.release.config import ExportConfig
from curate.release.publish import export_release
from curate.status import read_status
from curate.workspace import Workspace
from db import queries
from db.hashing import json_hash
from db.models import Campaign, Image, Run, Score
from tests.curate.conftest import SETTINGS, Story
from tests.curate.release.test_formats import _silent


def second_thoughts(told: Story) -> tuple[str, str]:
    """Add a version with a run of two scored images, one with bytes that another image has too."""
    ws = told.ws
    [weights] = queries.files.add_files(ws.session, ws.store, [(b"mistake", "application/json")])
    version = queries.versions.add_generator_version(
        ws.session,
        generator_name="tiny",
        family="text-to-image",
        files={"model_index.json": weights},
        how_made="imported",
    )
    plan: dict[str, Any] = {
        "version_id": version.id,
        "prompt_ids": [told.prompts[0].id],
        "count": 2,
        "first_seed": 0,
        "settings": SETTINGS,
    }
    run = queries.runs.get_or_add_run(ws.session, Run(id=json_hash(plan), num_items=2, **plan))
    [own] = queries.files.add_files(ws.session, ws.store, [(b"own pixels", "image/png")])
    shared = next(iter(told.images.values())).file_sha256
    assert told.reward_model is not None
    for seed, sha256 in enumerate((own, shared)):
        image = Image(
            file_sha256=sha256,
            pixels_sha256=f"{seed}" * 64,
            environment_id=next(iter(told.images.values())).environment_id,
            origin="synthetic",
            prompt_id=told.prompts[0].id,
            shape=[1, 64, 64],
            version_id=version.id,
            run_id=run.id,
            run_index=seed,
            seed=seed,
            settings=SETTINGS,
            settings_hash=json_hash(SETTINGS),
            item_key=json_hash([version.id, seed]),
        )
        ws.session.add(image)
        ws.session.flush()
        ws.session.add(
            Score(reward_model_id=told.reward_model.id, image_id=image.id, mean=0.5, spread=0.1)
        )
    ws.session.commit()
    return version.id, run.id


def counts(ws: Workspace) -> dict[str, int]:
    return queries.audit.counts(ws.session)


def test_what_nothing_needs_goes_with_its_files_and_the_rest_as_it_was(story: Story) -> None:
    ws = story.ws
    before, files = counts(ws), set(ws.store.list())
    version_id, run_id = second_thoughts(story)
    archive(ws, "version", version_id[:10])
    stays = prune(ws, dry_run=False)
    [line, freed] = stays.lines()
    assert line == f"version {version_id[:12]} stays: 1 run, 2 images need it"
    archive(ws, "run", run_id)
    there = counts(ws)
    told = prune(ws, dry_run=True).lines()
    assert told == [
        f"run {run_id[:12]} goes with 2 images, 2 scores",
        f"version {version_id[:12]} goes with 1 generator version file",
        "2 files, 0.0 MB would be deleted",
    ]
    assert counts(ws) == there and len(set(ws.store.list())) == len(files) + 2
    assert prune(ws, dry_run=False).num_files == 2
    assert counts(ws) == before and set(ws.store.list()) == files
    assert examine(ws).is_whole
    assert prune(ws, dry_run=False).lines()[0].startswith("Nothing is archived")


@pytest.mark.parametrize("dies_at", ["journal", "rows", "first file", "second file"])
def test_killed_anywhere_the_next_one_finishes(
    story: Story, monkeypatch: pytest.MonkeyPatch, dies_at: str
) -> None:
    ws = story.ws
    before, files = counts(ws), set(ws.store.list())
    for kind, id_ in zip(("version", "run"), second_thoughts(story), strict=True):
        archive(ws, kind, id_)
    num_deleted = 0

    def dies(*_: Any) -> None:
        raise KeyboardInterrupt

    def dies_at_a_file(sha256: str) -> None:
        nonlocal num_deleted
        num_deleted += 1
        if num_deleted == ("first file", "second file").index(dies_at) + 1:
            raise KeyboardInterrupt
        delete(sha256)

    delete = ws.store.delete
    with monkeypatch.context() as patched:
        if dies_at == "journal":
            patched.setattr("curate.prune.replace_file", dies)
        elif dies_at == "rows":
            patched.setattr(queries.audit, "record_event", dies)
        else:
            patched.setattr(ws.store, "delete", dies_at_a_file)
        with pytest.raises(KeyboardInterrupt):
            prune(ws, dry_run=False)
    ws.session.rollback()  # as a killed process leaves the database
    rows_are_there = dies_at in ("journal", "rows")
    assert counts(ws)["generator_versions"] == before["generator_versions"] + rows_are_there
    if rows_are_there:
        assert examine(ws).is_whole  # nothing was deleted before its rows
    for _ in range(2):
        prune(ws, dry_run=False)
    assert counts(ws) == before and set(ws.store.list()) == files
    assert examine(ws).is_whole
    assert len(queries.audit.details_of(ws.session, "prune")) == 1


def test_ratings_rounds_and_releases_hold_what_they_rest_on(story: Story) -> None:
    ws, new = story.ws, story.versions[1]
    done = export_release(ws, None, ExportConfig(threshold=0.35), _silent)
    [run] = [run for run in ws.session.exec(select(Run)) if run.version_id == new.id]
    for kind, name in (("campaign", "loop-round-1"), ("version", new.id), ("run", run.id)):
        archive(ws, kind, name)
    held = {thing.kind: set(thing.held_by) for thing in prune(ws, dry_run=False).things}
    assert "rating" in held["campaign"]
    assert "round" in held["version"]
    assert held["run"] == {"release_decision"}
    assert done.folder.is_dir()

    archive(ws, "release", done.release_id[:8])
    gone = [thing.kind for thing in prune(ws, dry_run=False).things if not thing.held_by]
    assert gone == ["release", "run"]  # with the release gone nothing needs the run's images
    assert not done.folder.exists()
    assert examine(ws).is_whole


def test_what_is_archived_is_out_of_lists_and_of_latest_until_it_is_taken_back(
    story: Story,
) -> None:
    ws = story.ws
    version_id, run_id = second_thoughts(story)
    assert queries.versions.find_version(ws.session, "latest").id == version_id
    assert archive(ws, "version", version_id) == f"version {version_id[:12]} is archived"
    assert archive(ws, "version", version_id) == f"version {version_id[:12]} is already archived"
    archive(ws, "run", run_id)
    assert queries.versions.find_version(ws.session, "latest").id == story.versions[1].id
    assert version_id not in {row["id"] for row in describe_versions(ws)}
    assert version_id in {row["id"] for row in describe_versions(ws, archived=True)}
    last = read_status(ws).last_run
    assert last is not None and last.run_id != run_id
    assert queries.versions.find_version(ws.session, version_id[:8]).id == version_id
    archive(ws, "version", version_id, undo=True)
    assert queries.versions.find_version(ws.session, "latest").id == version_id


def test_the_commands_say_what_they_did(story: Story, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    import cli

    version_id, _ = second_thoughts(story)
    story.ws.session.commit()
    place = ["--workspace", str(story.ws.folder)]
    said = CliRunner().invoke(cli.app, ["archive", "version", version_id[:8], *place])
    assert said.output == f"version {version_id[:12]} is archived\n"
    said = CliRunner().invoke(cli.app, ["prune", "--dry-run", *place])
    assert said.output.endswith("0 files, 0.0 MB would be deleted\n")
    wrong = CliRunner().invoke(cli.app, ["archive", "release", "nothing", *place])
    assert wrong.exit_code == 1 and "No releases are named 'nothing'" in wrong.output


def test_an_archived_campaign_is_asked_for_by_its_name_only(workspace: Workspace) -> None:
    rubric, _ = queries.campaigns.default_rubric(workspace.session)
    for name in ("kept", "aside"):
        workspace.session.add(
            Campaign(
                name=name,
                backend="label-studio",
                rubric_id=rubric.id,
                seed=0,
                overlap=1,
                simulated=False,
            )
        )
        workspace.session.flush()
    archive(workspace, "campaign", "aside")

    def names(*asked: str) -> list[str]:
        return [row.name for row in campaigns_of_people(workspace, "label-studio", asked)]

    assert names() == ["kept"] and names("aside") == ["aside"]
    archive(workspace, "campaign", "aside", undo=True)
    assert names() == ["kept", "aside"]
