"""A round taken by single commands is the round that the loop itself would have made."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import cli
from curate.errors import CurateError
from curate.loop.config import LoopConfig
from curate.loop.raters import check_loops_eyes
from curate.loop.rounds import run_loop
from curate.production.versions import save_version
from curate.rating import eyes as eyes_of_raters
from curate.rating.raters import Raters
from curate.workspace import init_workspace, open_workspace
from db import queries
from generators.config import SamplingSettings
from generators.diffusion.generator import DiffusionGenerator
from generators.rl.config import usual
from tests.curate.loop.eyes import RednessEyes

PROMPTS = [("OCT", "normal"), ("OCT", "drusen"), ("CXR", "normal")]
SAMPLING = SamplingSettings(num_steps=3)
RL = usual(num_updates=1, prompts_per_update=2, group_size=4, num_steps=3, kl_target=1e-3)
BY_HAND = [
    ["generate", "--prompts", "prompts.csv", "--count", "14", "--steps", "3"],
    ["rate", "simulate", "--controls", "0", "--repeats", "0"],
    ["train-reward"],
    [
        *("rl-step", "--updates", "1", "--prompts-per-update", "2", "--group-size", "4"),
        *("--steps", "3", "--kl-target", "0.001"),
    ],
    ["gate"],
]


@pytest.fixture
def study(
    tmp_path: Path, tiny_generator: DiffusionGenerator, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A workspace with one generator version, and a sheet of prompts beside it."""
    init_workspace(tmp_path / "study")
    tiny_generator.save(tmp_path / "tiny")
    with open_workspace(tmp_path / "study") as ws:
        save_version(
            ws, tmp_path / "tiny", generator_name="t", family="text-to-image", how_made="imported"
        )
    lines = [f"{modality},{text}" for modality, text in PROMPTS]
    (tmp_path / "prompts.csv").write_text("\n".join(["modality,text", *lines]))
    monkeypatch.chdir(tmp_path)
    eyes = RednessEyes(tiny_generator, SAMPLING)  # the shipped ones find all noise alike
    monkeypatch.setattr(eyes_of_raters, "load_eyes", lambda: eyes)
    return tmp_path / "study"


def run(study: Path, *arguments: str, status: int = 0) -> str:
    result = CliRunner().invoke(cli.app, [*arguments, "--workspace", str(study)])
    assert result.exit_code == status, result.output
    return result.output


def by_hand(study: Path, *arguments: str, status: int = 0) -> str:
    return run(study, *arguments, "--loop", "first", status=status)


def row_of(study: Path) -> dict[str, Any]:
    """The round's row, without the time and what hashes ids by chance."""
    with open_workspace(study) as ws:
        row = queries.rounds.find_round(ws.session, "first", 1)
        assert row is not None
        values = row.model_dump(mode="json")
    by_chance = ("id", "campaign_id", "reward_model_id", "gate_campaign_id")
    assert all(values.pop(name) for name in (*by_chance, "created_at", "updated_at"))
    return values


def by_the_loop(study: Path, eyes: RednessEyes) -> None:
    config = LoopConfig(name="first", images_per_prompt=14, sampling=SAMPLING, rl=RL)
    with open_workspace(study) as ws:
        run_loop(
            ws,
            config,
            rounds=1,
            base=queries.versions.find_version(ws.session, "latest"),
            prompts=[
                queries.prompts.get_or_add_prompt(ws.session, modality=modality, text=text)
                for modality, text in PROMPTS
            ],
            raters=Raters(eyes=eyes),
            say=lambda line: None,
        )


@pytest.mark.slow
def test_single_commands_write_the_row_that_the_loop_writes_and_it_goes_on(
    study: Path, tiny_generator: DiffusionGenerator
) -> None:
    shutil.copytree(study, study.with_name("other"))
    states = []
    for command in BY_HAND:
        by_hand(study, *command)
        with open_workspace(study) as ws:
            (row,) = queries.rounds.rounds(ws.session, "first")
            states.append(row.state)
        if row.state == "trained":  # another result for a step that is done is refused
            said = by_hand(study, "train-reward", "--seed", "1", status=1)
            assert "has its reward model already" in said
    assert states[:-1] == ["generated", "rated", "trained", "stepped"]
    assert states[-1] in ("promoted", "rejected")
    by_the_loop(study.with_name("other"), RednessEyes(tiny_generator, SAMPLING))
    assert row_of(study) == row_of(study.with_name("other"))  # the same weights, the same verdict
    before = json.loads(run(study, "status", "--json"))
    for command in BY_HAND[1:]:
        by_hand(study, *command)
    run(study, "loop", "--name", "first")
    assert json.loads(run(study, "status", "--json")) == before


def test_a_command_before_its_turn_names_the_one_that_comes_first(study: Path) -> None:
    assert "curate generate --loop first" in by_hand(study, "train-reward", status=1)
    by_hand(study, *BY_HAND[0])
    assert "before `curate gate` comes `curate rate push`" in by_hand(study, "gate", status=1)
    assert "other settings" in by_hand(study, *BY_HAND[0][:-2], status=1)


@pytest.mark.slow
def test_a_loop_goes_on_with_the_eyes_that_it_was_begun_with(
    study: Path, tiny_generator: DiffusionGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_hand(study, *BY_HAND[0])
    by_hand(study, *BY_HAND[1])
    others = RednessEyes(tiny_generator, SAMPLING)
    others.identity = "0" * 64
    with open_workspace(study) as ws:
        check_loops_eyes(ws, "another loop", others)
        with pytest.raises(CurateError, match="Loop 'first' was begun .* eyes are 0f48b472343c"):
            check_loops_eyes(ws, "first", others)
    monkeypatch.setattr(eyes_of_raters, "load_eyes", lambda: others)
    assert "Loop 'first' was begun" in run(study, "loop", "--name", "first", status=1)
    assert "Loop 'first' was begun" in by_hand(study, *BY_HAND[1], status=1)
