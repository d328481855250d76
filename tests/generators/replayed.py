"""The recorded steps of a rollout, looked at again by the denoiser as it is now."""

from torch import Tensor

from generators.base import Conditions, Trajectory
from generators.config import SamplingSettings
from generators.diffusion.guidance import predict
from generators.diffusion.rollout import ETA, Rollout, log_prob


def step_log_prob(
    generator: Trajectory,
    conditions: Conditions,
    x_t: Tensor,
    x_next: Tensor,
    t_B: Tensor,
    t_next_B: Tensor,
    settings: SamplingSettings,
) -> Tensor:
    """Return log-probabilities [B] of steps, each with its own timesteps; differentiable."""
    prediction = predict(generator, x_t, t_B, conditions, settings)
    mean, std = generator.process.step(prediction, x_t, t_B, t_next_B, ETA)
    return log_prob(x_next, mean, std)


def log_prob_again(
    generator: Trajectory,
    conditions: Conditions,
    made: Rollout,
    step: int,
    settings: SamplingSettings,
) -> Tensor:
    """Return log-probabilities [B] of a rollout's random step, 0 the first."""
    num_images = len(made.x_t)
    return step_log_prob(
        generator,
        conditions,
        made.x_t[:, step],
        made.x_next[:, step],
        made.timesteps_K[step].expand(num_images),
        made.next_timesteps_K[step].expand(num_images),
        settings,
    )
