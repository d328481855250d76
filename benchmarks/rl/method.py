"""How many U-Net evaluations until the judge's mean that DDPO reaches after 60,000 of them?

    python -m benchmarks.rl.method OUT.jsonl        (about an hour of one core)

On the embedded model and the 20 shipped prompts. The reward is the simulated raters' eyes (network
A), the judge is network C; they share neither weights nor training images. All arms have 64 images
an update, adapters on attention and convolutions, the same anchor, and budgets counted in U-Net
evaluations (a backward pass counts two, the frozen start's prediction one).

First, on seed 0, each arm tries the same three learning rates for a third of its budget; the one
with the best eyes at the end is taken: the judge chooses nothing. Then, on other seeds, DDPO spends
60,000 evaluations at its rate, and the other arms a quarter of that: beyond a fifth they have
missed the goal anyway. The target is the judge's mean over DDPO's runs at their end. Measured are
120 images of the deployed sampler at equal, unused seeds; a point counts only within the floors:
predictions moved by at most three times the budget of the anchor, on the same noised images for
all arms, and MS-SSIM among a prompt's images at most 10 % above the start's.

Each finished run is a line of OUT.jsonl, so a stopped benchmark goes on. Prints one JSON object.
"""

import argparse
import json
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.rl.embedded import Yardstick, embedded, eyes_reward, finished, keep, prompts
from generators.rl.config import RLConfig
from generators.rl.estimate import evaluations_of_update
from generators.rl.policy import Policy
from generators.rl.progress import fresh_progress
from generators.rl.training import Rollouts, one_update

RATES = (3e-4, 1e-3, 3e-3)
RATE_SEED = 0  # whose runs choose the rate and nothing else
RATE_SHARE = 1 / 3  # of an arm's budget, for each of its rates
OTHERS_SHARE = 1 / 4  # of DDPO's budget
GOAL = 1 / 5  # of DDPO's evaluations
MOST_ALIKE = 1.1  # x the start's MS-SSIM
MOST_CHANGE = 3 * RLConfig.kl_target
POINTS = {"branched": 12, "one-root": 12}  # measured in a run of full length
OTHERS_POINTS = 6
COMMON: dict[str, Any] = dict(
    prompts_per_update=8,
    group_size=8,
    lora_targets="attention+convolutions",
    rollout_dtype="bfloat16",
    micro_batch=32,
    num_updates=10**6,  # the budget of evaluations ends a run
)
ARMS: dict[str, dict[str, Any]] = {
    "ddpo": {"algorithm": "ddpo"},
    "window": {"algorithm": "window", "window_start": 5},  # where the embedded model lacks most
    "branched": {"algorithm": "window", "window_start": 5, "branches": 4},  # 2 roots a prompt
    "one-root": {"algorithm": "window", "window_start": 5, "branches": 8},
    "nft": {"algorithm": "nft", "minibatches": 4, "advantage_clip": 2.0},  # as it usually runs
    "draft": {"algorithm": "draft"},
}


def one_run(
    arm: str, rate: float, seed: int, *, budget: float, points: int, yardstick: Yardstick
) -> dict[str, Any]:
    """Return the curve of one run, measured `points` times, the start's figures first."""
    config = RLConfig(**COMMON, **ARMS[arm], learning_rate=rate, seed=seed)
    generator, asked = embedded(), prompts()
    policy, progress = Policy(generator, config), fresh_progress(config)
    source = Rollouts(asked, eyes_reward())
    clock = {"evaluations": 0, "seconds": 0.0, "cpu_seconds": 0.0}
    curve = [{**clock, **yardstick.at_start}]
    stopped = False
    while clock["evaluations"] < budget and not stopped:
        wall, processor = time.perf_counter(), time.process_time()
        progress = one_update(policy, source, progress)
        clock["seconds"] += time.perf_counter() - wall
        clock["cpu_seconds"] += time.process_time() - processor
        clock["evaluations"] += evaluations_of_update(config, len(progress.history) - 1)
        stopped = progress.history[-1].stopped
        if stopped or clock["evaluations"] >= budget * len(curve) / points:
            curve.append({**clock, **yardstick(generator)})
    return {"arm": arm, "rate": rate, "seed": seed, "stopped": stopped, "curve": curve}


def within_floors(point: dict[str, Any], start: dict[str, Any]) -> bool:
    """Tell whether a point counts."""
    varied: bool = point["ms_ssim"] <= MOST_ALIKE * start["ms_ssim"]
    near: bool = point["squared_change"] <= MOST_CHANGE
    return varied and near


def best_rate(runs: Sequence[dict[str, Any]], arm: str) -> float:
    """Return the rate with the best eyes at the end, within the floors if any end is."""
    tried = [run for run in runs if run["arm"] == arm and run["seed"] == RATE_SEED]
    held = [run for run in tried if within_floors(run["curve"][-1], run["curve"][0])]
    return float(max(held or tried, key=lambda run: run["curve"][-1]["eyes"])["rate"])


def reached(run: dict[str, Any], target: float) -> dict[str, Any] | None:
    """Return the first point at the target and within the floors."""
    start, *points = run["curve"]
    held = (point for point in points if within_floors(point, start))
    return next((dict(point) for point in held if point["judge"] >= target), None)


def summary(runs: Sequence[dict[str, Any]], budget: int) -> dict[str, Any]:
    """Return what it took each arm to reach DDPO's end."""
    record = [run for run in runs if run["seed"] != RATE_SEED]
    ends = [run["curve"][-1] for run in record if run["arm"] == "ddpo"]
    if not ends:
        return {"note": "no run of ddpo has ended: no target"}
    target = statistics.fmean(end["judge"] for end in ends)
    told: dict[str, Any] = {"start": record[0]["curve"][0], "target": target, "arms": {}}
    for arm in dict.fromkeys(run["arm"] for run in record):
        group = [run for run in record if run["arm"] == arm]
        points = [reached(run, target) for run in group]
        told["arms"][arm] = {
            "rate": group[0]["rate"],
            "ends": [run["curve"][-1] for run in group],
            "ends_within_floors": sum(
                within_floors(run["curve"][-1], run["curve"][0]) for run in group
            ),
            "evaluations": [p["evaluations"] if p else None for p in points],
            "cpu_seconds": [round(p["cpu_seconds"]) if p else None for p in points],
            "within_goal": sum(p["evaluations"] <= GOAL * budget for p in points if p),
        }
    return told


def plan(
    arms: Sequence[str], budget: int, seeds: int, runs: list[dict[str, Any]]
) -> Iterator[tuple[str, float, int, float, int]]:
    """Yield arm, rate, seed, budget and number of points of each run, in order.

    A rate is chosen when its arm's trials are in `runs`.
    """
    budgets = {arm: budget if arm == "ddpo" else budget * OTHERS_SHARE for arm in arms}
    for arm in arms:
        for rate in RATES:
            yield arm, rate, RATE_SEED, budgets[arm] * RATE_SHARE, 1
    for seed in range(1, seeds + 1):
        for arm in arms:
            yield arm, best_rate(runs, arm), seed, budgets[arm], POINTS.get(arm, OTHERS_POINTS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--budget", type=int, default=60_000, help="DDPO's, in evaluations")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=["ddpo", "window", "nft"])
    parser.add_argument("--per-prompt", type=int, default=6)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    runs = finished(options.out)
    done = {(run["arm"], run["rate"], run["seed"]) for run in runs}
    yardstick = Yardstick(embedded(), options.per_prompt)
    for arm, rate, seed, budget, points in plan(options.arms, options.budget, options.seeds, runs):
        if (arm, rate, seed) not in done:
            run = one_run(arm, rate, seed, budget=budget, points=points, yardstick=yardstick)
            runs.append(run)
            keep(options.out, run)
    print(json.dumps(summary(runs, options.budget), indent=2))


if __name__ == "__main__":
    main()
