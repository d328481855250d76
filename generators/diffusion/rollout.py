"""Sampling with random steps, each with its log-probability: what the policy gradient learns from.

Tensor names carry shapes: B images, K stochastic steps; a name without a suffix has the shape of a
batch of latents.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from generators.base import Conditions, Trajectory
from generators.config import SamplingSettings
from generators.diffusion.guidance import predict
from generators.diffusion.samplers import (
    ComputeBatch,
    FirstOrder,
    batches,
    initial_noise,
    item_shape,
    repeat,
    step_noise,
)

ETA = 1.0  # the share of fresh noise in a random step: DDPM's variance


@dataclass(frozen=True)
class Rollout:
    """Sampled latents, with the steps that were random and how probable each was.

    Log-probabilities are *means* over latent elements (see `log_prob`). K is the number of random
    steps: the window's, without the chain's last step.
    """

    latents: Tensor  # [B, ...]
    x_t: Tensor  # [B, K, ...] before each random step
    x_next: Tensor  # [B, K, ...] after it
    timesteps_K: Tensor
    next_timesteps_K: Tensor
    log_probs_BK: Tensor
    kept: list["KeptPrediction"] = field(default_factory=list)  # whoever takes them empties it


@dataclass(frozen=True)
class KeptPrediction:
    """What was predicted for one random step of neighbouring images, with its autograd graph."""

    images: range  # of the rollout
    step: int  # in 0 .. K - 1
    prediction: Tensor


def log_prob(x_next: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Return the normal log-density, *averaged* over latent elements, constants kept: [B].

    The mean, not the sum, keeps the scale independent of the latents' size: clip ranges of its
    ratio are near 1e-4. A noiseless step (std 0) has no density and is refused.
    """
    if not bool((std > 0).all()):
        raise ValueError("a step without noise (std 0) has no log-probability")
    densities: Tensor = torch.distributions.Normal(mean, std).log_prob(x_next)
    return densities.flatten(1).mean(dim=1)


@torch.no_grad()
def rollout(
    generator: Trajectory,
    conditions: Conditions,
    seeds: Sequence[int],
    settings: SamplingSettings,
    window: range | None = None,
    *,
    keep: int = 0,
    branches: int = 1,
) -> Rollout:
    """Sample with first-order steps, random inside `window`, deterministic outside.

    Steps are numbered from 0, the noisiest. Without a window every step is random that can be: all
    but the last. Its deviation is 0 or nearly so, as spacing and offset have it, and its density
    would drown all others: it is never in. `settings.eta` is not used.
    The random steps of the first `keep` images, whole compute batches, keep their autograd graphs.
    Each `branches` neighbours, of equal conditions, grow from one root: the first one's noise, and
    the steps before the window, taken once. Inside the window each has its own seed's noise.
    """
    num_random = settings.num_steps - 1
    window = range(num_random) if window is None else window
    if settings.sampler != "ddim":
        raise ValueError("rollouts are made of first-order steps, --sampler ddim")
    if not window or window.step != 1 or window.start < 0 or window.stop > num_random:
        raise ValueError(f"{window} is no window inside {range(num_random)}")
    if len(seeds) % branches:
        raise ValueError(f"{len(seeds)} images do not grow {branches} from each root")
    roots = _grown_roots(generator, conditions, seeds, settings, window.start, branches)
    parts: list[Rollout] = []
    for batch in batches(generator, conditions, seeds, settings.batch_size):
        first = len(parts) * settings.batch_size
        images = range(first, first + batch.num_images)
        rows = torch.arange(first, first + len(batch.seeds)).clamp(max=images.stop - 1)
        kept = images if images.stop <= keep else None
        x_t = roots[rows // branches]
        parts.append(_rollout_batch(generator, batch, x_t, settings, window, kept))
    return Rollout(
        latents=torch.cat([part.latents for part in parts]),
        x_t=torch.cat([part.x_t for part in parts]),
        x_next=torch.cat([part.x_next for part in parts]),
        timesteps_K=parts[0].timesteps_K,
        next_timesteps_K=parts[0].next_timesteps_K,
        log_probs_BK=torch.cat([part.log_probs_BK for part in parts]),
        kept=[one for part in parts for one in part.kept],
    )


def _grown_roots(
    generator: Trajectory,
    conditions: Conditions,
    seeds: Sequence[int],
    settings: SamplingSettings,
    num_steps: int,
    branches: int,
) -> Tensor:
    """Return every root after the deterministic steps that its branches share: [B / branches, ...].

    A compute batch has as many roots as one of images has branches of.
    """
    ddim = FirstOrder(generator.process, settings)
    of_roots = conditions.select(range(0, len(seeds), branches))
    at_once = max(settings.batch_size // branches, 1)
    grown = []
    for batch in batches(generator, of_roots, seeds[::branches], at_once):
        shape = item_shape(generator, batch.conditions)
        x_t = initial_noise(batch.seeds, shape).to(generator.device)
        for step, t in enumerate(ddim.timesteps[:num_steps]):
            prediction = predict(generator, x_t, repeat(t, x_t), batch.conditions, settings)
            x_t, _ = ddim.mean_and_std(prediction, step, x_t, 0.0)
        grown.append(x_t[: batch.num_images])
    return torch.cat(grown)


def _rollout_batch(
    generator: Trajectory,
    batch: ComputeBatch,
    x_t: Tensor,
    settings: SamplingSettings,
    window: range,
    keep: range | None,
) -> Rollout:
    """Take the steps from the window's first on."""
    ddim = FirstOrder(generator.process, settings)
    before, after, log_probs, kept = [], [], [], []
    for step, t in list(enumerate(ddim.timesteps))[window.start :]:
        keeps = keep is not None and step in window
        with torch.set_grad_enabled(keeps):
            prediction = predict(generator, x_t, repeat(t, x_t), batch.conditions, settings)
            of_images = prediction[: batch.num_images]  # a slice outside would have no gradient
        if keep is not None and keeps:
            kept.append(KeptPrediction(keep, window.index(step), of_images))
            prediction = prediction.detach()
        mean, std = ddim.mean_and_std(prediction, step, x_t, ETA if step in window else 0.0)
        if step in window:
            before.append(x_t)
            x_t = mean + std * step_noise(batch.seeds, step, mean.shape[1:]).to(mean)
            after.append(x_t)
            log_probs.append(log_prob(x_t, mean, std))
        else:
            x_t = mean
    return Rollout(
        latents=x_t[: batch.num_images],
        x_t=torch.stack(before, dim=1)[: batch.num_images],
        x_next=torch.stack(after, dim=1)[: batch.num_images],
        timesteps_K=torch.tensor([ddim.timesteps[step] for step in window]),
        next_timesteps_K=torch.tensor([ddim.next_timesteps[step] for step in window]),
        log_probs_BK=torch.stack(log_probs, dim=1)[: batch.num_images],
        kept=kept,
    )
