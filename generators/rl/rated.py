"""Images that people have rated, as the source of what `nft` learns: no reward model is needed.

Shapes: N rated images, R ratings, B images of this process in an update.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from generators.base import Prompt
from generators.errors import GeneratorError
from generators.rl.advantages import PromptBuffers, advantages_within
from generators.rl.algorithms.nft import Images
from generators.rl.policy import Policy
from generators.rl.source import UpdateLesson, UpdateRewards, drawn, rollout_seed
from generators.training.processes import Processes


@dataclass(frozen=True)
class RatedLatents:
    """Rated images as latents, whoever made them; every field has N rows."""

    latents: Tensor
    prompts: Sequence[Prompt]
    advantages_N: Tensor

    def lesson(
        self, policy: Policy, update: int, buffers: PromptBuffers, processes: Processes
    ) -> UpdateLesson:
        """Draw this process's share of the update's images; each comes with fresh noise."""
        config = policy.config
        chosen = drawn(len(self.latents), config.images_per_update, config, update, "images")
        mine = processes.in_blocks(len(chosen))
        rows = chosen[mine.start : mine.stop]
        made = Images(
            latents=self.latents[rows].to(policy.generator.device),
            conditions_B=policy.generator.condition([self.prompts[row] for row in rows]),
            seeds_B=[rollout_seed(config, update, index) for index in mine],
        )
        figures = UpdateRewards(
            mean=self.advantages_N[chosen].mean().item(),
            sd=self.advantages_N[chosen].std().item(),
            spread_mean=0.0,
            zero_spread_groups=0,
        )
        return UpdateLesson(made, self.advantages_N[rows], figures, buffers)

    def check(self, policy: Policy) -> None:
        """Know of no reward that could tell: the last weights are the result."""


def advantages_of_ratings(
    values_R: Sequence[float],
    raters_R: Sequence[str],
    images_R: Sequence[int],
    prompts_N: Sequence[str],
    real_N: Sequence[bool],
    *,
    clip: float,
) -> Tensor:
    """Return each image's advantage [N]: how much better it is rated than its prompt's others.

    A rater's severity and use of the scale are taken out first (values over all of the rater's
    ratings, standardised); the raters of an image are averaged. Real images are what is to be
    learned: they are never pushed away from. Raises GeneratorError when no prompt has images that
    were rated apart.
    """
    standard_R = torch.tensor(values_R, dtype=torch.float64)
    for rater in set(raters_R):
        own_R = torch.tensor([name == rater for name in raters_R])
        own = standard_R[own_R]
        standard_R[own_R] = (own - own.mean()) / own.std(unbiased=False).clamp(min=1e-6)
    image_R = torch.tensor(images_R)
    sums_N = torch.zeros(len(prompts_N), dtype=torch.float64).scatter_add(0, image_R, standard_R)
    counts_N = torch.zeros(len(prompts_N), dtype=torch.float64).scatter_add(
        0, image_R, torch.ones_like(standard_R)
    )
    if not bool((counts_N > 0).all()):
        raise ValueError("an image without a rating")
    known = {prompt: number for number, prompt in enumerate(dict.fromkeys(prompts_N))}
    groups_N = torch.tensor([known[prompt] for prompt in prompts_N])
    try:
        found = advantages_within(sums_N / counts_N, groups_N, clip=clip)
    except GeneratorError as error:
        raise GeneratorError(
            f"{len(prompts_N)} rated images of {len(known)} prompts, but within each prompt all "
            "are rated alike: there is nothing to learn. Rate more images of the same prompts."
        ) from error
    is_real_N = torch.tensor(real_N)
    return torch.where(is_real_N, found.values_B.clamp(min=0), found.values_B)
