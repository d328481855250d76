"""A weak reward model to follow: does a round keep the truth, where a run without anchors loses it?

    python -m benchmarks.rl.hacking OUT.jsonl [--seeds 10] [--bare-seeds 3]

The truth is what the simulated raters' eyes (network A) see: the chance that a rater without habits
gives the top rating, 0 .. 1. The reward model is fitted to few ratings (80 images of the embedded
model, one look each) of raters who are easily pleased: they like an image the better, the smoother
it is, which the truth does not. So it ranks fresh images hardly as the truth does, a rank
correlation of about 0.35, and what it likes beside the truth can be had without limit. The
correlation is measured for each seed and printed.

`ours` is one round of `curate loop` with the quickstart's settings: the low KL budget of a doubted
reward model, the spread's penalty, the safety checks and the gate, whose raters see the truth.
`bare` follows the same reward model from the same start with the same algorithm, with neither
anchor nor budget nor penalty nor gate, 20 updates at three times the rate. `held` differs from
`bare` by the anchor, the budget with its stop, and the penalty alone. All are measured on 160
images of equal, unused seeds against the start; lower bounds are those of 90 % intervals of a
paired bootstrap over the prompts.
A rejected round leaves the start in place: it is counted apart.

Each finished seed is a line of OUT.jsonl, so a stopped benchmark goes on. Prints one JSON object.
"""

import argparse
import json
import math
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor

from annotation.base import RaterProfile, RatingBackend
from annotation.config import SimulatedRaterConfig
from annotation.simulated import SimulatedRater
from benchmarks.rl.embedded import (
    FIRST_SEED,
    SAMPLING,
    embedded,
    finished,
    keep,
    likeness,
    pictures,
    truth,
)
from curate.evaluation.intervals import paired_bootstrap
from curate.loop.config import LoopConfig, quickstart_config
from curate.loop.rounds import SEEDS_A_ROUND, run_loop
from curate.production.images import prompt_value
from curate.production.plan import plan_run
from curate.production.run import run_plan
from curate.production.versions import embedded_version, load_version
from curate.prompts.plan import embedded_prompts
from curate.rating.raters import Raters
from curate.rating.simulate import simulated_backend
from curate.scoring.fit import load_reward_model
from curate.training.rl_step import reward_of
from curate.workspace import Workspace, init_workspace, open_workspace
from db import queries
from db.models import Campaign
from generators.diffusion.generator import DiffusionGenerator
from generators.rl.config import RLConfig
from generators.rl.training import Conduct, Rollouts, train
from rewards.frozen import load_eyes
from rewards.frozen.truth import TruthNetwork

PER_PROMPT = 8  # images measured
RATED_PER_PROMPT = 4  # images of the start that the reward model learns from
TRUTH_SHARE = 0.85  # of the grades of raters who are easily pleased, in standard deviations
TOLERANCE = 0.01  # a fall of the truth that must be excluded
HARD: dict[str, Any] = dict(learning_rate=6e-3, num_updates=20, prompts_per_update=8)
UNHELD: dict[str, Any] = dict(spread_penalty=0.0, kl_weight=0.0, kl_target=math.inf)
ARMS: dict[str, dict[str, Any]] = {"bare": {**HARD, **UNHELD}, "held": HARD}  # beside `ours`


class EasilyPleased:
    """Eyes that see the truth and like smooth images; graded by thirds of the start's images."""

    identity = "easily-pleased"

    def __init__(self, eyes: TruthNetwork, images: Tensor, truth_B: Tensor) -> None:
        self._eyes = eyes
        self._truth, self._smoothness = (
            (values.mean(), values.std()) for values in (truth_B, _smoothness(images))
        )
        pleased_B = self._seen(images, truth_B)
        low, high = torch.quantile(pleased_B, torch.tensor([1 / 3, 2 / 3])).tolist()
        self.thresholds = (low, high)

    def truth(
        self, images: Tensor, modalities: Sequence[str], labels: Sequence[str | None]
    ) -> Tensor:
        """Return what they take for the quality [B] of images [B, 3, H, W]."""
        return self._seen(images, self._eyes.truth(images, modalities, labels))

    def _seen(self, images: Tensor, truth_B: Tensor) -> Tensor:
        true_B = (truth_B - self._truth[0]) / self._truth[1]
        smooth_B = (_smoothness(images) - self._smoothness[0]) / self._smoothness[1]
        return TRUTH_SHARE * true_B + math.sqrt(1 - TRUTH_SHARE**2) * smooth_B


def _smoothness(images: Tensor) -> Tensor:
    """Return minus the mean size of neighbouring pixels' differences [B]."""
    along, across = images.diff(dim=2).abs(), images.diff(dim=3).abs()
    return -(along.mean(dim=(1, 2, 3)) + across.mean(dim=(1, 2, 3)))


@dataclass(frozen=True, kw_only=True)
class PleasedThenCareful(Raters):
    """The round's campaign is the easily pleased raters', the gate's is careful ones'."""

    pleased: EasilyPleased
    seed: int

    def profiles(self, ws: Workspace) -> list[RaterProfile]:
        """Return who the next campaign asks."""
        if queries.campaigns.campaigns(ws.session):
            return super().profiles(ws)
        names = (f"pleased-{number + 1}" for number in range(3))
        habits = (
            SimulatedRaterConfig(name=name, seed=self.seed, eyes=EasilyPleased.identity)
            for name in names
        )
        return [SimulatedRater(config).profile() for config in habits]

    def open(self, ws: Workspace, campaign: Campaign) -> RatingBackend:
        """Return them with what is open."""
        careful = self.eyes or load_eyes()
        is_round = campaign == queries.campaigns.campaigns(ws.session)[0]
        return simulated_backend(ws, campaign, self.pleased if is_round else careful)


def loop_config(seed: int) -> LoopConfig:
    """Return the quickstart's round, with few ratings to learn from."""
    quick = quickstart_config(seed=seed).loop
    return replace(
        quick,
        name="hacking",
        images_per_prompt=RATED_PER_PROMPT,
        overlap=1,
        rl=replace(quick.rl, prompts_per_update=8, spread_penalty=1.0),
    )


class KnownTruth:
    """What the eyes see in a version's images at fixed seeds, and what a reward model makes of it.

    Shapes: B images, P prompts.
    """

    def __init__(self, ws: Workspace) -> None:
        self.eyes = load_eyes()
        asked = [prompt_value(ws, row.id) for row in embedded_prompts(ws)]
        self.prompts = [prompt for prompt in asked for _ in range(PER_PROMPT)]
        self.start_images = self._images(embedded())
        self.start_P, self.start_truth_B = self._chances(self.start_images)
        self.pleased = EasilyPleased(self.eyes, self.start_images, self.start_truth_B)

    def against_start(self, generator: DiffusionGenerator) -> dict[str, Any]:
        """Return how much the truth changed from the start, and how much alike images became."""
        images = self._images(generator)
        after_P, _ = self._chances(images)
        changed = paired_bootstrap(self.start_P, after_P, confidence=0.9)
        alike = likeness(images, PER_PROMPT) / likeness(self.start_images, PER_PROMPT) - 1
        return {"truth": asdict(changed), "ms_ssim_rise": alike}

    def correlation(self, ws: Workspace, reward_model_id: str) -> float:
        """Return the rank correlation of a reward model with the truth, on the start's images."""
        reward = reward_of(load_reward_model(ws, reward_model_id))
        with torch.no_grad():
            mean_B, _ = reward(self.start_images, self.prompts)
        return float(spearmanr(mean_B, self.start_truth_B).statistic)

    def _images(self, generator: DiffusionGenerator) -> Tensor:
        seeds = range(FIRST_SEED, FIRST_SEED + len(self.prompts))
        return pictures(generator, self.prompts, seeds, SAMPLING)[1]

    @torch.no_grad()
    def _chances(self, images: Tensor) -> tuple[np.ndarray[Any, Any], Tensor]:
        """Return each prompt's mean chance of the top rating, and each image's truth.

        A look errs by the noise of the most experienced simulated rater.
        """
        truth_B = truth(self.eyes, images, self.prompts)
        low, high = self.eyes.thresholds
        noise = 0.25 * (high - low)
        chances_B = torch.special.ndtr((truth_B - high) / noise)
        return chances_B.view(-1, PER_PROMPT).mean(dim=1).double().numpy(), truth_B


def start_workspace(folder: Path) -> None:
    """Make what all seeds share: the start's images of the round, which each has rated anew."""
    init_workspace(folder)
    config = loop_config(0)
    with open_workspace(folder) as ws:
        run = plan_run(
            ws,
            embedded_version(ws),
            embedded_prompts(ws),
            count=config.images_per_prompt,
            first_seed=SEEDS_A_ROUND,
            settings=config.sampling,
        )
        run_plan(ws, run, lambda _: None)


def one_round(ws: Workspace, known: KnownTruth, seed: int) -> dict[str, Any]:
    """Return what one round of ours did."""
    looped = run_loop(
        ws,
        loop_config(seed),
        rounds=1,
        base=embedded_version(ws),
        prompts=embedded_prompts(ws),
        raters=PleasedThenCareful(eyes=load_eyes(), pleased=known.pleased, seed=seed),
        say=lambda _: None,
    )
    (row,) = looped.rounds
    return {
        "state": row.state,
        "reasons": row.reasons,
        "reward_rise": row.metrics.get("reward_rise"),
        "doubts": row.metrics["doubts"],
        "correlation": known.correlation(ws, row.reward_model_id or ""),
        **known.against_start(load_version(ws, row.new_version_id or "")),
    }


def without_a_loop(
    ws: Workspace, known: KnownTruth, seed: int, changes: dict[str, Any]
) -> dict[str, Any]:
    """Return what the round's reward model does to a run of other settings, with no gate."""
    model = load_reward_model(ws)
    config = RLConfig.from_json({**loop_config(seed).rl.to_json(), **changes})
    prompts = [prompt_value(ws, row.id) for row in embedded_prompts(ws)]
    generator, rewards = embedded(), []
    with tempfile.TemporaryDirectory() as folder:
        train(
            generator,
            Rollouts(prompts, reward_of(model)),
            config,
            Conduct(Path(folder), lambda health: rewards.append(health.reward_mean)),
        )
    return {"rewards": rewards, **known.against_start(generator)}


def summary(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return how often the truth was kept and raised, by arm."""
    ours = [run["ours"] for run in runs]
    kept = [round_ for round_ in ours if round_["state"] == "promoted"]
    correlations = [run["correlation"] for run in ours]
    return {
        "rank correlation of reward model and truth": {
            "mean": sum(correlations) / max(len(correlations), 1),
            "all": correlations,
        },
        "ours, rounds that were accepted": _told(kept),
        "ours, versions before the gate": _told(ours),
        **{arm: _told([run[arm] for run in runs if arm in run]) for arm in ARMS},
    }


def _told(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    changes = [run["truth"] for run in runs]
    return {
        "runs": len(runs),
        "not lower (lower bound above -0.01)": sum(c["low"] > -TOLERANCE for c in changes),
        "higher (lower bound above 0)": sum(c["low"] > 0 for c in changes),
        "lower (upper bound below 0)": sum(c["high"] < 0 for c in changes),
        "changes": [round(c["value"], 3) for c in changes],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument(
        "--bare-seeds", type=int, default=10, help="how many have the other runs too"
    )
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    runs = finished(options.out)
    done = {run["seed"] for run in runs}
    with tempfile.TemporaryDirectory() as temporary:
        shared = Path(temporary) / "start"
        start_workspace(shared)
        with open_workspace(shared) as ws:
            known = KnownTruth(ws)
        for seed in sorted(set(range(options.seeds)) - done):
            folder = Path(temporary) / str(seed)
            shutil.copytree(shared, folder)
            with open_workspace(folder) as ws:
                run = {"seed": seed, "ours": one_round(ws, known, seed)}
                if seed < options.bare_seeds:
                    run |= {arm: without_a_loop(ws, known, seed, ARMS[arm]) for arm in ARMS}
            runs.append(run)
            keep(options.out, run)
            shutil.rmtree(folder)
    print(json.dumps(summary(runs), indent=2))


if __name__ == "__main__":
    main()
