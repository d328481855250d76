import json
import shutil
from pathlib import Path

import pytest
from sqlmodel import select
from typer.testing import CliRunner

import cli
from curate.production.plan import settings_hash
from curate.rating.simulate import simulate_campaign, simulated_raters
from curate.workspace import open_workspace
from db import queries
from db.models import GeneratorVersion, Run
from tests.curate.campaigns import create_campaign
from tests.curate.loop.eyes import RednessEyes
from tests.curate.loop.test_rounds import SAMPLING
from tests.curate.training.rated import rated_workspace
from tests.tiny import tiny_generator as make_tiny_generator

FEW = ["--updates", "2", "--prompts-per-update", "2", "--group-size", "4", "--steps", "3"]


@pytest.fixture(scope="module")
def _rated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rated_workspace(tmp_path_factory.mktemp("rated") / "workspace")


@pytest.fixture
def folder(tmp_path: Path, _rated: Path) -> Path:
    """A copy of the rated workspace."""
    return shutil.copytree(_rated, tmp_path / "workspace")


def run_command(folder: Path, *options: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli.app, ["rl-step", "--workspace", str(folder), *FEW, *options])
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.slow
def test_the_command_makes_a_version_and_says_its_price(folder: Path, tmp_path: Path) -> None:
    status, out, err = run_command(folder, "--json")
    assert status == 0, err
    told = json.loads(out)
    # 2 updates of 8 images: 3 steps, of which 2 are trained (a backward pass, 2 evaluations, since
    # the rollout keeps what it predicted) and anchored (1); one check of 32 images
    assert "16 images, 240 U-Net evaluations (rollouts 144, training 64, anchor 32)" in err
    assert "8 images an update; below 64" in err
    with open_workspace(folder) as ws:
        versions = {row.id: row for row in ws.session.exec(select(GeneratorVersion))}
        made = versions[told["version"]]
        assert made.parent_id == told["parent"] and made.reward_model_id == told["reward_model"]
        assert len(made.config["prompt_ids"]) == 3  # those whose images were rated
    # the same step again makes nothing; a sheet of other prompts is another step
    same = json.loads(run_command(folder, "--version", told["parent"], "--json")[1])
    assert same["version"] == told["version"]
    sheet = tmp_path / "prompts.csv"
    sheet.write_text("modality,text\nOCT,drusen\nMoonRock,grey\n")
    status, out, err = run_command(
        folder, "--version", told["parent"], "--prompts", str(sheet), "--json"
    )
    assert status == 0, err
    assert "refused: prompts.csv:3" in err.replace(" line ", ":")
    assert json.loads(out)["version"] != told["version"]


def test_a_dry_run_says_the_price_and_makes_nothing(folder: Path) -> None:
    status, out, err = run_command(folder, "--dry-run", "--json")
    assert status == 0, err
    price = json.loads(out)
    assert price["images"] == 16 and price["rollout_evaluations"] == 48 + 96  # and a check
    assert price["flops"] > 0 and price["seconds"] > 0
    with open_workspace(folder) as ws:
        assert len(ws.session.exec(select(GeneratorVersion)).all()) == 1


@pytest.mark.slow
def test_it_learns_straight_from_ratings(folder: Path) -> None:
    options = ("--algorithm", "nft", "--from-ratings", "--json")
    status, out, err = run_command(folder, *options)
    assert status == 0, err
    told = json.loads(out)
    assert told["reward_model"] is None and told["num_updates"] == 2
    with open_workspace(folder) as ws:
        made = ws.session.get_one(GeneratorVersion, told["version"])
        assert len(made.config["answers_sha256"]) == 64 and made.config["algorithm"] == "nft"
    again = json.loads(run_command(folder, "--version", told["parent"], *options)[1])
    assert again["version"] == told["version"]  # the same ratings: nothing new to make


def test_window_has_nothing_to_learn_from_ratings_alone_nor_dpo_without_comparisons(
    folder: Path,
) -> None:
    status, _, err = run_command(folder, "--from-ratings")
    assert status == 1 and "window learns from new images and a reward" in err
    status, _, err = run_command(folder, "--algorithm", "dpo")
    assert status == 1 and "0 comparisons with a preferred image, but dpo needs 20" in err


@pytest.mark.slow
def test_it_learns_from_compared_pairs(folder: Path) -> None:
    with open_workspace(folder) as ws:
        run = ws.session.exec(select(Run)).one()
        images = queries.runs.images_of_run(ws.session, run, settings_hash(run.settings))
        eyes = RednessEyes(make_tiny_generator(), SAMPLING)
        raters = simulated_raters(2, eyes.identity)
        pairs = create_campaign(
            ws, name="pairs", images=images, raters=raters, overlap=1, pairs=True
        )
        taken = simulate_campaign(ws, pairs, eyes=eyes, advance=lambda _: None)
        assert taken.new == 3 * 23 and taken.quarantined == 0  # 3 prompts, 24 images each
    status, out, err = run_command(folder, "--algorithm", "dpo", "--json")
    assert status == 0, err
    told = json.loads(out)
    assert told["reward_model"] is None and told["num_updates"] == 2
    with open_workspace(folder) as ws:
        made = ws.session.get_one(GeneratorVersion, told["version"])
        first, last = made.metrics["updates"]
        assert len(made.config["answers_sha256"]) == 64 and made.config["algorithm"] == "dpo"
        assert first["loss"] == pytest.approx(0.6931472, rel=1e-3)  # undecided: log 2
        assert last["loss"] != first["loss"] and last["squared_change"] > 0


@pytest.mark.slow
def test_a_ddpo_config_is_read_and_options_beside_it_are_stronger(
    folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "ddpo.json"
    values = {"num_epochs": 1, "sample_batch_size": 4, "sample_num_steps": 3}
    path.write_text(json.dumps({**values, "mixed_precision": "no", "sample_guidance_scale": 1.0}))
    command = ["rl-step", "--workspace", str(folder), "--from-ddpo-config", str(path), "--json"]
    result = CliRunner().invoke(cli.app, [*command, "--updates", "2"])
    assert result.exit_code == 0, result.stderr
    assert "DDPOConfig: prompts come 8 images at a time" in result.stderr
    with open_workspace(folder) as ws:
        told = json.loads(result.stdout)
        made = ws.session.get_one(GeneratorVersion, told["version"])
        assert made.config["algorithm"] == "ddpo" and made.config["num_steps"] == 3
        assert made.config["num_updates"] == 2 and made.config["group_size"] == 8


def test_what_cannot_be_run_is_one_line(folder: Path) -> None:
    status, out, err = run_command(folder, "--window", "9")
    assert (status, out) == (1, "")
    assert err.startswith("Error: These RL settings cannot be run: window_size lies in 1 .. num")
    assert len(err.splitlines()) == 1
