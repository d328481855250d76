"""How many U-Net evaluations until the judge's mean that DDPO reaches after 60,000 of them?

    python benchmarks/rl/method.py OUT.jsonl [--budget 60000] [--seeds 3] [--arms ddpo window nft]

On the embedded model and the 20 shipped prompts. The reward is the simulated raters' eyes (network
A), the judge network C; they share neither weights nor training images. Every arm has the same
three learning rates, the same anchor and the same images an update, and is measured with the
deployed sampler on 10 images a prompt at unused seeds, every fourth update, until its budget of
evaluations is spent (a backward pass counts two). An arm's rate is the one with the best mean at
the end; the target is DDPO's mean there. A point counts only within the budget of squared change
and with MS-SSIM among a prompt's images at most 10 % above the start's. Each finished run is a line
of OUT.jsonl, so a stopped benchmark goes on. Prints one JSON object.
"""

import argparse
import csv
import json
import statistics
import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from curate.evaluation.diversity import ms_ssim
from curate.rl.checkpoint import fresh_progress
from curate.rl.config import RLConfig
from curate.rl.estimate import evaluations_of_update
from curate.rl.policy import Policy
from curate.rl.rollouts import Rollouts, unit_range
from curate.rl.training import one_update
from generators import registry
from generators.base import Generator, Prompt
from generators.config import SamplingSettings
from generators.embedded import PROMPTS as SHEET
from generators.embedded import WEIGHTS
from generators.sampling import decode, sample
from rewards.frozen import load_eyes, load_judge

RATES = (3e-4, 1e-3, 3e-3)
MEASURED_EVERY = 4  # updates
FIRST_SEED = 1_000_000
SAMPLING = SamplingSettings(num_steps=10, sampler="dpm++", batch_size=32)
MOST_ALIKE = 1.1  # x the start's MS-SSIM
ARMS = {
    "ddpo": {"algorithm": "ddpo"},
    "window": {"algorithm": "window", "window_size": 2},
    "nft": {"algorithm": "nft", "lora_targets": "attention+convolutions", "advantage_clip": 2.0},
    "draft": {"algorithm": "draft"},
}


def prompts() -> list[Prompt]:
    """Return the shipped prompts."""
    with SHEET.open(newline="", encoding="utf-8") as file:
        return [Prompt(row["modality"], row["text"], row["label"]) for row in csv.DictReader(file)]


class Measure:
    """The judge's mean and how alike a prompt's images are, at fixed seeds."""

    def __init__(self, asked: Sequence[Prompt], per_prompt: int) -> None:
        self.judge, self.per_prompt = load_judge(), per_prompt
        self.prompts = [prompt for prompt in asked for _ in range(per_prompt)]

    @torch.no_grad()
    def __call__(self, generator: Generator) -> dict[str, float]:
        """Return both."""
        conditions = generator.conditioner(self.prompts)
        seeds = range(FIRST_SEED, FIRST_SEED + len(self.prompts))
        latents = sample(generator, conditions, seeds, SAMPLING)
        images = unit_range(generator, decode(generator, latents, 32)).expand(-1, 3, -1, -1)
        judged = truth(self.judge, images, self.prompts)
        first, second = torch.tril_indices(self.per_prompt, self.per_prompt, offset=-1)
        groups = images.unflatten(0, (-1, self.per_prompt))
        alike = [ms_ssim(group[first], group[second]).mean() for group in groups]
        return {"judge": judged.mean().item(), "ms_ssim": torch.stack(alike).mean().item()}


def truth(network: Any, images: Tensor, of: Sequence[Prompt]) -> Tensor:
    """Return what a frozen network makes of images, a number each: higher is better."""
    found: Tensor = network.truth(images, [p.modality for p in of], [p.label for p in of])
    return found


def one_run(arm: str, rate: float, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Return the curve of one run."""
    config = RLConfig(
        **ARMS[arm],
        prompts_per_update=options.prompts_per_update,
        group_size=8,
        learning_rate=rate,
        num_updates=10**6,
        seed=seed,
    )
    asked, eyes = prompts(), load_eyes()
    generator = registry.load("text-to-image", str(WEIGHTS))
    measure, policy = Measure(asked, options.per_prompt), Policy(generator, config)

    def reward(images: Tensor, of: Sequence[Prompt]) -> tuple[Tensor, Tensor]:
        mean_B = truth(eyes, images.expand(-1, 3, -1, -1), of)
        return mean_B, torch.zeros_like(mean_B)

    source, progress = Rollouts(asked, generator.conditioner(asked), reward), fresh_progress(config)
    curve = [{"evaluations": 0, "seconds": 0.0, "squared_change": 0.0, **measure(generator)}]
    spent, seconds = 0, 0.0
    while spent < options.budget and not (progress.history and progress.history[-1].stopped):
        started = time.perf_counter()
        progress = one_update(policy, source, progress)
        seconds += time.perf_counter() - started
        spent += evaluations_of_update(config)
        if len(progress.history) % MEASURED_EVERY == 0 or spent >= options.budget:
            change = progress.history[-1].squared_change
            point = {"evaluations": spent, "seconds": seconds, "squared_change": change}
            curve.append({**point, **measure(generator)})
    return {"arm": arm, "rate": rate, "seed": seed, "budget": options.budget, "curve": curve}


def at_end(runs: Sequence[dict[str, Any]]) -> float:
    """Return the judge's mean at the end, over seeds."""
    return statistics.fmean(run["curve"][-1]["judge"] for run in runs)


def reached(run: dict[str, Any], target: float) -> dict[str, Any] | None:
    """Return the first point of a run at the target, within budget of change and of likeness."""
    start = run["curve"][0]["ms_ssim"]
    for point in run["curve"][1:]:
        varied = point["ms_ssim"] <= MOST_ALIKE * start
        near = point["squared_change"] <= 3 * RLConfig.kl_target
        if point["judge"] >= target and varied and near:
            return dict(point)
    return None


def summary(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return, for each arm at its own best rate, what it took to reach DDPO's end."""
    best = {}
    for arm in dict.fromkeys(run["arm"] for run in runs):
        by_rate = [[r for r in runs if (r["arm"], r["rate"]) == (arm, rate)] for rate in RATES]
        best[arm] = max((group for group in by_rate if group), key=at_end)
    if "ddpo" not in best:
        return {"note": "no ddpo run: no target"}
    target = at_end(best["ddpo"])
    told: dict[str, Any] = {"target": target}
    for arm, group in best.items():
        points = [reached(run, target) for run in group]
        told[arm] = {
            "rate": group[0]["rate"],
            "end": at_end(group),
            "evaluations": [point and point["evaluations"] for point in points],
            "seconds": [point and point["seconds"] for point in points],
            "budget": group[0]["budget"],
        }
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--budget", type=int, default=60_000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=["ddpo", "window", "nft"])
    parser.add_argument("--rates", nargs="+", type=float, choices=RATES, default=list(RATES))
    parser.add_argument("--per-prompt", type=int, default=10)
    parser.add_argument("--prompts-per-update", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    lines = options.out.read_text().splitlines() if options.out.exists() else []
    runs = [json.loads(line) for line in lines]
    done = {(run["arm"], run["rate"], run["seed"]) for run in runs}
    for arm, rate, seed in product(options.arms, options.rates, range(options.seeds)):
        if (arm, rate, seed) not in done:
            runs.append(one_run(arm, rate, seed, options))
            with options.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(runs[-1]) + "\n")
    print(json.dumps(summary(runs), indent=2))


if __name__ == "__main__":
    main()
