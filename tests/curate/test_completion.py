"""After TAB a shell offers the ids and names that the workspace at hand has."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

import cli
from curate.completion import known
from curate.production.work import at_work
from curate.workspace import Workspace
from db import queries
from tests.curate.conftest import Story


def test_every_kind_of_id_is_offered_by_its_first_digits(story: Story) -> None:
    ws, folder = story.ws, story.ws.folder
    versions = [row.id for row in queries.versions.versions(ws.session)]
    assert [name for name, _ in known("version", folder, "")] == [
        "latest",
        *(one[:12] for one in versions),
    ]
    first = versions[0]
    assert first[:12] in [name for name, _ in known("version", folder, first[:3])]
    assert [name for name, _ in known("version", folder, first[:20])] == [first[:20]]
    campaigns = [row.name for row in queries.campaigns.campaigns(ws.session)]
    assert [name for name, _ in known("campaign", folder, "")] == campaigns != []
    models = queries.reward_models.reward_models(ws.session)
    assert models[0].id[:12] in [name for name, _ in known("reward model", folder, "")]
    assert known("release", folder, "") == []
    assert known("campaign", folder, "no such") == []


def test_of_runs_those_at_work_are_offered_to_what_steers_them(workspace: Workspace) -> None:
    with at_work(workspace.folder, "score", "first"):
        pass
    with at_work(workspace.folder, "evaluate", "second"):
        [(working, kind)] = known("working run", workspace.folder, "")
        assert kind == "evaluate" and len(working) == 12
        assert len(known("run", workspace.folder, "")) == 2


def test_where_no_workspace_is_nothing_is_offered_and_nothing_said(tmp_path: Path) -> None:
    assert known("version", tmp_path, "") == []


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("curate generators show ", "version"),
        ("curate export --version ", "version"),
        ("curate rate status --workspace {folder} ", None),
        ("curate rate agreement --campaign ", "campaign"),
        ("curate train-generator --like ", "version"),
    ],
)
def test_a_shell_is_told_through_the_command_line(
    story: Story, words: str, kind: str | None
) -> None:
    words = words.format(folder=story.ws.folder)
    environment = {
        "_CURATE_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split())),
        "CURATE_WORKSPACE": str(story.ws.folder),
    }
    result = CliRunner().invoke(cli.app, [], prog_name="curate", env=environment)
    offered = result.stdout.split()
    if kind is None:
        assert not any(name in offered for name, _ in known("version", story.ws.folder, ""))
    else:
        names = [name for name, _ in known(kind, story.ws.folder, "")]
        assert offered == names
