import dataclasses

import pytest
import torch
from torch import Tensor, nn

from generators.base import Conditions, Prompt
from generators.diffusion.generator import DiffusionGenerator
from generators.diffusion.networks import UNet
from generators.diffusion.process import VariancePreserving
from generators.training.loss import diffusion_loss, diffusion_losses, min_snr_weights

# alphas_cumprod 0.64 and 0.36: a, s are (0.8, 0.6) and (0.6, 0.8)
BETAS = {"num_train_timesteps": 2, "trained_betas": [0.36, 1 - 0.36 / 0.64]}


class TimesThree(nn.Module):
    """In the U-Net's place where a target must be worked out by hand."""

    def forward(self, x_t: Tensor, t_B: Tensor, **inputs: object) -> tuple[Tensor]:
        return (3 * x_t,)


def generator_with(tiny_generator: DiffusionGenerator, prediction_type: str) -> DiffusionGenerator:
    return dataclasses.replace(
        tiny_generator,
        denoiser=UNet(TimesThree()),
        process=VariancePreserving.from_config({**BETAS, "prediction_type": prediction_type}),
    )


@pytest.mark.parametrize(
    ("prediction_type", "by_hand"),
    [
        # image 1, noise 2. t = 0: x_t = 0.8 + 1.2 = 2, t = 1: x_t = 0.6 + 1.6 = 2.2
        ("epsilon", ((6 - 2) ** 2, (6.6 - 2) ** 2)),
        # v = a noise - s image: 1.6 - 0.6 = 1 and 1.2 - 0.8 = 0.4
        ("v_prediction", ((6 - 1) ** 2, (6.6 - 0.4) ** 2)),
    ],
)
def test_the_loss_is_the_squared_distance_to_the_target(
    tiny_generator: DiffusionGenerator, prediction_type: str, by_hand: tuple[float, float]
) -> None:
    generator = generator_with(tiny_generator, prediction_type)
    loss = diffusion_loss(
        generator,
        latents=torch.full((2, 4, 8, 8), 1.0),
        conditions=Conditions.of(tokens=torch.zeros(2, 1, 16)),
        timesteps=torch.tensor([0, 1]),
        noise=torch.full((2, 4, 8, 8), 2.0),
    )
    assert loss.item() == pytest.approx(sum(by_hand) / 2, rel=1e-5)


@pytest.mark.parametrize(
    ("prediction_type", "by_hand"),
    [
        # SNR = 0.64 / 0.36 = 16 / 9 and 0.36 / 0.64 = 9 / 16, gamma 1
        ("epsilon", [9 / 16, 1.0]),
        ("v_prediction", [1 / (16 / 9 + 1), (9 / 16) / (9 / 16 + 1)]),
    ],
)
def test_min_snr_weights_clamp_the_clean_timesteps(
    prediction_type: str, by_hand: list[float]
) -> None:
    schedule = VariancePreserving.from_config({**BETAS, "prediction_type": prediction_type})
    found = min_snr_weights(schedule, torch.tensor([0, 1]), gamma=1.0)
    assert found.tolist() == pytest.approx(by_hand, rel=1e-5)


def test_weights_multiply_each_images_error(tiny_generator: DiffusionGenerator) -> None:
    generator = generator_with(tiny_generator, "epsilon")
    loss = diffusion_loss(
        generator,
        latents=torch.full((2, 4, 8, 8), 1.0),
        conditions=Conditions.of(tokens=torch.zeros(2, 1, 16)),
        timesteps=torch.tensor([0, 1]),
        noise=torch.full((2, 4, 8, 8), 2.0),
        min_snr_gamma=1.0,
    )
    assert loss.item() == pytest.approx((16 * 9 / 16 + 4.6**2) / 2, rel=1e-5)


def test_a_few_steps_on_one_image_teach_a_real_u_net(tiny_generator: DiffusionGenerator) -> None:
    tiny_generator.denoiser.requires_grad_(True)
    optimiser = torch.optim.Adam(tiny_generator.denoiser.parameters(), lr=3e-3)
    draws = torch.Generator().manual_seed(0)
    conditions = tiny_generator.conditioner([Prompt("OCT", "drusen")] * 4)
    latents = torch.randn(1, 4, 8, 8, generator=draws).expand(4, -1, -1, -1)
    timesteps = torch.tensor([100, 300, 500, 700])
    noise = torch.randn(4, 4, 8, 8, generator=draws)
    losses = []
    for _ in range(20):
        loss = diffusion_loss(tiny_generator, latents, conditions, timesteps, noise)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_more_noise_may_go_in_than_is_asked_back(tiny_generator: DiffusionGenerator) -> None:
    generator = generator_with(tiny_generator, "epsilon")
    loss = diffusion_losses(
        generator,
        latents=torch.full((1, 4, 8, 8), 1.0),
        conditions=Conditions.of(tokens=torch.zeros(1, 1, 16)),
        timesteps=torch.tensor([0]),
        noise=torch.full((1, 4, 8, 8), 2.0),
        added_noise=torch.full((1, 4, 8, 8), 3.0),
    )
    # x_t = 0.8 + 0.6 * 3 = 2.6, asked back is 2
    assert loss.tolist() == pytest.approx([(3 * 2.6 - 2) ** 2], rel=1e-5)
