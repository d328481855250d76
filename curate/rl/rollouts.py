"""What an update looks at: which prompts, which seeds, and the images' rewards.

All of it derives from (config.seed, update number): there is no random state to save or restore.
Shapes: B images, G siblings of a prompt.
"""

import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from curate.errors import CurateError
from curate.rl.algorithms.base import Made
from curate.rl.algorithms.registry import algorithm_named
from curate.rl.config import RLConfig
from curate.rl.policy import Policy
from generators.base import Conditions, Generator, Prompt
from generators.sampling import decode

# images [B, C, H, W] in [0, 1] and their prompts -> (mean [B], spread [B]), higher better
Reward = Callable[[Tensor, Sequence[Prompt]], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Rewarded:
    """The images of one update, made and scored."""

    made: Made
    mean_B: Tensor  # rewards, float32 on the CPU
    spread_B: Tensor

    def penalised(self, spread_penalty: float) -> Tensor:
        """Return what the policy is trained on: doubt counts against an image."""
        return self.mean_B - spread_penalty * self.spread_B


def prompts_of_update(num_prompts: int, config: RLConfig, update: int) -> list[int]:
    """Return which prompts to use: shuffled rounds over all, cut into updates."""
    first = update * config.prompts_per_update
    chosen = []
    for position in range(first, first + config.prompts_per_update):
        round_number, offset = divmod(position, num_prompts)
        order = list(range(num_prompts))
        random.Random(f"{config.seed} prompts {round_number}").shuffle(order)
        chosen.append(order[offset])
    return chosen


def rollout_seed(config: RLConfig, update: int, index: int) -> int:
    """Return the seed of one image, 63 bits: no other (run seed, update, index) has it."""
    digest = hashlib.sha256(f"curate rl {config.seed} {update} {index}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def rewarded_images(
    policy: Policy,
    prompts: Sequence[Prompt],
    conditions: Conditions,
    reward: Reward,
    update: int,
) -> Rewarded:
    """Make the images of one update and score them. `conditions` has a row a prompt."""
    config, generator = policy.config, policy.generator
    chosen = prompts_of_update(len(prompts), config, update)
    rows_B = [prompt for prompt in chosen for _ in range(config.group_size)]
    seeds_B = [rollout_seed(config, update, index) for index in range(len(rows_B))]
    made = algorithm_named(config.algorithm)(policy, conditions.select(rows_B), seeds_B, update)
    images = unit_range(generator, decode(generator, made.latents, config.rollout_batch))
    mean_B, spread_B = reward(images, [prompts[row] for row in rows_B])
    _refuse_other_shapes(mean_B, spread_B, len(rows_B))
    return Rewarded(made, mean_B.float().cpu(), spread_B.float().cpu())


def unit_range(generator: Generator, images: Tensor) -> Tensor:
    """Return images in [0, 1], from the codec's own range."""
    low, high = generator.codec.value_range
    return (images - low) / (high - low)


def _refuse_other_shapes(mean_B: Tensor, spread_B: Tensor, num_images: int) -> None:
    if mean_B.shape != (num_images,) or spread_B.shape != (num_images,):
        raise CurateError(
            f"The reward gave means of shape {tuple(mean_B.shape)} and spreads of shape "
            f"{tuple(spread_B.shape)} for {num_images} images; it must give one number each."
        )
