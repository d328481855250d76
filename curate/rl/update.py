"""The gradient of one update, from its examples in micro-batches, and the step that it takes.

Accumulated over micro-batches, the gradient equals that of all N examples at once.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from curate.rl.algorithms.base import Examples
from curate.rl.kl_control import is_overspent
from curate.rl.policy import Policy
from curate.rl.predictions import micro_batches, predictions, training_settings
from generators.sampling import predict


@dataclass(frozen=True)
class Gradient:
    """What accumulating the gradient showed; means are over all examples."""

    loss: float  # with the anchor
    clipped_fraction: float
    kl: float | None  # exact, in nats an image and step, from the frozen start; of random steps
    squared_change: float  # of the predictions from the start's: what the budget counts
    ratio_deviation: float  # largest |ratio - 1| between training pass and rollout


def start_predictions(policy: Policy, examples: Examples) -> Tensor:
    """Return what the frozen start predicts for every example."""
    of_examples = (examples.x_t, examples.t_N, examples.conditions, examples.guidance)
    with policy.at_start():
        return predictions(policy.generator, policy.config, *of_examples)


def accumulate_gradient(
    policy: Policy, examples: Examples, start: Tensor, *, kl_weight: float
) -> Gradient:
    """Add the gradient of loss and anchor over all examples to the weights."""
    settings = training_settings(policy.config, examples.guidance)
    num_rows = len(examples.t_N)
    totals, deviation = torch.zeros(4, dtype=torch.float64), 0.0
    for rows in micro_batches(num_rows, policy.config):
        prediction = predict(
            policy.generator,
            examples.x_t[rows],
            examples.t_N[rows],
            examples.conditions.select(rows),
            settings,
        )
        found = examples.loss(prediction, start[rows], rows)
        squared_change = (prediction - start[rows]).square().mean()
        loss = found.loss + kl_weight * squared_change
        share = len(rows) / num_rows
        (loss * share * examples.scale).backward()
        figures = [loss.item(), found.clipped_fraction, squared_change.item(), found.kl or 0.0]
        totals += share * torch.tensor(figures, dtype=torch.float64)
        deviation = max(deviation, found.ratio_deviation)
    loss_value, clipped_fraction, change, kl = totals.tolist()
    return Gradient(
        loss=loss_value,
        clipped_fraction=clipped_fraction,
        kl=None if found.kl is None else kl,
        squared_change=change,
        ratio_deviation=deviation,
    )


@dataclass(frozen=True)
class Learned:
    """What one update did to the weights."""

    gradient: Gradient  # of the first inner epoch: on policy
    clipped_fraction: float  # in the last inner epoch
    gradient_norm: float  # in the last inner epoch, before the cut; 0 when stopped
    stopped: bool  # the KL budget was overspent, the weights are as they were


def learn(policy: Policy, examples: Examples, *, kl_weight: float) -> Learned:
    """Move the weights once an inner epoch, unless the KL budget is overspent already."""
    start = start_predictions(policy, examples)
    first = last = accumulate_gradient(policy, examples, start, kl_weight=kl_weight)
    if is_overspent(first.squared_change, target=policy.config.kl_target):
        policy.optimizer.zero_grad(set_to_none=True)
        return Learned(first, first.clipped_fraction, 0.0, stopped=True)
    norm = policy.step()
    for _ in range(policy.config.inner_epochs - 1):
        last = accumulate_gradient(policy, examples, start, kl_weight=kl_weight)
        norm = policy.step()
    return Learned(first, last.clipped_fraction, norm, stopped=False)
