"""Versions in a row, of a real, tiny training."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli import app
from curate.errors import CurateError
from curate.evaluation.intervals import Estimate
from curate.evaluation.series import FLAT, IMPROVING, WORSE, _differing, _mean_ranks, _verdicts
from curate.samples.pixels import array_of
from curate.training.config import LessonConfig
from curate.training.finetune import train_generator
from curate.workspace import Workspace
from db import queries
from db.models import GeneratorVersion
from tests.curate.training.conftest import add_pictures, quick_task, start
from tests.curate.training.test_stage import silent

__all__ = ["start"]  # a fixture of the trainings'


def around(value: float, half: float = 0.1) -> Estimate:
    return Estimate(value, value - half, value + half, 10)


def test_a_figure_improves_only_beyond_both_intervals() -> None:
    before = {"KID": around(1.0), "read as asked": around(0.5), "FID": around(3.0)}
    last = {"KID": around(0.8), "read as asked": around(0.3), "FID": around(2.9)}
    assert _verdicts([before, last]) == {"FID": FLAT, "KID": IMPROVING, "read as asked": WORSE}
    unsure = {"inception score": around(1.0, 0)}
    assert "nothing is said" in _verdicts([unsure, unsure])["inception score"]


def test_ranks_are_means_over_the_figures_that_all_have() -> None:
    one = {"KID": around(1.0), "read as asked": around(0.5), "FID": around(1.0)}
    other = {"KID": around(0.8), "read as asked": around(0.5)}
    assert _mean_ranks([one, other]) == [1.75, 1.25]  # KID 2 and 1, a tie of 1.5 each


def test_settings_that_differ_are_named() -> None:
    rows = [
        GeneratorVersion(
            id="a", generator_name="g", how_made="x", config={"training": {"lr": lr, "seed": 0}}
        )
        for lr in (1, 2)
    ]
    assert _differing(rows) == {"training.lr": (1, 2)}


@pytest.mark.slow
def test_what_a_training_left_on_its_way_is_measured_and_drawn(
    workspace: Workspace, start: GeneratorVersion, tmp_path: Path
) -> None:
    add_pictures(workspace, "OCT", "drusen", 12, "train")
    add_pictures(workspace, "OCT", "normal", 12, "train")
    lesson = LessonConfig(num_samples=0, keep_every=2)
    task = quick_task(start, lesson, num_steps=6)
    last = train_generator(workspace, task, say=lambda line: None, show=silent)
    kept = queries.versions.checkpoints_of(workspace.session, last)
    assert [row.config["step"] for row in kept] == [2, 4]
    assert {row.parent_id for row in kept} == {start.id} and len(
        {last.id, *(r.id for r in kept)}
    ) == 3
    assert queries.versions.latest_version(workspace.session) is not None
    assert queries.versions.latest_version(workspace.session).id == last.id  # type: ignore[union-attr]
    with pytest.raises(CurateError, match="no multiple of --validate-every 2"):
        train_generator(
            workspace,
            replace(task, lesson=replace(lesson, keep_every=3)),
            say=lambda line: None,
            show=silent,
        )
    plain = quick_task(start, LessonConfig(num_samples=0), num_steps=6)
    again = train_generator(workspace, plain, say=lambda line: None, show=silent)
    assert again.id == last.id  # what is kept changes nothing that is learned
    known = queries.images.images(workspace.session, origin="synthetic")
    asked = ["evaluate", "--along", last.id[:12], "--images", "24", "--steps", "2", "--json"]
    asked += ["--only", "fidelity", "--only", "diversity", "-w", str(workspace.folder)]
    answer = CliRunner().invoke(app, asked)
    assert answer.exit_code == 0, answer.output
    told = json.loads(answer.stdout)
    assert [one["name"] for one in told["versions"]] == ["step 0", "step 2", "step 4", "step 6"]
    assert told["num_images"] == 24 and set(told["verdicts"]) == {
        "Frechet distance",
        "KID",
        "MS-SSIM within prompts",
        "inception score",
    }
    picture = workspace.folder / "reports" / f"along-{last.id[:12]}.png"
    assert array_of(picture.read_bytes()).shape[1] > 1000
    assert queries.images.images(workspace.session, origin="synthetic") == known
    made = {path: path.stat().st_mtime_ns for path in (workspace.cache / "series").rglob("*.png")}
    assert len(made) == 4 * 24
    assert CliRunner().invoke(app, asked).stdout == answer.stdout
    assert made == {path: path.stat().st_mtime_ns for path in made}  # nothing is made again
    names = [start.id, kept[0].id]
    pair = [part for name in names for part in ("--ablation", name)]
    compared = CliRunner().invoke(app, ["evaluate", *pair, *asked[3:]])
    assert compared.exit_code == 0, compared.output
    assert json.loads(compared.stdout)["settings"]["how_made"] == ["imported", "checkpoint"]
    refused = CliRunner().invoke(app, ["evaluate", "--along", start.id, *asked[3:]])
    assert refused.exit_code == 1 and "--keep-every" in refused.output
