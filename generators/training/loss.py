"""The loss that every diffusion family is trained with. B images, then the latents' own axes."""

from torch import Tensor

from generators.base import Conditions, Process, Trajectory


def diffusion_loss(
    generator: Trajectory,
    latents: Tensor,
    conditions: Conditions,
    timesteps: Tensor,
    noise: Tensor,
    *,
    min_snr_gamma: float | None = None,
) -> Tensor:
    """Return the mean of `diffusion_losses`, a scalar."""
    return diffusion_losses(
        generator, latents, conditions, timesteps, noise, min_snr_gamma=min_snr_gamma
    ).mean()


def diffusion_losses(
    generator: Trajectory,
    latents: Tensor,
    conditions: Conditions,
    timesteps: Tensor,
    noise: Tensor,
    *,
    added_noise: Tensor | None = None,
    min_snr_gamma: float | None = None,
) -> Tensor:
    """Return the squared error [B] of the denoiser's prediction at `timesteps` [B].

    The target is what the process says. `added_noise`, where it is not the `noise`
    that is asked back, is what the latents are noised with (Ning et al. 2023). `min_snr_gamma` (5
    in Hang et al. 2023) weighs timesteps by the clamped signal-to-noise ratio; None weighs all
    alike.
    """
    process = generator.process
    target = process.target(latents, noise, timesteps)
    x_t = process.noised(latents, noise if added_noise is None else added_noise, timesteps)
    timesteps = timesteps.to(latents.device)
    prediction: Tensor = generator.denoiser(x_t, timesteps, conditions)
    loss_B: Tensor = (prediction.float() - target).square().flatten(1).mean(dim=1)
    if min_snr_gamma is not None:
        loss_B = loss_B * min_snr_weights(process, timesteps, min_snr_gamma).to(loss_B)
    return loss_B


def min_snr_weights(process: Process, timesteps: Tensor, gamma: float) -> Tensor:
    """Return float64 weights [B] on the CPU: Hang et al. 2023, section 3.4.

    min(SNR, gamma) / SNR for epsilon, min(SNR, gamma) / (SNR + 1) for v: whatever is predicted, it
    is the weight min(SNR, gamma) of the error in the image.
    """
    a_B, s_B = process.shares(timesteps)
    snr_B = (a_B / s_B).square()
    return snr_B.clamp(max=gamma) * process.clean_slope(timesteps).square()
