import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from sqlmodel import select

from curate.production.versions import load_version, save_version
from curate.samples.renderings import for_backbones, shown_to_backbones
from curate.training.rl import rl_step, run_folder
from curate.training.rl_step import doubts_about
from curate.workspace import Workspace, init_workspace, open_workspace
from db import queries
from db.models import AuditEvent, GeneratorVersion, Prompt, RewardModel
from generators.base import Prompt as PromptValue
from generators.base import Trajectory, require_trajectory
from generators.config import SamplingSettings
from generators.diffusion.generator import sample
from generators.rl.algorithms.base import Reward
from generators.rl.config import RLConfig
from generators.rl.progress import UpdateHealth
from generators.sample import Kind, Sample
from tests.children import ended, started
from tests.tiny import tiny_generator as make_tiny_generator

Small = Callable[..., RLConfig]


def add_start(ws: Workspace) -> tuple[GeneratorVersion, list[Prompt]]:
    """Return the tiny generator as a version of the workspace, and three prompts."""
    folder = ws.cache / "tiny"
    make_tiny_generator().save(folder)
    start = save_version(
        ws, folder, generator_name="tiny", family="text-to-image", how_made="imported"
    )
    texts = (("OCT", "drusen"), ("CXR", "normal"), ("Fundus", "normal"))
    return start, [
        queries.prompts.get_or_add_prompt(ws.session, modality=modality, text=text)
        for modality, text in texts
    ]


def latents_of(generator: Trajectory) -> torch.Tensor:
    conditions = generator.conditioner([PromptValue("OCT", "drusen")] * 2)
    return sample(generator, conditions, [0, 1], SamplingSettings(num_steps=3, batch_size=2))


@pytest.mark.parametrize("rank", [0, 2])
def test_a_step_makes_a_version_with_its_parent_that_makes_other_images(
    workspace: Workspace, small: Small, brightness: Reward, rank: int
) -> None:
    start, prompts = add_start(workspace)
    # full weights move much further at an adapter's rate, and would spend the budget at once
    config = small(lora_rank=rank, learning_rate=1e-2 if rank else 1e-3)
    version = rl_step(workspace, config, start=start, prompts=prompts, reward=brightness)
    assert version.parent_id == start.id and version.generator_name == "tiny"
    assert version.how_made == "rl-step" and version.weights == ("lora" if rank else "full")
    assert RLConfig.from_json({k: v for k, v in version.config.items() if k != "prompt_ids"}) == (
        config
    )
    assert version.config["prompt_ids"] == [prompt.id for prompt in prompts]
    assert [health["update"] for health in version.metrics["updates"]] == [0, 1]
    assert version.metrics["concerns"][0].startswith("8 images an update")
    assert not version.metrics["stopped"]
    before, after = (
        latents_of(require_trajectory(load_version(workspace, id_)))
        for id_ in (start.id, version.id)
    )
    assert (before - after).abs().max() > 1e-4


def test_the_checkpoint_is_gone_and_the_step_is_in_the_audit_trail(
    workspace: Workspace, small: Small, brightness: Reward
) -> None:
    start, prompts = add_start(workspace)
    version = rl_step(workspace, small(), start=start, prompts=prompts, reward=brightness)
    ids = [prompt.id for prompt in prompts]
    made_with = {**small().to_json(), "prompt_ids": ids}
    assert not run_folder(workspace, made_with, start.id, None).exists()
    events = workspace.session.exec(select(AuditEvent).where(AuditEvent.command == "rl-step"))
    assert [event.details["version"] for event in events] == [version.id]


def test_a_step_from_a_step_stands_on_both_adapters(
    workspace: Workspace, small: Small, brightness: Reward
) -> None:
    start, prompts = add_start(workspace)
    first = rl_step(workspace, small(), start=start, prompts=prompts, reward=brightness)
    second = rl_step(workspace, small(seed=1), start=first, prompts=prompts, reward=brightness)
    assert second.parent_id == first.id
    assert second.metrics["updates"][0]["ratio_deviation"] < 1e-4
    assert second.metrics["updates"][0]["kl"] == 0.0  # the anchor is the version it started from


@pytest.mark.parametrize(
    ("held_out", "said"),
    [
        ({"spearman": 0.6}, []),
        ({"spearman": 0.35}, ["rank correlation 0.35, and 0.6 is needed"]),
        ({"spearman": None}, ["too few to test"]),
        ({}, ["too few to test"]),
    ],
)
def test_a_weak_reward_model_is_doubted(held_out: dict, said: list[str]) -> None:
    model = RewardModel(
        id="a" * 64,
        backbone="embedded",
        file_sha256="b" * 64,
        simulated=True,
        num_ratings=1,
        metrics={"held_out": held_out},
    )
    doubts = doubts_about(model)
    assert len(doubts) == len(said)
    assert all(part in doubt for part, doubt in zip(said, doubts, strict=True))


def step_in_a_process(folder: Path, config: RLConfig) -> None:
    """Take the step of a workspace that has its start, saying each update and then the version."""

    def brightness(images: torch.Tensor, prompts: object) -> tuple[torch.Tensor, torch.Tensor]:
        mean_B = images.mean(dim=(1, 2, 3))
        return mean_B, torch.zeros_like(mean_B)

    with open_workspace(folder) as ws:
        start, prompts = add_start(ws)
        version = rl_step(
            ws,
            config,
            start=start,
            prompts=prompts,
            reward=brightness,
            report=lambda health: print(health.update, flush=True),
        )
        print(version.id, flush=True)


@pytest.mark.slow
def test_killed_and_started_again_it_ends_with_the_same_version(
    tmp_path: Path, small: Small, brightness: Reward
) -> None:
    config = small(num_updates=7)
    init_workspace(tmp_path / "whole")
    with open_workspace(tmp_path / "whole") as ws:
        start, prompts = add_start(ws)
        whole = rl_step(ws, config, start=start, prompts=prompts, reward=brightness).id
    init_workspace(tmp_path / "killed")

    said = [tmp_path / "killed.txt", tmp_path / "ended.txt"]
    child = started(step_in_a_process, tmp_path / "killed", config, said=said[0])
    while child.is_alive() and (not said[0].exists() or said[0].read_text().count("\n") < 2):
        time.sleep(0.005)
    child.join(random.uniform(0, 0.1))  # into the next update, at no special moment
    child.kill()
    child.join()
    assert child.exitcode == -signal.SIGKILL, said[0].read_text()
    assert ended(step_in_a_process, tmp_path / "killed", config, said=said[1]) == 0
    begun = [int(path.read_text().split()[0]) for path in said]
    assert begun[0] == 0 and begun[1] >= 2  # it went on where it was killed
    assert said[1].read_text().split()[-1] == whole


@pytest.mark.parametrize("kind", ["intensity", "HU"])
@pytest.mark.parametrize("shape", [(1, 6, 5), (3, 6, 5), (1, 12, 6, 5), (1, 4, 6, 5)])
def test_rl_shows_a_reward_model_what_scoring_shows_it(kind: Kind, shape: tuple[int, ...]) -> None:
    if kind == "HU" and shape[0] == 3:
        return  # no colour in HU
    made = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
    if kind == "HU":
        made = (made * 3000 - 1500).round()  # beyond the window at both ends
    stored = torch.stack([for_backbones(Sample(one.numpy(), kind)) for one in made])
    made.requires_grad_(True)
    shown = shown_to_backbones(made, kind)
    torch.testing.assert_close(shown.detach(), stored, rtol=0, atol=1e-6)
    shown.sum().backward()
    assert made.grad is not None and made.grad.abs().sum() > 0


def test_an_rl_step_reads_no_row_while_it_lasts(
    workspace: Workspace, small: Callable[..., RLConfig], brightness: Reward
) -> None:
    start, prompts = add_start(workspace)
    start_id = start.id

    def emptying(health: UpdateHealth) -> None:
        if start in workspace.session:
            workspace.session.expire(start)
            workspace.session.expunge(start)

    made = rl_step(
        workspace, small(), start=start, prompts=prompts, reward=brightness, report=emptying
    )
    assert (made.parent_id, made.generator_name) == (start_id, "tiny")
