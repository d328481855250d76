"""Where an update's images and their worth come from: the source of what is learned.

Three kinds: rollouts that a reward model scores (`generators.rl.rollouts`), images that people have
rated (`generators.rl.rated`), pairs that people have compared (`generators.rl.algorithms.dpo`).
Shapes: B images of this process.
"""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from generators.base import Conditions
from generators.rl.advantages import PromptBuffers
from generators.rl.algorithms.base import Made
from generators.rl.policy import Policy
from generators.rl.ranks import Ranks


@dataclass(frozen=True)
class RewardFigures:
    """What the rewards of an update looked like, over the images of all processes."""

    mean: float
    sd: float  # of what the policy is trained on
    spread_mean: float  # of the reward: its posterior standard deviation
    zero_spread_groups: int


@dataclass(frozen=True)
class Lesson:
    """One update's images with what each is worth."""

    made: Made
    advantages_B: Tensor
    figures: RewardFigures
    buffers: PromptBuffers  # as the next update finds them


class Source(Protocol):
    """Gives each update its lesson; the same update has the same one."""

    @property
    def conditions(self) -> Conditions:
        """Return those of anything that is learned: their shape is what matters."""
        ...

    def lesson(self, policy: Policy, update: int, buffers: PromptBuffers, ranks: Ranks) -> Lesson:
        """Return this process's share. Raises GeneratorError where nothing can be learned."""
        ...
