"""The gradient of one update, from (image, step) pairs in micro-batches.

Shapes: B images, K trained steps, N = B x K pairs, image by image; a name without a suffix is a
batch of latents. Accumulated over micro-batches, the gradient equals the whole batch's.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from curate.rl.config import RLConfig
from curate.rl.kl_control import is_overspent
from curate.rl.loss import clipped_policy_loss, divergence, step_weights
from curate.rl.policy import Policy
from curate.rl.rollouts import Rewarded
from generators.base import Conditions, Schedule
from generators.config import SamplingSettings
from generators.sampling import log_prob, predict, stochastic_step

ETA = 1.0  # DDIM's share of fresh noise inside the window: DDPM's variance


@dataclass(frozen=True)
class Pairs:
    """Recorded steps with what each is worth; every field has N rows."""

    x_t: Tensor
    x_next: Tensor
    t_N: Tensor
    t_next_N: Tensor
    conditions: Conditions
    advantages_N: Tensor
    weights_N: Tensor
    rollout_log_probs_N: Tensor

    def select(self, rows: Tensor) -> "Pairs":
        """Return these pairs."""
        return Pairs(
            self.x_t[rows],
            self.x_next[rows],
            self.t_N[rows],
            self.t_next_N[rows],
            self.conditions.select(rows),
            self.advantages_N[rows],
            self.weights_N[rows],
            self.rollout_log_probs_N[rows],
        )


@dataclass(frozen=True)
class Gradient:
    """What accumulating the gradient showed; means are over all pairs."""

    loss: float
    clipped_fraction: float
    kl: float  # exact, in nats an image and step, from the frozen start
    squared_change: float  # of the predictions from the start's: what the budget counts
    ratio_deviation: float  # largest |ratio - 1| between training pass and rollout
    log_probs_N: Tensor  # of the training pass: the ratio's denominator in later inner epochs


def pairs_of(rewarded: Rewarded, advantages_B: Tensor, schedule: Schedule) -> Pairs:
    """Flatten the window's steps of all images into pairs; siblings' steps share an advantage."""
    made = rewarded.rollout
    num_images, num_steps = made.log_probs_BK.shape
    device = made.latents.device
    weights_K = step_weights(schedule, made.timesteps_K, made.next_timesteps_K, eta=ETA)
    return Pairs(
        x_t=made.x_t.flatten(0, 1),
        x_next=made.x_next.flatten(0, 1),
        t_N=made.timesteps_K.repeat(num_images),
        t_next_N=made.next_timesteps_K.repeat(num_images),
        conditions=rewarded.conditions.select(
            torch.arange(num_images).repeat_interleave(num_steps)
        ).to(device),
        advantages_N=advantages_B.repeat_interleave(num_steps).to(device),
        weights_N=weights_K.repeat(num_images).to(device),
        rollout_log_probs_N=made.log_probs_BK.flatten(),
    )


@torch.no_grad()
def start_predictions(policy: Policy, pairs: Pairs) -> Tensor:
    """Return what the frozen start predicts for every pair, in the training's own precision."""
    settings = training_settings(policy.config)
    with policy.at_start():
        parts = [
            predict(policy.generator, part.x_t, part.t_N, part.conditions, settings)
            for _, part in _micro_batches(pairs, policy.config.micro_batch)
        ]
    return torch.cat(parts)


def accumulate_gradient(
    policy: Policy,
    pairs: Pairs,
    start_predictions: Tensor,
    *,
    kl_weight: float,
    old_log_probs_N: Tensor | None = None,
) -> Gradient:
    """Add the gradient of the loss over all pairs to the weights.

    Without `old_log_probs_N` the pass itself is the denominator of the ratio (its gradient
    stopped): exactly 1 on policy, whatever precision the rollout had.
    """
    config, schedule = policy.config, policy.generator.schedule
    settings = training_settings(config)
    num_elements = pairs.x_t[0].numel()
    clip = config.clip_sum / num_elements
    totals = torch.zeros(4, dtype=torch.float64)
    log_probs = []
    for rows, part in _micro_batches(pairs, config.micro_batch):
        prediction = predict(policy.generator, part.x_t, part.t_N, part.conditions, settings)
        mean, std = stochastic_step(schedule, prediction, part.x_t, part.t_N, part.t_next_N, ETA)
        start = start_predictions[rows]
        start_mean, _ = stochastic_step(schedule, start, part.x_t, part.t_N, part.t_next_N, ETA)
        log_probs_N = log_prob(part.x_next, mean, std)
        old_N = log_probs_N.detach() if old_log_probs_N is None else old_log_probs_N[rows]
        policy_loss = clipped_policy_loss(
            log_probs_N, old_N, part.advantages_N, part.weights_N, clip=clip
        )
        moved = divergence(prediction, start, mean, start_mean, std)
        loss = policy_loss.loss + kl_weight * moved.squared_change
        share = len(rows) / len(pairs.t_N)
        # per image, not per latent element: else Adam's epsilon would swallow a large model's
        (loss * share * num_elements).backward()
        log_probs.append(log_probs_N.detach())
        totals += share * torch.tensor(
            [loss.item(), policy_loss.clipped_fraction, moved.step_kl, moved.squared_change.item()]
        )
    log_probs_N = torch.cat(log_probs)
    ratio_N = (log_probs_N - pairs.rollout_log_probs_N).exp()
    deviation = (ratio_N - 1).abs().max().item()
    loss_value, clipped_fraction, kl, squared_change = totals.tolist()
    return Gradient(loss_value, clipped_fraction, kl, squared_change, deviation, log_probs_N)


@dataclass(frozen=True)
class Learned:
    """What one update did to the weights."""

    gradient: Gradient  # of the first inner epoch: on policy
    clipped_fraction: float  # in the last inner epoch
    gradient_norm: float  # in the last inner epoch, before the cut; 0 when stopped
    stopped: bool  # the KL budget was overspent, the weights are as they were


def learn(policy: Policy, pairs: Pairs, *, kl_weight: float) -> Learned:
    """Move the weights once an inner epoch, unless the KL budget is overspent already."""
    start = start_predictions(policy, pairs)
    first = last = accumulate_gradient(policy, pairs, start, kl_weight=kl_weight)
    if is_overspent(first.squared_change, target=policy.config.kl_target):
        policy.optimizer.zero_grad(set_to_none=True)
        return Learned(first, first.clipped_fraction, 0.0, stopped=True)
    norm = policy.step()
    for _ in range(policy.config.inner_epochs - 1):
        last = accumulate_gradient(
            policy, pairs, start, kl_weight=kl_weight, old_log_probs_N=first.log_probs_N
        )
        norm = policy.step()
    return Learned(first, last.clipped_fraction, norm, stopped=False)


def training_settings(config: RLConfig) -> SamplingSettings:
    """Return how predictions are made in training: the rollout's, in the training's precision."""
    return SamplingSettings(
        num_steps=config.num_steps, guidance=config.guidance, dtype=config.training_dtype
    )


def _micro_batches(pairs: Pairs, size: int) -> Iterator[tuple[Tensor, Pairs]]:
    for rows in torch.arange(len(pairs.t_N)).split(size):
        yield rows, pairs.select(rows)
