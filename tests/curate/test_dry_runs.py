"""A dry run says what would be done, and leaves every row and file as it was."""

import hashlib
import json
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sqlmodel import select
from typer.testing import CliRunner

import cli
from curate.workspace import Workspace, dry_workspace, open_workspace
from db import queries
from db.errors import StoreError
from db.models import Prompt
from generators.config import SamplingSettings
from generators.diffusion.generator import DiffusionGenerator
from tests.curate.generated import add_scored_images
from tests.curate.training.conftest import add_pictures


@pytest.fixture
def made(workspace: Workspace, tiny_generator: DiffusionGenerator, tmp_path: Path) -> Workspace:
    """Six scored images, ten real pictures of one modality to learn from, and three readers."""
    settings = SamplingSettings(num_steps=2, batch_size=4)
    told = {"drusen": "drusen", "normal": "normal"}
    score = lambda place, image: 0.9 if place else 0.1  # noqa: E731
    add_scored_images(workspace, tiny_generator, tmp_path / "tiny", settings, told, score)
    add_pictures(workspace, "CXR", "normal", 8, "train")
    add_pictures(workspace, "CXR", "normal", 2, "val")
    for number in (1, 2, 3):
        queries.campaigns.get_or_add_rater(
            workspace.session,
            name=f"reader-{number}",
            expert_level=3,
            simulated=False,
            config={"email": f"{number}@hospital.org", "active": True},
        )
    workspace.session.commit()
    return workspace


def all_of(folder: Path) -> tuple[list[str], dict[str, str]]:
    """Return every row and the hash of every file, but for what can be computed again."""
    with sqlite3.connect(folder / "curate.db") as database:
        rows = list(database.iterdump())
    files = {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and "cache" not in path.parts and not path.name.startswith("curate.db")
    }
    return rows, files


def foreseen(ws: Workspace, *arguments: str) -> tuple[Any, str]:
    """Run a command dry, for a program and for a person; nothing may change."""
    before = all_of(ws.folder)
    where = ["--dry-run", "--workspace", str(ws.folder)]
    shown = CliRunner().invoke(cli.app, [*arguments, *where])
    plain = CliRunner().invoke(cli.app, [*arguments, *where, "--json"])
    assert shown.exit_code == plain.exit_code == 0, shown.output + plain.output
    assert all_of(ws.folder) == before
    return json.loads(plain.stdout), shown.output


def test_a_push_says_whom_it_would_ask_how_often_and_for_how_long(made: Workspace) -> None:
    found, shown = foreseen(made, "rate", "push", "--name", "first", "--repeats", "0")
    # six images, two readers each; one control (a tenth of six, rounded), seen by all three
    assert sum(found["tasks"].values()) == 6 * 2 + 3 and found["num_images"] == 7
    assert found["time"] == {"seconds": 18.0, "num_answers": 0} and found["is_there"] is False
    assert "would ask 3 raters 15 times about 7 images (2 questions each)" in shown
    assert "about 4 min in all (18 s each, assumed)" in shown  # 15 x 18 s = 4.5 min
    assert queries.campaigns.campaigns(made.session) == []


def test_a_push_of_a_loops_round_says_it_too(made: Workspace) -> None:
    where = ["--workspace", str(made.folder)]
    order = ["generate", "--loop", "first", "--prompt", "OCT: drusen", "--count", "4"]
    done = CliRunner().invoke(cli.app, [*order, "--steps", "2", *where])
    assert done.exit_code == 0, done.output
    options = ["--controls", "0", "--repeats", "0", "--overlap", "1"]
    found, shown = foreseen(made, "rate", "push", "--loop", "first", *options)
    # the round's four images, not the six that were there
    assert sum(found["tasks"].values()) == 4 and found["num_images"] == 4
    assert f"campaign {found['campaign']}: would ask 3 raters 4 times" in shown


def test_an_export_says_what_would_be_kept(made: Workspace) -> None:
    found, shown = foreseen(made, "export")
    assert found["dry_run"] is True and found["release_id"] == ""
    assert f"{found['num_kept']} images would be kept" in shown and "nothing is written" in shown
    done = CliRunner().invoke(cli.app, ["export", "-w", str(made.folder), "--json"])
    really = json.loads(done.stdout)
    for name in ("num_kept", "num_rejected", "reasons", "threshold"):
        assert really[name] == found[name]
    assert "dry_run" not in really


def test_an_import_says_which_lines_would_be_taken(made: Workspace, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 10), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "new.png")
    table = tmp_path / "table.csv"
    table.write_text("path,Text,modality\nnew.png,drusen,OCT\nnone.png,normal,OCT\n")
    found, shown = foreseen(made, "import", str(table))
    assert found["imported"] == 1 and len(found["refused"]) == 1 and found["dry_run"] is True
    assert "nothing is written (--dry-run): images imported would be 1" in shown


def test_a_loop_says_how_much_it_would_make_and_ask(made: Workspace, tmp_path: Path) -> None:
    sheet = tmp_path / "prompts.csv"
    sheet.write_text("modality,text\nOCT,drusen\nOCT,a new one\n")
    asked = ("--prompts", str(sheet), "--raters", "label-studio", "--images-per-prompt", "10")
    found, shown = foreseen(made, "loop", "--name", "next", "--rounds", "2", *asked)
    assert (found["num_prompts"], found["images_a_round"], found["state"]) == (2, 20, "planned")
    # three versions x 2 prompts x 8 images, and 40 real ones; two people look at each
    assert found["tasks_a_round"] == 2 * (20 + 3 * 2 * 8 + 40)
    assert "people look up to 216 times a round, the gate included, about 1.1 h" in shown


def test_a_training_says_what_it_would_learn_and_how_often(made: Workspace) -> None:
    options = ("--modality", "CXR", "--steps", "40", "--batch-size", "4")
    found, shown = foreseen(made, "train-generator", *options)
    assert found["images"] == {"CXR": 8} and found["num_validated"] == 2
    assert "for 40 steps of 4 images, each of 8 about 20.0 times (CXR 8)" in shown


def test_what_is_committed_inside_is_seen_there_and_taken_back(made: Workspace) -> None:
    with dry_workspace(made.folder) as ws:
        queries.prompts.get_or_add_prompt(ws.session, modality="OCT", text="only foreseen")
        ws.session.commit()
        ws.session.rollback()
        texts = [row.text for row in ws.session.exec(select(Prompt)).all()]
        assert "only foreseen" in texts
    with open_workspace(made.folder) as ws:
        assert "only foreseen" not in [row.text for row in ws.session.exec(select(Prompt)).all()]


def test_tables_that_would_have_to_be_migrated_are_left_alone(made: Workspace) -> None:
    with sqlite3.connect(made.folder / "curate.db") as database:
        database.execute("UPDATE alembic_version SET version_num = '0001'")
    with pytest.raises(StoreError, match="revision 0001"), dry_workspace(made.folder):
        raise AssertionError("this is not reached")
