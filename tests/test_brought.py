"""Other packages bring formats, backbones and rating backends by entry points, as families."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from curate.errors import CurateError
from curate.progress import Advance
from curate.rating.config import PushOptions
from curate.rating.pull import pull
from curate.rating.send import push
from curate.release.config import ExportConfig
from curate.release.manifest import read_manifest
from curate.release.publish import export_release
from curate.release.verify import verify_release
from db import queries
from rewards.backbones import load_backbone
from rewards.errors import RewardError
from tests.curate.conftest import Story, steps

MODULE = '''
import json

import torch

from annotation.base import Answer, Health, Pulled
from curate.release.tables import columns_of
from rewards.backbones import Backbone


def files(entries, read, *, simulated_ratings):
    rows = [
        {**columns_of(entry, simulated_ratings=simulated_ratings), "bytes": len(read(entry))}
        for entry in entries
    ]
    yield "all.jsonl", "".join(json.dumps(row) + "\\n" for row in rows).encode()


def parquet(entries, read, *, simulated_ratings):
    raise AssertionError("a format of ours was replaced")


class Mean(torch.nn.Module):
    def forward(self, images):
        return images.mean(dim=(2, 3))


def load(name):
    return Backbone(name, Mean(), 3)


class Desk:
    """A place where people rate: what is pushed lies in a file, and all find it good."""

    def __init__(self, folder):
        self.file = folder / "tasks.json"

    def push(self, study, tasks):
        known = json.loads(self.file.read_text()) if self.file.exists() else {}
        new = {task.uid: [task.rater, task.pictures["left"]] for task in tasks}
        self.file.write_text(json.dumps({**known, **new}))
        return len(new.keys() - known.keys())

    def pull(self, study, marks):
        answers = [
            Answer(task_uid=uid, rater=rater, criterion=question.name, value=3, source_uid=uid)
            for uid, (rater, picture) in json.loads(self.file.read_text()).items()
            for question in study.questions
        ]
        yield Pulled(place="desk", answers=tuple(answers), unreadable=(), mark=None)

    def rating_pages(self, study):
        return {rater: f"desk of {rater}" for rater in study.raters}

    def health(self):
        return Health(is_up=True, message="always open")


def open_desk(folder):
    return Desk(folder)
'''


@contextmanager
def _silent(total: int, what: str) -> Iterator[Advance]:
    yield lambda number: None


@pytest.fixture
def brought(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package, installed as pip would."""
    info = tmp_path / "site" / "brought-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: brought\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[curate.formats]\njsonl = brought_module:files\nparquet = brought_module:parquet\n"
        "[curate.backbones]\nmean-colour = brought_module:load\n"
        "embedded = brought_module:load\n"
        "[curate.rating_backends]\ndesk = brought_module:open_desk\n"
    )
    (tmp_path / "site" / "brought_module.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path / "site")


def test_a_package_s_format_is_written_and_proved_with_the_release(
    brought: None, workspace: Any, tmp_path: Path
) -> None:
    story = Story(workspace)
    for step in steps():
        step(story)
    config = ExportConfig(threshold=0.35, formats=("jsonl",))
    done = export_release(workspace, tmp_path / "release", config, _silent)
    rows = (tmp_path / "release" / "all.jsonl").read_text().splitlines()
    assert len(rows) == done.num_kept > 0
    assert json.loads(rows[0])["origin"] == "synthetic" and json.loads(rows[0])["bytes"] > 0
    assert "all.jsonl" in [file.path for file in read_manifest(tmp_path / "release").files]
    assert verify_release(tmp_path / "release").ok


def test_an_unknown_format_is_refused_with_the_known_ones(brought: None, workspace: Any) -> None:
    config = ExportConfig(threshold=0.35, formats=("zip",))
    with pytest.raises(CurateError, match=r"'zip'. Known: .*dicom, jsonl.*curate\.formats"):
        export_release(workspace, None, config, _silent)


def test_a_package_s_backbone_is_opened_by_its_name_and_replaces_none(brought: None) -> None:
    backbone = load_backbone("mean-colour")
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(backbone.features(images), images.mean(dim=(2, 3)))
    assert load_backbone("embedded").dim > 3  # ours
    with pytest.raises(RewardError, match=r"curate\.backbones"):
        load_backbone("no such")


def test_people_rate_at_a_package_s_place_and_their_answers_are_fetched_from_there(
    brought: None, workspace: Any
) -> None:
    story = Story(workspace)
    for step in steps():
        step(story)
    queries.campaigns.get_or_add_rater(
        workspace.session,
        name="ann",
        expert_level=3,
        simulated=False,
        config={"email": "ann@hospital.org", "active": True},
    )
    asked = PushOptions(name="at-the-desk", backend="desk", overlap=1, repeat_fraction=0.0)
    with pytest.raises(CurateError, match="--images-from"):
        push(workspace, asked)
    pushed = push(workspace, asked, images_from="https://pictures.example.org")
    assert pushed.pages == {"ann": "desk of ann"} and pushed.num_new > 0
    assert push(workspace, asked, images_from="https://pictures.example.org").num_new == 0
    shown = json.loads((workspace.folder / "backends" / "desk" / "tasks.json").read_text())
    assert all(url.startswith("https://pictures.example.org/") for _, url in shown.values())
    [fetched] = pull(workspace, ())
    assert fetched.campaign == "at-the-desk" and fetched.taken.new == 2 * pushed.num_new
    [again] = pull(workspace, ())
    assert again.taken.new == 0
    with pytest.raises(CurateError, match=r"No rating backend 'tent'.*curate\.rating_backends"):
        push(workspace, PushOptions(name="other", backend="tent"))
