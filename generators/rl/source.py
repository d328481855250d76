"""Where an update's images and their worth come from: the source of what is learned.

Three kinds: rollouts that a reward model scores (`generators.rl.training`), images that people have
rated (`generators.rl.rated`), pairs that people have compared (`generators.rl.algorithms.dpo`).
What an update uses derives from (config.seed, update number): there is no random state to save, and
every process can work out any other's share. Shapes: B images of this process.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from generators.base import Prompt
from generators.rl.advantages import PromptBuffers
from generators.rl.algorithms.base import MadeImages
from generators.rl.config import RLConfig
from generators.rl.policy import Policy
from generators.seeds import hashed_seed
from generators.training.processes import Processes


@dataclass(frozen=True)
class UpdateRewards:
    """What the rewards of an update looked like, over the images of all processes."""

    mean: float
    sd: float  # of what the policy is trained on
    spread_mean: float  # of the reward: its posterior standard deviation
    zero_spread_groups: int


@dataclass(frozen=True)
class UpdateLesson:
    """One update's images with what each is worth."""

    made: MadeImages
    advantages_B: Tensor
    figures: UpdateRewards
    buffers: PromptBuffers  # as the next update finds them


class Source(Protocol):
    """Gives each update its lesson; the same update has the same one."""

    @property
    def prompts(self) -> Sequence[Prompt]:
        """Return those of all that is learned; an update encodes those that it uses."""
        ...

    def lesson(
        self, policy: Policy, update: int, buffers: PromptBuffers, processes: Processes
    ) -> UpdateLesson:
        """Return this process's share. Raises GeneratorError where nothing can be learned."""
        ...

    def check(self, policy: Policy) -> float | None:
        """Return what the policy's result is worth, the same images each time; None: unknown."""
        ...


def drawn(num_things: int, per_update: int, config: RLConfig, update: int, what: str) -> list[int]:
    """Return which things to use: shuffled rounds over all, cut into updates."""
    first = update * per_update
    chosen = []
    for position in range(first, first + per_update):
        round_number, offset = divmod(position, num_things)
        order = list(range(num_things))
        random.Random(f"{config.seed} {what} {round_number}").shuffle(order)
        chosen.append(order[offset])
    return chosen


def prompts_of_update(num_prompts: int, config: RLConfig, update: int) -> list[int]:
    """Return which prompts to use."""
    return drawn(num_prompts, config.prompts_per_update, config, update, "prompts")


def rollout_seed(config: RLConfig, update: int, index: int) -> int:
    """Return the seed of one image, 63 bits: no other (run seed, update, index) has it."""
    return hashed_seed(f"rl {config.seed} {update} {index}")
