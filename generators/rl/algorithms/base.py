"""The one shape of every algorithm: rollouts -> rewards -> advantages -> examples -> loss.

An algorithm says how images are made and what loss their advantages become; rewards, advantages,
micro-batches, the anchor, the optimiser and checkpoints are the same for all
(`generators.rl.training`, `generators.rl.update`). Shapes: B images, N examples; a name without a
suffix is a batch of latents.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from generators.base import Conditions, Prompt
from generators.rl.policy import Policy

# samples [B, C, *spatial] (intensities in 0 .. 1, HU as they are) and their prompts
# -> (mean [B], spread [B]), higher better; how it looks at them is its own business
Reward = Callable[[Tensor, Sequence[Prompt]], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class UpdateBatch:
    """What one update asks for: B images, and what will score them."""

    prompts_B: Sequence[Prompt]
    conditions_B: Conditions
    seeds_B: Sequence[int]
    update: int
    reward: Reward  # only `draft` looks into it


@dataclass(frozen=True)
class ExamplesLoss:
    """The loss of some examples, without the anchor; figures are means over them."""

    loss: Tensor  # scalar, differentiable, a mean over the examples
    clipped_fraction: float = 0.0
    kl: float | None = None  # exact, nats an image and step, from the frozen start; random steps'
    ratio_deviation: float = 0.0  # largest |ratio - 1| between training pass and rollout


@dataclass(frozen=True)
class Kept:
    """Predictions for some examples that the rollout made, with their autograd graph."""

    rows: Tensor  # which examples
    prediction: Tensor


class Examples(Protocol):
    """What one update learns from: N noisy latents, and a loss on what is predicted for them."""

    @property
    def x_t(self) -> Tensor:
        """Return N noisy latents."""
        ...

    @property
    def t_N(self) -> Tensor:
        """Return their timesteps."""
        ...

    @property
    def conditions(self) -> Conditions:
        """Return N rows."""
        ...

    @property
    def guidance(self) -> float:
        """Return the guidance of the predictions."""
        ...

    @property
    def together(self) -> int:
        """Return how many neighbouring rows one loss needs: 1, or 2 where they are pairs."""
        ...

    @property
    def scale(self) -> float:
        """Return what one example counts in the gradient, its share of the anchor with it."""
        ...

    @property
    def kept(self) -> list[Kept]:
        """Return what the rollout has predicted already; the first training pass empties it."""
        ...

    def loss(self, prediction: Tensor, start: Tensor | None, rows: Tensor) -> ExamplesLoss:
        """Return the loss of these rows, from the policy's and the frozen start's predictions.

        The start's are None where `RLConfig.asks_start` is false.
        The same rows come again in each inner epoch, in the same order.
        """
        ...


class MadeImages(Protocol):
    """The images of one update, and what the algorithm must remember of their making."""

    @property
    def latents(self) -> Tensor:
        """Return the images' latents [B, ...]."""
        ...

    @property
    def window_start(self) -> int | None:
        """Return the first random step, where some were random."""
        ...

    def examples(self, policy: Policy, advantages_B: Tensor) -> Examples:
        """Return what to learn, once the images have been scored."""
        ...


class Algorithm(Protocol):
    """Makes the images of one update."""

    def __call__(self, policy: Policy, batch: UpdateBatch) -> MadeImages:
        """Return an image for each condition and seed; equal seeds give equal images."""
        ...
