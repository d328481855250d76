"""What the RL benchmarks on the embedded model share: prompts, the eyes' reward, measurements.

Everything is measured at the same seeds for all versions, which no training uses, so that two
versions differ by their weights alone. Shapes: B images, N noised latents.
"""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from curate.evaluation.diversity import ms_ssim
from generators import registry
from generators.base import Prompt
from generators.config import SamplingSettings
from generators.diffusion.generator import DiffusionGenerator, decode, sample
from generators.diffusion.guidance import predict
from generators.embedded import PROMPTS as SHEET
from generators.embedded import WEIGHTS
from generators.rl.algorithms.base import Reward
from generators.rl.algorithms.nft import drawn_levels, fresh_noise
from rewards.frozen import load_eyes, load_judge
from rewards.frozen.truth import TruthNetwork

FIRST_SEED = 1_000_000  # of what is measured
SAMPLING = SamplingSettings(num_steps=10, sampler="dpm++", batch_size=32, dtype="bfloat16")
LEVELS = 2  # noise levels an image at which predictions are compared with the start's


def prompts() -> list[Prompt]:
    """Return the 20 shipped prompts."""
    with SHEET.open(newline="", encoding="utf-8") as file:
        return [Prompt(row["modality"], row["text"], row["label"]) for row in csv.DictReader(file)]


def embedded() -> DiffusionGenerator:
    """Return the embedded model, as it ships."""
    return registry.load("text-to-image", str(WEIGHTS))


@torch.no_grad()
def pictures(
    generator: DiffusionGenerator,
    of: Sequence[Prompt],
    seeds: Sequence[int],
    settings: SamplingSettings,
) -> tuple[Tensor, Tensor]:
    """Return latents and images [B, 3, H, W] in [0, 1]."""
    latents = sample(generator, generator.conditioner(of), seeds, settings)
    images = generator.codec.to_unit(decode(generator, latents, settings.batch_size))
    return latents, images.expand(-1, 3, -1, -1)


def truth(network: TruthNetwork, images: Tensor, of: Sequence[Prompt]) -> Tensor:
    """Return what a frozen network makes of images [B]: higher is better."""
    return network.truth(images, [p.modality for p in of], [p.label for p in of])


def eyes_reward() -> Reward:
    """Return the simulated raters' eyes as a reward that has no doubt."""
    eyes = load_eyes()

    def reward(images: Tensor, of: Sequence[Prompt]) -> tuple[Tensor, Tensor]:
        mean_B = truth(eyes, images.expand(-1, 3, -1, -1), of)
        return mean_B, torch.zeros_like(mean_B)

    return reward


class Yardstick:
    """Measures a version: eyes, judge, how alike a prompt's images are, how far predictions moved.

    The change of the predictions is taken on the start's own images, noised once for all: the same
    points for every algorithm, whatever each was trained on.
    """

    def __init__(self, start: DiffusionGenerator, per_prompt: int) -> None:
        self.eyes, self.judge, self.per_prompt = load_eyes(), load_judge(), per_prompt
        self.prompts = [prompt for prompt in prompts() for _ in range(per_prompt)]
        self.seeds = range(FIRST_SEED, FIRST_SEED + len(self.prompts))
        latents, images = pictures(start, self.prompts, self.seeds, SAMPLING)
        x_0 = latents.repeat_interleave(LEVELS, dim=0)
        self.t_N = torch.cat([drawn_levels(start.process, seed, LEVELS) for seed in self.seeds])
        noise = fresh_noise(start, self.seeds, LEVELS)
        self.x_t = start.process.noised(x_0, noise, self.t_N)
        self.start_predictions = self._predicted(start)
        self.at_start = self._figures(images, 0.0)

    def __call__(self, generator: DiffusionGenerator) -> dict[str, float]:
        """Return a version's figures."""
        _, images = pictures(generator, self.prompts, self.seeds, SAMPLING)
        change = (self._predicted(generator) - self.start_predictions).square().mean().item()
        return self._figures(images, change)

    @torch.no_grad()
    def _predicted(self, generator: DiffusionGenerator) -> Tensor:
        rows = torch.arange(len(self.prompts)).repeat_interleave(LEVELS)
        conditions = generator.conditioner(self.prompts).select(rows)
        settings = SamplingSettings(dtype="bfloat16")
        return torch.cat(
            [
                predict(
                    generator, self.x_t[some], self.t_N[some], conditions.select(some), settings
                )
                for some in torch.arange(len(self.t_N)).split(32)
            ]
        )

    @torch.no_grad()
    def _figures(self, images: Tensor, change: float) -> dict[str, float]:
        eyes_B, judge_B = (truth(network, images, self.prompts) for network in self._networks)
        return {
            "eyes": eyes_B.mean().item(),
            "eyes_top": (eyes_B >= self.eyes.thresholds[1]).float().mean().item(),
            "judge": judge_B.mean().item(),
            "judge_top": (judge_B >= self.judge.thresholds[1]).float().mean().item(),
            "ms_ssim": likeness(images, self.per_prompt),
            "squared_change": change,
        }

    @property
    def _networks(self) -> tuple[TruthNetwork, TruthNetwork]:
        return self.eyes, self.judge


def likeness(images: Tensor, per_prompt: int) -> float:
    """Return the mean MS-SSIM among images of a prompt; neighbours share theirs."""
    first, second = torch.tril_indices(per_prompt, per_prompt, offset=-1)
    groups = images.unflatten(0, (-1, per_prompt))
    return torch.stack([ms_ssim(g[first], g[second]).mean() for g in groups]).mean().item()


def finished(path: Path) -> list[dict[str, Any]]:
    """Return the runs that a stopped benchmark has finished, a line each."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [json.loads(line) for line in lines]


def keep(path: Path, run: Mapping[str, Any]) -> None:
    """Add a finished run."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(run) + "\n")
