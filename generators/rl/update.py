"""The gradient of one update, from its examples in micro-batches, and the step that it takes.

Accumulated over micro-batches, the gradient equals that of all N examples at once.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from generators.diffusion.guidance import predict
from generators.memory import lacks_memory
from generators.rl.algorithms.base import Examples
from generators.rl.config import RLConfig
from generators.rl.policy import Policy, micro_batches, training_settings
from generators.training.processes import ALONE, Processes

CHANGE_TOLERANCE = 1.5  # the change may lie within target / 1.5 .. target x 1.5
FACTOR = 1.5  # an update
STOP = 3.0  # x target: the budget is overspent, the run ends
RANGE = 30.0  # the weight stays within first / 30 .. first x 30, so that it can always come back


@dataclass(frozen=True)
class Gradient:
    """What accumulating the gradient showed; means are over all examples."""

    loss: float  # with the anchor
    clipped_fraction: float
    kl: float | None  # exact, in nats an image and step, from the frozen start; of random steps
    squared_change: float  # of the predictions from the start's: what the budget counts
    ratio_deviation: float  # largest |ratio - 1| between training pass and rollout
    base_change: float | None = None  # the same from the base's, where that is not the start
    start_change: float = 0.0  # of the start's from the base's


def start_predictions(
    policy: Policy, examples: Examples, *, of_base: bool = False
) -> Tensor | None:
    """Return what the frozen start predicts for every example, where anything depends on it.

    Or the version does that no RL step made, where it is another than the start.
    """
    if not (policy.knows_base if of_base else policy.config.asks_start):
        return None
    with policy.at_base() if of_base else policy.at_start():
        return policy.predictions(
            examples.x_t, examples.t_N, examples.conditions, examples.guidance
        )


def accumulate_gradient(
    policy: Policy,
    examples: Examples,
    start: Tensor | None,
    *,
    kl_weight: float,
    part: "Part | None" = None,
    processes: Processes = ALONE,
    base: Tensor | None = None,
) -> Gradient:
    """Add the gradient of loss and anchor, over all examples or a part, to the weights.

    Several processes end with the same gradient: that of all their examples. Out of memory, it
    begins again with smaller passes, which `policy.fit` keeps.
    """
    part = part or Part(torch.arange(len(examples.t_N)), len(examples.t_N) * processes.count)
    while True:
        try:
            totals, deviation = _accumulated(policy, examples, (start, base), kl_weight, part)
            break
        except RuntimeError as error:
            if not lacks_memory(error):
                raise
        # outside of `except`: its traceback would hold the graph that has just not fitted
        examples.kept.clear()
        policy.make_do_with_less()
    processes.sum_gradients(policy.weights.named)
    loss_value, clipped_fraction, change, kl, has_kl, base_change, start_change = processes.summed(
        totals.float()
    ).tolist()
    return Gradient(
        loss=loss_value,
        clipped_fraction=clipped_fraction,
        kl=kl if has_kl else None,
        squared_change=change,
        ratio_deviation=max(processes.told(deviation)),
        base_change=None if base is None else base_change,
        start_change=start_change,
    )


def _accumulated(
    policy: Policy,
    examples: Examples,
    frozen: tuple[Tensor | None, Tensor | None],
    kl_weight: float,
    part: "Part",
) -> tuple[Tensor, float]:
    """Add this process's gradient; return its share of the figures, and the largest deviation.

    `frozen` is what start and base predict.
    """
    start, base = frozen
    totals, deviation = torch.zeros(7, dtype=torch.float64), 0.0
    for rows, prediction in _predictions(policy, examples, part.rows):
        start_of_rows = None if start is None else start[rows]
        found = examples.loss(prediction, start_of_rows, rows)
        squared_change = prediction.new_zeros(())
        if start_of_rows is not None:
            squared_change = (prediction - start_of_rows).square().mean()
        loss = found.loss + kl_weight * squared_change
        share = len(rows) / part.num_rows
        (loss * share * examples.scale).backward()
        figures = [loss.item(), found.clipped_fraction, squared_change.item(), found.kl or 0.0]
        has_kl = float(found.kl is not None)
        from_base = [0.0, 0.0]
        if base is not None and start_of_rows is not None:
            ends = (prediction.detach(), start_of_rows)
            from_base = [(end - base[rows]).square().mean().item() for end in ends]
        totals += share * torch.tensor([*figures, has_kl, *from_base], dtype=torch.float64)
        deviation = max(deviation, found.ratio_deviation)
    return totals, deviation


def _predictions(
    policy: Policy, examples: Examples, rows_N: Tensor
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield rows and what is predicted for them: by the rollout where it kept it, else anew."""
    left_N = torch.ones(len(examples.t_N), dtype=torch.bool)
    while examples.kept:
        kept = examples.kept.pop(0)
        left_N[kept.rows] = False
        yield kept.rows, kept.prediction
    settings = training_settings(policy.config, examples.guidance)
    rows_left = rows_N[left_N[rows_N]]
    for rows in micro_batches(rows_left, policy.fit.micro_batch, examples.together):
        conditions = examples.conditions.select(rows)
        of_rows = (examples.x_t[rows], examples.t_N[rows], conditions)
        yield rows, predict(policy.generator, *of_rows, settings)


@dataclass(frozen=True)
class Part:
    """The examples of one optimiser step."""

    rows: Tensor  # of this process
    num_rows: int  # of all processes


def parts_of_epoch(
    examples: Examples, config: RLConfig, name: str, processes: Processes = ALONE
) -> Iterator[Part]:
    """Yield `minibatches` parts: all in their order if one, else shuffled by `name`.

    Which examples a part holds does not depend on the number of processes.
    """
    num_rows, together = len(examples.t_N), examples.together
    if config.minibatches == 1:
        yield Part(torch.arange(num_rows), num_rows * processes.count)
        return
    first = processes.index * num_rows
    blocks = list(range(0, num_rows * processes.count, together))
    random.Random(name).shuffle(blocks)
    for number in range(config.minibatches):
        rows = torch.tensor(
            [
                block + place - first
                for block in blocks[number :: config.minibatches]
                if first <= block < first + num_rows
                for place in range(together)
            ],
            dtype=torch.long,
        )
        yield Part(rows, len(blocks[number :: config.minibatches]) * together)


@dataclass(frozen=True)
class Learned:
    """What one update did to the weights."""

    gradient: Gradient  # of the first step: on policy
    clipped_fraction: float  # in the last step
    gradient_norm: float  # in the last step, before the cut; 0 when stopped
    stopped: bool  # the KL budget was overspent, the weights are as they were


def learn(
    policy: Policy,
    examples: Examples,
    *,
    kl_weight: float,
    update: int = 0,
    processes: Processes = ALONE,
) -> Learned:
    """Move the weights `minibatches` times an inner epoch, unless the KL budget is overspent."""
    config = policy.config
    start = start_predictions(policy, examples)
    base = start_predictions(policy, examples, of_base=True)
    first, last, norm = None, None, 0.0
    for epoch in range(config.inner_epochs):
        name = f"{config.seed} parts {update} {epoch}"
        for part in parts_of_epoch(examples, config, name, processes):
            last = accumulate_gradient(
                policy,
                examples,
                start,
                kl_weight=kl_weight,
                part=part,
                processes=processes,
                base=base,
            )
            first = first or last
            if last is first and is_overspent(first, config):
                policy.weights.optimizer.zero_grad(set_to_none=True)
                return Learned(first, first.clipped_fraction, 0.0, stopped=True)
            norm = policy.weights.step()
    assert first is not None and last is not None  # inner_epochs and minibatches are 1 or more
    return Learned(first, last.clipped_fraction, norm, stopped=False)


def steered_weight(weight: float, change: float, *, target: float, first: float) -> float:
    """Return the anchor's weight in the next update; `first` is the configured one.

    What is steered is the mean squared change of the predictions, not the exact KL of the trained
    steps: the two differ by a factor a step (8 between neighbours of 6), and the window moves.
    """
    if change > CHANGE_TOLERANCE * target:
        weight *= FACTOR
    elif change < target / CHANGE_TOLERANCE:
        weight /= FACTOR
    return min(max(weight, first / RANGE), first * RANGE)


def is_overspent(found: Gradient, config: RLConfig) -> bool:
    """Return whether the run must stop: far too far from its start, or begun where no way is left.

    From the base a step's start may be as far as all its rounds may go.
    """
    spent = config.base_target is not None and found.start_change >= config.base_target
    return spent or found.squared_change > STOP * config.kl_target
