"""What an update looks at: which prompts, which seeds, which window, and the images' rewards.

All of it derives from (config.seed, update number): there is no random state to save or restore.
Shapes: B images, G siblings of a prompt.
"""

import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from curate.errors import CurateError
from curate.rl.config import RLConfig
from generators.base import Conditions, Generator, Prompt
from generators.config import SamplingSettings
from generators.sampling import Rollout, decode, rollout

# images [B, C, H, W] in [0, 1] and their prompts -> (mean [B], spread [B]), higher better
Reward = Callable[[Tensor, Sequence[Prompt]], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Rewarded:
    """The images of one update, made and scored."""

    rollout: Rollout
    conditions: Conditions  # of the B images
    window: range
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


def window_of_update(config: RLConfig, update: int) -> range:
    """Return the random steps: at the configured place, or drawn within the noisier half."""
    start = config.window_start
    if start is None:
        last = max(0, config.num_steps // 2 - config.num_trained_steps)
        start = random.Random(f"{config.seed} window {update}").randint(0, last)
    return range(start, start + config.num_trained_steps)


def rollout_seed(config: RLConfig, update: int, index: int) -> int:
    """Return the seed of one image, 63 bits: no other (run seed, update, index) has it."""
    digest = hashlib.sha256(f"curate rl {config.seed} {update} {index}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def sampling_settings(config: RLConfig) -> SamplingSettings:
    """Return the settings that rollouts are sampled with."""
    return SamplingSettings(
        num_steps=config.num_steps,
        guidance=config.guidance,
        batch_size=config.rollout_batch,
        dtype=config.rollout_dtype,
    )


def rewarded_images(
    generator: Generator,
    prompts: Sequence[Prompt],
    conditions: Conditions,
    reward: Reward,
    config: RLConfig,
    update: int,
) -> Rewarded:
    """Make the images of one update and score them. `conditions` has a row a prompt."""
    chosen = prompts_of_update(len(prompts), config, update)
    rows_B = [prompt for prompt in chosen for _ in range(config.group_size)]
    seeds_B = [rollout_seed(config, update, index) for index in range(len(rows_B))]
    window = window_of_update(config, update)
    conditions_B = conditions.select(rows_B)
    made = rollout(generator, conditions_B, seeds_B, sampling_settings(config), window)
    images = unit_range(generator, decode(generator, made.latents, config.rollout_batch))
    mean_B, spread_B = reward(images, [prompts[row] for row in rows_B])
    _refuse_other_shapes(mean_B, spread_B, len(rows_B))
    return Rewarded(made, conditions_B, window, mean_B.float().cpu(), spread_B.float().cpu())


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
