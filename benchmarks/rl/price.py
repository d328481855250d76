"""Does an RL step take as long as its price said before it began?

    python -m benchmarks.rl.price [--updates 3] [--threads 1]

The embedded model, 64 images an update, each algorithm with its usual settings; the reward is the
simulated raters' eyes. The price is asked for as `curate rl-step` asks, then the updates are made
and timed. Prints one JSON object: seconds by the price, seconds taken, their ratio, and which share
of an update is the reward itself.
"""

import argparse
import json
import time
from typing import Any

import torch
from torch import Tensor

from benchmarks.rl.embedded import embedded, eyes_reward, prompts
from generators.base import Prompt
from generators.rl.config import RLConfig, usual
from generators.rl.estimate import estimate
from generators.rl.policy import Policy
from generators.rl.probe import found_fit
from generators.rl.progress import fresh_progress
from generators.rl.training import Rollouts, one_update

ALGORITHMS = ("window", "ddpo", "nft", "draft")


class TimedReward:
    """The eyes' reward, and the seconds that it has taken."""

    def __init__(self) -> None:
        self._reward, self.seconds = eyes_reward(), 0.0

    def __call__(self, images: Tensor, of: list[Prompt]) -> tuple[Tensor, Tensor]:
        """Return mean and spread, timed."""
        started = time.perf_counter()
        found = self._reward(images, of)
        self.seconds += time.perf_counter() - started
        return found


def compared(config: RLConfig) -> dict[str, float]:
    """Return what the price said of the updates, and what they took."""
    generator, asked, reward = embedded(), prompts(), TimedReward()
    policy, progress = Policy(generator, config), fresh_progress(config)
    source = Rollouts(asked, reward)
    policy.fit = found_fit(
        policy, generator.condition(source.prompts[:1]), config.images_per_update
    )
    price = estimate(
        policy,
        generator.condition(source.prompts[:1]),
        reward=lambda images: reward(images, asked[:1] * len(images)),
    )
    reward.seconds = 0.0
    started = time.perf_counter()
    while not progress.is_finished(config):
        progress = one_update(policy, source, progress)
    took = time.perf_counter() - started
    return {
        "price_s": price.seconds,
        "took_s": took,
        "price / took": price.seconds / took,
        "share of the reward": reward.seconds / took,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--updates", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    told: dict[str, Any] = {
        algorithm: compared(usual(algorithm=algorithm, num_updates=options.updates))
        for algorithm in ALGORITHMS
    }
    print(json.dumps(told, indent=2))


if __name__ == "__main__":
    main()
