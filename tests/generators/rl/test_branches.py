"""Siblings that grow from one root: shared noise, steps before the window taken and paid once."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler
from safetensors.torch import load_file
from torch import Tensor

from generators.base import Prompt
from generators.config import SamplingSettings
from generators.diffusion.generator import DiffusionGenerator
from generators.diffusion.rollout import rollout
from generators.diffusion.samplers import initial_noise, step_noise
from generators.errors import GeneratorError
from generators.rl.algorithms.base import Reward
from generators.rl.config import USUAL, RLConfig, usual
from generators.rl.estimate import evaluations_of_update
from generators.rl.training import Conduct, Rollouts, train
from tests.children import ended
from tests.tiny import tiny_generator as make_tiny_generator

Small = Callable[..., RLConfig]
LATENT = (4, 8, 8)


def die_in_a_rollout(prompts: list[Prompt], config: RLConfig, folder: Path) -> None:
    """Train, and be killed in the second update, between the window's random steps."""

    def brightness(images: Tensor, prompts: object) -> tuple[Tensor, Tensor]:
        mean_B = images.mean(dim=(1, 2, 3))
        return mean_B, torch.zeros_like(mean_B)

    written: list[object] = []
    random_steps = []

    def die_inside_the_window(unet: torch.nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if written and len(inputs[0]) == 8:  # all images of an update: its roots are two a batch
            random_steps.append(1)
            if len(random_steps) == 2:
                os.kill(os.getpid(), signal.SIGKILL)

    generator = make_tiny_generator()
    generator.denoiser.network.register_forward_pre_hook(die_inside_the_window)
    train(generator, Rollouts(prompts, brightness), config, Conduct(folder, written.append))


def test_branches_leave_one_root_inside_the_window(tiny_generator: DiffusionGenerator) -> None:
    """By diffusers' own scheduler: six images of two roots, the third and fourth step random."""
    seeds, window = [3, 1, 4, 15, 9, 26], range(2, 4)
    conditions = tiny_generator.conditioner([Prompt("OCT", "drusen"), Prompt("CXR", "normal")])
    conditions = conditions.select([0, 0, 0, 1, 1, 1])
    settings = SamplingSettings(num_steps=5, batch_size=6)
    made = rollout(tiny_generator, conditions, seeds, settings, window, branches=3)
    scheduler = DDIMScheduler.from_config(dict(tiny_generator.process.config))
    scheduler.set_timesteps(5)
    x_t = initial_noise([3, 3, 3, 15, 15, 15], LATENT)  # a root has its first branch's noise
    for step, t in enumerate(scheduler.timesteps):
        if step == 2:
            torch.testing.assert_close(made.x_t[:, 0], x_t, rtol=1e-5, atol=1e-5)
            assert torch.equal(made.x_t[0, 0], made.x_t[2, 0])
        with torch.no_grad():
            v = tiny_generator.denoiser.network(x_t, t, conditions.parts["tokens"]).sample
        noise = step_noise(seeds, step, LATENT)  # from there on each has its own
        random = {"eta": 1.0, "variance_noise": noise} if step in window else {}
        x_t = scheduler.step(v, t, x_t, **random).prev_sample
    torch.testing.assert_close(made.latents, x_t, rtol=1e-5, atol=1e-5)


def test_the_steps_before_the_window_are_taken_once_a_root(
    tiny_generator: DiffusionGenerator,
) -> None:
    seen: list[int] = []
    tiny_generator.denoiser.network.register_forward_pre_hook(
        lambda unet, inputs: seen.append(len(inputs[0]))
    )
    conditions = tiny_generator.conditioner([Prompt("OCT", "drusen")]).select([0] * 16)
    settings = SamplingSettings(num_steps=5, batch_size=8)
    rollout(tiny_generator, conditions, range(16), settings, range(3, 4), branches=4)
    assert seen == 2 * 3 * [2] + 2 * 2 * [8]  # two compute batches of each kind
    with pytest.raises(ValueError, match="6 images do not grow 4 from each root"):
        rollout(tiny_generator, conditions.select(range(6)), range(6), settings, branches=4)


def test_an_update_of_branches_is_priced_by_hand() -> None:
    """64 images in 10 steps, 2 of them random from the sixth on; 5 steps are 8 or 16 roots' own."""
    plain = RLConfig(window_start=5)
    trained = 64 * 2 * (3 + 1)  # forward, backward, and the frozen start's prediction
    assert evaluations_of_update(plain) == 64 * 10 + trained
    assert evaluations_of_update(RLConfig(window_start=5, branches=4)) == 16 * 5 + 64 * 5 + trained
    assert evaluations_of_update(RLConfig(window_start=5, branches=8)) == 8 * 5 + 64 * 5 + trained
    guided = RLConfig(window_start=5, branches=8, guidance=2.0)
    assert evaluations_of_update(guided) == 2 * evaluations_of_update(
        RLConfig(window_start=5, branches=8)
    )


@pytest.mark.parametrize("algorithm", ["nft", "draft", "dpo"])
def test_who_has_no_random_steps_cannot_branch(algorithm: str) -> None:
    with pytest.raises(GeneratorError, match=f"{algorithm} has none: its branches are 1") as found:
        RLConfig(algorithm=algorithm, branches=4)
    assert "\n" not in str(found.value)


def test_a_group_is_roots_times_branches() -> None:
    with pytest.raises(GeneratorError, match="group_size is roots x branches"):
        RLConfig(group_size=8, branches=3)
    assert usual().branches == USUAL["window"]["branches"] > 1
    assert usual(group_size=6).branches == 1  # as many roots, as ever
    assert usual(group_size=6, branches=3).branches == 3


def test_settings_without_branches_are_written_as_before_there_were_any() -> None:
    plain, branched = RLConfig().to_json(), RLConfig(branches=4).to_json()
    assert "branches" not in plain and branched == {**plain, "branches": 4}
    assert RLConfig.from_json(plain).branches == 1
    assert RLConfig.from_json(branched) == RLConfig(branches=4)


@pytest.mark.slow
def test_killed_in_a_branching_rollout_it_ends_with_the_same_weights(
    small: Small, prompts: list[Prompt], brightness: Reward, tmp_path: Path
) -> None:
    config = small(num_updates=3, branches=4, window_start=1)
    folders = {name: tmp_path / name for name in ("whole", "killed")}
    assert ended(die_in_a_rollout, prompts, config, folders["killed"]) == -signal.SIGKILL
    assert len((folders["killed"] / "updates.jsonl").read_text().splitlines()) == 1
    ends: dict[str, dict[str, Tensor]] = {}
    for name, folder in folders.items():
        train(
            make_tiny_generator(),
            Rollouts(prompts, brightness),
            config,
            Conduct(folder, lambda h: None),
        )
        ends[name] = load_file(folder / "checkpoint.safetensors")
    assert all(torch.equal(ends["whole"][key], ends["killed"][key]) for key in ends["whole"])
