"""The one-step family: it learns masks and texts against a critic, and has no trajectory."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from curate.clinical.chests import LUNGS, Planted, chest
from generators import registry
from generators.base import Prompt, Trainable, Trajectory, require_trajectory
from generators.beginning import Beginning
from generators.clinical.config import ClinicalSettings
from generators.config import SamplingSettings
from generators.diffusion.samplers import initial_noise
from generators.errors import GeneratorError
from generators.families.clinical_gan import TRAINING, ClinicalGan, create
from generators.sample import Sample
from generators.training.adversarial import correlations, likeness_losses
from generators.training.checkpoint import CHECKPOINT
from generators.training.config import TrainingConfig
from generators.training.history import History
from generators.training.lesson import Example, Lesson, Pool
from generators.training.loop import Trained, train
from tests.generators.families.test_clinical import SMALL, cases, flat, prompt_of

SETTINGS = SamplingSettings(batch_size=2)
SIDE = 8
QUICK = dataclasses.replace(
    TRAINING, num_steps=5, batch_size=4, micro_batch=2, checkpoint_every=2, validate_every=4
)


class Stopped(Exception):
    """Stands for a kill: nothing after it runs."""


def begun(examples: list[tuple[Sample, Prompt]], **settings: Any) -> ClinicalGan:
    return create(ClinicalSettings(**{**SMALL, **settings}), Beginning(examples, seed=1))


def shaken(generator: ClinicalGan) -> ClinicalGan:
    """Give every weight that is 0 at first a value, as if it had learned something."""
    draws = torch.Generator().manual_seed(0)
    for weight in generator.denoiser.parameters():
        if not weight.any():
            weight.normal_(0, 0.2, generator=draws)
    return generator


def lesson(generator: Trainable, examples: list[tuple[Sample, Prompt]]) -> Lesson:
    latents = {
        str(n): generator.codec.encode(torch.from_numpy(image.array)[None])[0]
        for n, (image, _) in enumerate(examples)
    }
    shown = [Example(str(n), prompt, "ChestCT") for n, (_, prompt) in enumerate(examples)]
    held_out = max(1, len(shown) // 8)
    return Lesson(
        [Pool(shown[held_out:])],
        shown[:held_out],
        latents.__getitem__,
        lambda prompt: generator.condition([prompt]),
    )


def trained(
    config: TrainingConfig,
    folder: Path,
    examples: list[tuple[Sample, Prompt]],
    stop_after: int | None = None,
) -> Trained:
    generator = begun(examples)

    def report(history: History) -> None:
        if history.num_steps == stop_after:
            raise Stopped

    return train(generator, lesson(generator, examples), config, folder=folder, report=report)


@pytest.mark.parametrize("axes", [2, 3])
def test_what_was_saved_makes_the_same_bytes_alone_and_among_others(
    axes: int, tmp_path: Path
) -> None:
    examples = cases() if axes == 3 else flat(cases())
    generator = shaken(begun(examples, fusion=("region", "affine", "cross-attention")))
    generator.save(tmp_path / "one")
    assert registry.family_of(tmp_path / "one") == "clinical-gan"
    opened = registry.load("clinical-gan", tmp_path / "one")
    prompts = [prompt for _, prompt in examples]
    several = generator.generate(generator.condition(prompts), [1, 2, 3, 4], SETTINGS)
    assert several.shape == (4, 1, *(SIDE,) * axes)
    assert several.min() >= -1024 and several.max() <= 1024 and several.std() > 1
    for place, prompt in enumerate(prompts):
        alone = opened.generate(opened.condition([prompt]), [place + 1], SETTINGS)
        assert torch.equal(several[place : place + 1], alone)
    opened.save(tmp_path / "two")
    files = sorted(path for path in (tmp_path / "one").rglob("*") if path.is_file())
    assert any(path.parent.name == "critic" for path in files)
    for path in files:
        again = tmp_path / "two" / path.relative_to(tmp_path / "one")
        assert again.read_bytes() == path.read_bytes(), path.name


def test_a_larger_volume_is_the_mean_of_its_windows() -> None:
    generator = shaken(begun(cases(12)))
    large = [prompt_of(chest(number, 12)) for number in range(2)]
    conditions = generator.condition(large)
    several = generator.generate(conditions, [4, 5], SETTINGS)
    alone = generator.generate(generator.condition(large[1:]), [5], SETTINGS)
    assert several.shape == (2, 1, 12, 12, 12) and torch.equal(several[1:], alone)
    apart = dataclasses.replace(SETTINGS, window=(12, 12, 12))  # all of it at once
    whole = generator.generate(conditions, [4, 5], apart)
    assert not torch.equal(whole, several)
    # a voxel that one window alone has seen is that window's own
    corner = [dataclasses.replace(p, images={"mask": cut(p.images["mask"])}) for p in large]
    noise = torch.stack([noise_of(seed, 12)[:, :SIDE, :SIDE, :SIDE] for seed in (4, 5)])
    with torch.no_grad():
        made = generator.made_of(noise, generator.condition(corner))
    own = generator.codec.decode(made)[:, :, :4, :4, :4]  # windows of 8 begin at 0 and 4
    torch.testing.assert_close(several[:, :, :4, :4, :4], own, rtol=0, atol=1e-2)


def cut(mask: Sample) -> Sample:
    return Sample(np.ascontiguousarray(mask.array[:, :SIDE, :SIDE, :SIDE]), "labels")


def noise_of(seed: int, side: int) -> Tensor:
    return initial_noise([seed], (1, side, side, side))[0]


def test_it_has_no_trajectory_and_says_so_in_a_line() -> None:
    generator = begun(cases())
    assert isinstance(generator, Trainable) and not isinstance(generator, Trajectory)
    says = "'clinical-gan' makes a sample in one step, and this needs denoising steps"
    with pytest.raises(GeneratorError, match=says):
        require_trajectory(generator)
    conditions = generator.condition([prompt for _, prompt in cases(1)])
    several: tuple[dict[str, Any], ...] = ({"guidance": 2.0}, {"strength": 0.5}, {"eta": 1.0})
    for settings in several:
        with pytest.raises(GeneratorError, match="one step: there is nothing to guide"):
            generator.generate(conditions, [0], SamplingSettings(**settings))
    levels: tuple[dict[str, Any], ...] = (
        {"noisy_share": 0.1},
        {"input_perturbation": 0.1},
        {"prediction_type": "epsilon"},
    )
    for one in levels:
        with pytest.raises(GeneratorError, match=f"omit --{next(iter(one)).replace('_', '-')}"):
            generator.objective(dataclasses.replace(TRAINING, **one))


ADAPTERS = {"lora_rank": 2, "lora_targets": "attention+convolutions", "train_text_encoder": False}


@pytest.mark.parametrize(("stop_after", "changes"), [(3, {}), (1, ADAPTERS)])
def test_killed_and_gone_on_with_both_networks_and_optimisers_are_the_same_to_the_bit(
    stop_after: int, changes: dict[str, Any], tmp_path: Path
) -> None:
    examples, config = cases(8), dataclasses.replace(QUICK, **changes)
    whole = trained(config, tmp_path / "whole", examples)
    with pytest.raises(Stopped):
        trained(config, tmp_path / "stopped", examples, stop_after)
    resumed = trained(config, tmp_path / "stopped", examples)
    assert whole.history.losses == resumed.history.losses
    assert whole.history.validations == resumed.history.validations
    kept = [tmp_path / name / CHECKPOINT for name in ("whole", "stopped")]
    one, other = map(load_file, kept)
    assert one.keys() == other.keys()
    text = {"weight/text_encoder."} if config.train_text_encoder else set()
    for kind in {"weight/denoiser.", "weight/critic."} | text:
        assert any(name.startswith(kind) for name in one)
    for network in ("denoiser", "critic"):  # what each optimiser remembers
        assert any(name.startswith(f"optimizer.exp_avg_sq/{network}.") for name in one)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_generator_and_critic_each_follow_their_own_loss() -> None:
    examples = cases(4)
    generator = shaken(begun(examples))
    objective = generator.objective(TRAINING)
    generator.denoiser.requires_grad_(True)
    real = lesson(generator, examples).latents("0")[None]
    conditions = generator.condition([examples[0][1]])
    noise = noise_of(7, SIDE)[None]
    slot: Any = type("Slot", (), {"noise": noise[0]})
    objective.losses(real, conditions, [slot]).sum().backward()
    of_generator = [p.grad.clone() for p in generator.denoiser.parameters() if p.grad is not None]
    of_critic = [p.grad.clone() for p in generator.critic.parameters() if p.grad is not None]
    generator.denoiser.zero_grad()
    generator.critic.zero_grad()

    # the same by hand, one network at a time
    masks = conditions.parts["channels"]
    made = generator.made_of(noise, conditions)
    a, b = made.detach().flatten().double(), real.flatten().double()
    r = np.corrcoef(a.numpy(), b.numpy())[0, 1]
    assert correlations(made, real).item() == pytest.approx(r, abs=1e-5)
    alike = 2 * (a - b).square().mean().item() + 0.5 * (1 - r**2)
    assert likeness_losses(made, real).item() == pytest.approx(alike, rel=1e-4)
    believed = (generator.critic(made, masks) - 1).square().mean()
    (believed + likeness_losses(made, real).sum()).backward()
    reached = [p.grad for p in generator.denoiser.parameters() if p.grad is not None]
    for grad, again in zip(of_generator, reached, strict=True):
        torch.testing.assert_close(grad, again)
    generator.critic.zero_grad()
    told = generator.critic(made.detach(), masks).square().mean()
    trusted = (generator.critic(real, masks) - 1).square().mean()
    ((told + trusted) / 2).backward()
    for grad, weight in zip(of_critic, generator.critic.parameters(), strict=True):
        assert weight.grad is not None
        torch.testing.assert_close(grad, weight.grad)


def test_it_learns_masks_and_what_a_field_does(tmp_path: Path) -> None:
    several = [chest(number, SIDE, Planted(smoking=400.0)) for number in range(64)]
    config = dataclasses.replace(
        TRAINING, num_steps=90, batch_size=8, micro_batch=8, learning_rate=5e-3
    )
    done = trained(config, tmp_path, [(case.image, prompt_of(case)) for case in several])
    validations = done.history.validations
    first, last = (sum(validations[place].losses["ChestCT"]) for place in (0, -1))
    assert last < first / 4
    generator: Any = done.weights.generator
    new = [chest(1000 + number, SIDE) for number in range(4)]
    lungs = np.stack([np.isin(case.mask.array, LUNGS) for case in new])
    made = []
    with done.weights.at(done.weights.averages):
        for value in ("never", "current"):
            prompts = [dataclasses.replace(prompt_of(c), record={"smoking": value}) for c in new]
            images = generator.generate(generator.condition(prompts), range(4), SETTINGS)
            made.append(images.numpy())
    assert abs(made[0][lungs].mean() + 800) < 150
    change = made[1] - made[0]
    assert change[lungs].mean() > 80 > 3 * abs(change[~lungs].mean())
