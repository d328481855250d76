"""A family that makes a sample in one step, as a GAN does: all but what needs a trajectory."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from curate.production.images import images_of
from generators.acceleration import accelerate
from generators.base import Conditions, Generator, Output, Prompt, require_trajectory
from generators.config import SamplingSettings
from generators.diffusion.samplers import initial_noise
from generators.errors import GeneratorError

SETTINGS = SamplingSettings(batch_size=2)


class OneStep:
    """Noise and the length of a text through one convolution."""

    family = "one-step"
    reads: frozenset[str] = frozenset()
    output = Output("intensity", (1, 8, 8))

    def __init__(self) -> None:
        self.network = nn.Conv2d(2, 1, 3, padding=1)

    @property
    def device(self) -> torch.device:
        return self.network.weight.device

    def condition(self, prompts: Sequence[Prompt]) -> Conditions:
        return Conditions.of(modulation=torch.tensor([[len(p.text) / 10] for p in prompts]))

    @torch.no_grad()
    def generate(
        self, conditions: Conditions, seeds: Sequence[int], settings: SamplingSettings
    ) -> Tensor:
        noise = initial_noise(seeds, (1, 8, 8))
        text = conditions.parts["modulation"][..., None, None].expand_as(noise)
        return torch.stack(
            [self.network(row[None])[0].sigmoid() for row in torch.cat([noise, text], dim=1)]
        )

    def to(self, device: torch.device | str) -> "OneStep":
        self.network.to(device)
        return self

    def save(self, folder: Path) -> None:
        torch.save(self.network.state_dict(), folder / "network.pt")


@pytest.fixture
def one_step() -> Generator:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return OneStep()


def test_it_makes_images_by_the_same_call(one_step: Generator) -> None:
    conditions = one_step.condition([Prompt("OCT", "drusen"), Prompt("OCT", "normal retina")])
    images = images_of(one_step, conditions, [1, 2], SETTINGS)
    assert images.shape == (2, *one_step.output.shape)
    again = images_of(one_step, conditions.select([1]), [2], SETTINGS)
    assert torch.equal(again[0], images[1])


def test_what_needs_a_trajectory_refuses_it_in_a_line(one_step: Generator) -> None:
    with pytest.raises(GeneratorError, match="'one-step' makes a sample in one step"):
        require_trajectory(one_step)
    with pytest.raises(GeneratorError, match="this needs denoising steps"):
        accelerate(one_step, SamplingSettings(channels_last=True))
    assert accelerate(one_step, SETTINGS) is one_step
