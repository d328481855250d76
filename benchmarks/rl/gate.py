"""How often does the loop's gate promote, by how much a version has truly changed?

    python -m benchmarks.rl.gate [--rounds 2000]        (a minute of one core)

Planted rounds: the truth of a start version's images scatters among prompts and among images of one
prompt as that of the embedded model does in the simulated raters' eyes; the new version's images,
at the same prompts and seeds, are moved so that the share that raters call top changes by exactly
-0.03, 0, +0.03 or +0.05 on average, each image a little differently. The quickstart's three raters
look with their severity, noise and lapses, two at each image, dealt as a campaign deals; the gate
decides as `curate loop` does. No network is asked. Prints one JSON object: for each number of
prompts and each change the share promoted with its 95 % interval, and what the loop would have said
of it beforehand (`curate/loop/power.py`).

Shapes: R rounds, P prompts, S seeds of a prompt, L looks at an image.
"""

import argparse
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from annotation.config import SimulatedRaterConfig, default_raters
from curate.evaluation.intervals import paired_t, wilson_interval
from curate.loop.config import LoopConfig
from curate.loop.power import power

Floats = NDArray[np.float64]

CHANGES = (-0.03, 0.0, 0.03, 0.05)  # of the share rated top
PROMPTS = (20, 50, 100, 200)
GRID = 20_001  # points of a normal distribution over which an expected share is taken


@dataclass(frozen=True)
class Planted:
    """How truths scatter, in grades of the raters' eyes, measured from the threshold of the top."""

    mean: float = -0.06
    prompts_sd: float = 0.3  # among prompts
    images_sd: float = 0.5  # among images of one prompt
    change_sd: float = 0.4  # of an image's change, beside the planted one

    def share_of_top(self, moved: float = 0.0, *, changed: bool = False) -> float:
        """Return the expected share of looks that say top, over prompts, images and raters."""
        spread = np.hypot(self.prompts_sd, self.images_sd)
        spread = np.hypot(spread, self.change_sd) if changed else spread
        quantiles = stats.norm.ppf((np.arange(GRID) + 0.5) / GRID)
        truths = self.mean + moved + spread * quantiles
        return float(np.mean([chance_of_top(truths, rater) for rater in default_raters()]))

    def move_for(self, change: float) -> float:
        """Return how far truths must move for the share of top ratings to change by so much."""
        target = self.share_of_top() + change
        found = optimize.brentq(lambda m: self.share_of_top(m, changed=True) - target, -5, 5)
        return float(found)


def chance_of_top(truths: Floats, rater: SimulatedRaterConfig) -> Floats:
    """Return the chance that this rater calls images of these truths top, of three grades."""
    seen = stats.norm.cdf((truths - rater.severity) / rater.noise)
    return np.asarray((1 - rater.lapse) * seen + rater.lapse / 3)


def promoted(
    planted: Planted,
    change: float,
    config: LoopConfig,
    *,
    num_prompts: int,
    rounds: int,
    draws: np.random.Generator,
) -> list[bool]:
    """Return of each planted round whether its new version passes the gate."""
    shape = (rounds, num_prompts, config.gate_images_per_prompt)
    of_prompts = draws.normal(planted.mean, planted.prompts_sd, shape[:2])[..., None]
    start = of_prompts + draws.normal(0, planted.images_sd, shape)
    moved = planted.move_for(change) + draws.normal(0, planted.change_sd, shape)
    shares = [_share_of_top(truths, config, draws) for truths in (start, start + moved)]
    tolerance, confidence = config.gate_tolerance, config.gate_confidence
    return [
        paired_t(start_P, new_P, confidence=confidence).is_rise(tolerance)
        for start_P, new_P in zip(*shares, strict=True)
    ]


def _share_of_top(truths_RPS: Floats, config: LoopConfig, draws: np.random.Generator) -> Floats:
    """Return each prompt's share of looks that say top [R, P]; every image has `overlap` raters."""
    raters = default_raters(config.num_raters)
    says_top = np.stack(
        [draws.random(truths_RPS.shape) < chance_of_top(truths_RPS, rater) for rater in raters]
    )
    # equal loads, by lot: an image's raters are those of a rotation that begins at any of them
    first = draws.permuted(np.arange(truths_RPS.size) % len(raters)).reshape(truths_RPS.shape)
    looks = [
        np.take_along_axis(says_top, ((first + look) % len(raters))[None], axis=0)[0]
        for look in range(config.overlap)
    ]
    shares: Floats = np.mean(looks, axis=(0, 3))
    return shares


def curve(planted: Planted, config: LoopConfig, rounds: int, seed: int) -> list[dict[str, Any]]:
    """Return what came of the planted rounds: a row for each number of prompts and each change."""
    draws = np.random.default_rng(seed)
    rows = []
    for num_prompts in PROMPTS:
        for change in CHANGES:
            passed = promoted(
                planted, change, config, num_prompts=num_prompts, rounds=rounds, draws=draws
            )
            said = power(config, num_prompts, change)
            share = wilson_interval(sum(passed), rounds)
            rows.append(
                {
                    "prompts": num_prompts,
                    "true_change": change,
                    "promoted": round(share.value, 4),
                    "interval": [round(share.low, 4), round(share.high, 4)],
                    "said_beforehand": round(said, 4),
                }
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=2000)
    parser.add_argument("--images", type=int, default=LoopConfig.gate_images_per_prompt)
    parser.add_argument("--overlap", type=int, default=LoopConfig.overlap)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    config = LoopConfig(gate_images_per_prompt=options.images, overlap=options.overlap)
    planted = Planted()
    told = {
        "planted": vars(planted) | {"share_of_top": round(planted.share_of_top(), 3)},
        "images_per_prompt": options.images,
        "raters_an_image": options.overlap,
        "rounds": options.rounds,
        "curve": curve(planted, config, options.rounds, options.seed),
    }
    print(json.dumps(told, indent=2))


if __name__ == "__main__":
    main()
